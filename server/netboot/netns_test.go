package netboot

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netns"

	"troy/chainload/release"
	"troy/internal/testing/needs"
)

// childEnv holds the folder to serve, for a test binary started inside a namespace.
const childEnv = "NETBOOT_TEST_CHILD"

// probeEnv, if set, has it print what Probe finds.
const probeEnv = "NETBOOT_TEST_PROBE"

func TestMain(m *testing.M) {
	if os.Getenv(probeEnv) != "" {
		all, err := Probe(context.Background())
		fmt.Println(all, err)
		return
	}
	if dir := os.Getenv(childEnv); dir != "" {
		os.Exit(childMain(dir))
	}
	os.Exit(m.Run())
}

func childMain(dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	s, err := New(&Options{Dir: dir, HTTPPort: 8080, OnNote: func(line string) { fmt.Println(line) }})
	if err == nil {
		var l *Listener
		if l, err = s.Listen(); err == nil {
			fmt.Println("ready")
			err = l.Run(ctx)
		}
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// site is a network: the site's DHCP server, our server and a PC, each in a namespace of its own,
// on the bridge of ours.
type site struct {
	t                testing.TB
	dhcp, server, pc string
}

func newSite(t *testing.T) *site {
	t.Helper()
	needs.Root(t)
	id := fmt.Sprintf("troynb%d", os.Getpid())
	n := &site{t, id + "-dhcp", id + "-server", id + "-pc"}
	for _, ns := range []string{n.dhcp, n.server, n.pc} {
		n.run("ip", "netns", "add", ns)
		t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
	}
	n.in(n.server, "ip", "link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0")
	n.in(n.server, "ip", "addr", "add", "10.77.0.2/24", "dev", "br0")
	n.in(n.server, "ip", "link", "set", "br0", "up")
	for port, ns := range map[string]string{"p0": n.dhcp, "p1": n.pc} {
		n.run("ip", "link", "add", port, "netns", n.server, "type", "veth", "peer", "name", "eth0", "netns", ns)
		n.in(n.server, "ip", "link", "set", port, "master", "br0", "up")
		n.in(ns, "ip", "link", "set", "eth0", "up")
	}
	n.in(n.dhcp, "ip", "addr", "add", "10.77.0.1/24", "dev", "eth0")
	return n
}

func (n *site) run(name string, args ...string) string {
	n.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		n.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (n *site) in(ns string, args ...string) string {
	n.t.Helper()
	return n.run("ip", append([]string{"netns", "exec", ns}, args...)...)
}

// start runs a program in a namespace and waits until its output, in a file, holds a text.
func (n *site) start(ns, ready string, env []string, args ...string) (log string) {
	n.t.Helper()
	log = filepath.Join(n.t.TempDir(), "log")
	f, err := os.Create(log)
	if err != nil {
		n.t.Fatal(err)
	}
	cmd := exec.Command("ip", append([]string{"netns", "exec", ns}, args...)...)
	cmd.Stdout, cmd.Stderr, cmd.Env = f, f, append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		f.Close()
	})
	for range 200 {
		if b, _ := os.ReadFile(log); bytes.Contains(b, []byte(ready)) {
			return log
		}
		time.Sleep(20 * time.Millisecond)
	}
	b, _ := os.ReadFile(log)
	n.t.Fatalf("%v did not start:\n%s", args, b)
	return ""
}

// within runs f with the thread in the PC's namespace: sockets that f opens stay there.
func (n *site) within(f func()) {
	n.t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		n.t.Fatal(err)
	}
	defer home.Close()
	there, err := netns.GetFromName(n.pc)
	if err != nil {
		n.t.Fatal(err)
	}
	defer there.Close()
	if err := netns.Set(there); err != nil {
		n.t.Fatal(err)
	}
	defer func() {
		if err := netns.Set(home); err != nil {
			panic(err) // the thread is lost in another namespace
		}
	}()
	f()
}

// ask broadcasts a question and gathers the answers by server.
func (n *site) ask(q *dhcpv4.DHCPv4, wait time.Duration) map[string]*dhcpv4.DHCPv4 {
	n.t.Helper()
	var c net.PacketConn
	var err error
	n.within(func() { c, err = nclient4.NewRawUDPConn("eth0", dhcpv4.ClientPort) })
	if err != nil {
		n.t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.WriteTo(q.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: dhcpv4.ServerPort}); err != nil {
		n.t.Fatal(err)
	}
	answers := map[string]*dhcpv4.DHCPv4{}
	c.SetReadDeadline(time.Now().Add(wait))
	buf := make([]byte, 2000)
	for {
		m, _, err := c.ReadFrom(buf)
		if err != nil {
			return answers
		}
		if a, err := dhcpv4.FromBytes(buf[:m]); err == nil && a.TransactionID == q.TransactionID {
			answers[a.ServerIdentifier().String()] = a
		}
		if len(answers) == 2 {
			return answers
		}
	}
}

