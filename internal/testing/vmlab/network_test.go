package vmlab

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

// A client inside gets an address from the network's DHCP server and reaches a
// server of this process; nothing is left afterwards.
func TestNetwork(t *testing.T) {
	n, err := NewNetwork(t.Context(), &NetworkConfig{Dir: t.TempDir(), Taps: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for _, args := range [][]string{{"link", "add", "pc", "type", "veth", "peer", "name", "plug"}, {"link", "set", "plug", "master", "br0", "up"}, {"link", "set", "pc", "up"}, {"link", "show", "tap1"}} {
		if err := ip(t.Context(), append([]string{"-n", n.Namespace}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
	var client *nclient4.Client
	if err := n.Do(func() (err error) { client, err = nclient4.New("pc"); return err }); err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	lease, err := client.Request(ctx)
	if err != nil {
		t.Fatalf("DHCP: %v\n%s", err, n.DHCPLog())
	}
	if addr, _ := netip.AddrFromSlice(lease.ACK.YourIPAddr.To4()); !netip.PrefixFrom(n.Host, 24).Contains(addr) || addr == n.Host {
		t.Errorf("leased %v, want an address beside %v", addr, n.Host)
	}
	l, err := n.Listen("tcp", netip.AddrPortFrom(n.Host, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })}
	var done sync.WaitGroup
	done.Go(func() { _ = server.Serve(l) })
	defer func() { server.Close(); done.Wait() }()
	// The address is of the namespace: from outside nothing answers.
	out, err := n.Command(t.Context(), "bash", "-c", "exec 3<>/dev/tcp/"+strings.ReplaceAll(l.Addr().String(), ":", "/")+"; printf 'GET / HTTP/1.0\r\n\r\n' >&3; cat <&3").CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "hello") {
		t.Errorf("HTTP inside: %q, %v", out, err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if b, err := exec.Command("ip", "netns", "list").Output(); err != nil || strings.Contains(string(b), n.Namespace) {
		t.Errorf("the namespace is still there: %s (%v)", b, err)
	}
}

func TestStaleNetworkIsRemoved(t *testing.T) {
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	stale := namespacePrefix + strconv.Itoa(dead.Process.Pid) + "-1"
	if err := ip(t.Context(), "netns", "add", stale); err != nil {
		t.Fatal(err)
	}
	n, err := NewNetwork(t.Context(), &NetworkConfig{Dir: t.TempDir(), NoDHCP: true})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if exists(filepath.Join(namespaceDir, stale)) {
		t.Errorf("%s is still there", stale)
	}
	if !exists(filepath.Join(namespaceDir, n.Namespace)) {
		t.Errorf("%s is not there", n.Namespace)
	}
}