// TestBesideDHCP runs beside a dnsmasq that only gives addresses: PXE clients hear both, others
// only dnsmasq, and the files load by TFTP.
func TestBesideDHCP(t *testing.T) {
	n := newSite(t)
	n.start(n.dhcp, "DHCP, IP range", nil, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=eth0", "--bind-dynamic", "--user=root",
		"--pid-file=", "--no-ping", "--dhcp-authoritative", "--log-facility=-", "--dhcp-leasefile="+filepath.Join(t.TempDir(), "leases"), "--dhcp-range=10.77.0.50,10.77.0.60")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := bootFolder(t, release.Shim, release.GRUB, release.IPXEScript, release.ISO)
	log := n.start(n.server, "ready", []string{childEnv + "=" + dir}, exe)

	for class, file := range map[string]string{pxeClass: release.Shim, "HTTPClient:Arch:00016:UNDI:003001": "http://10.77.0.2:8080/boot/troy.iso"} {
		t.Run(class, func(t *testing.T) {
			arch := dhcpv4.OptClientArch(7)
			if strings.HasPrefix(class, "HTTP") {
				arch = dhcpv4.OptClientArch(16)
			}
			q := question(t, class, 0, dhcpv4.WithOption(arch))
			answers := n.ask(q, 10*time.Second)
			if a := answers["10.77.0.1"]; a == nil || a.YourIPAddr.IsUnspecified() {
				t.Errorf("the site's DHCP server gives no address: %v", a)
			}
			if a := answers["10.77.0.2"]; a == nil {
				t.Error("no answer of ours")
			} else {
				wantAnswer(t, class, q, a, file)
			}
		})
	}
	for _, q := range []*dhcpv4.DHCPv4{question(t, "MSFT 5.0", 7), question(t, "PXEClient:Arch:00000:UNDI:002001", 0), question(t, pxeClass, 7, dhcpv4.WithGeneric(dhcpv4.OptionClientMachineIdentifier, guid[:3]))} {
		t.Run(q.ClassIdentifier(), func(t *testing.T) {
			if a := n.ask(q, time.Second); a["10.77.0.2"] != nil || a["10.77.0.1"] == nil {
				t.Errorf("class %q: answers %v, want only that of the site", q.ClassIdentifier(), a)
			}
		})
	}
	// Who looks at the network hears both.
	found := n.in(n.pc, "env", probeEnv+"=1", exe)
	want := `[eth0: 10.77.0.1 gives addresses (DHCP) eth0: 10.77.0.2 answers PCs that start by the network and names the boot file "shimx64.efi"] <nil>`
	if strings.TrimSpace(found) != want {
		t.Errorf("found %s, want %s", found, want)
	}
	n.bootServer(dir)
	b, _ := os.ReadFile(log)
	if !bytes.Contains(b, []byte(mac.String()+` is sent to "shimx64.efi"`)) || !bytes.Contains(b, []byte(`loaded "shimx64.efi" (70001 bytes)`)) {
		t.Errorf("notes:\n%s", b)
	}
}

// bootServer goes on as the firmware does once it has an address: port 4011, then TFTP, here by
// another program's client.
func (n *site) bootServer(dir string) {
	t := n.t
	n.in(n.pc, "ip", "addr", "add", "10.77.0.55/24", "dev", "eth0")
	var c net.Conn
	var err error
	client := net.Dialer{LocalAddr: &net.UDPAddr{Port: dhcpv4.ClientPort}}
	n.within(func() { c, err = client.Dial("udp4", "10.77.0.2:4011") })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	q := question(t, pxeClass, 7, dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), dhcpv4.WithClientIP(net.IPv4(10, 77, 0, 55)))
	if _, err := c.Write(q.ToBytes()); err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 2000)
	m, err := c.Read(buf)
	if err != nil {
		t.Fatalf("port 4011: %v", err)
	}
	a, err := dhcpv4.FromBytes(buf[:m])
	if err != nil || a.MessageType() != dhcpv4.MessageTypeAck {
		t.Fatalf("port 4011: %v, %v", a, err)
	}
	wantAnswer(t, "port 4011", q, a, release.Shim)
	for _, opts := range [][]string{{}, {"--tftp-blksize", "1468"}, {"--tftp-no-options"}} {
		out := n.in(n.pc, append(append([]string{"curl", "-sS", "--max-time", "30"}, opts...), "tftp://10.77.0.2/"+release.Shim)...)
		if out != string(content(release.Shim)) {
			t.Errorf("curl %v: %d bytes", opts, len(out))
		}
	}
	if out, err := exec.Command("ip", "netns", "exec", n.pc, "curl", "-sS", "--path-as-is", "tftp://10.77.0.2/../../etc/passwd").CombinedOutput(); err == nil {
		t.Errorf("curl got %q", out)
	}
}
