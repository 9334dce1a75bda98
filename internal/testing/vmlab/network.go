package vmlab

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
)

// NetworkConfig says what a [Network] offers. Dir is required.
type NetworkConfig struct {
	Dir    string       // an existing folder for the lease file and the log of the DHCP server
	Taps   int          // how many PCs can be plugged in; 0 = 1
	Subnet netip.Prefix // zero = 10.77.0.0/24; at most /24
	NoDHCP bool
	DHCP   []string // further arguments for dnsmasq, such as "--dhcp-boot=..."
	// Apart puts the DHCP server on a machine (namespace) of its own, whose address is the one
	// after Host: UDP port 67 of Host is free.
	Apart bool
}

// Network is a private network: a named network namespace with a bridge, taps
// for QEMU and a DHCP server. It has no way out. It needs root.
type Network struct {
	Namespace string
	Host      netip.Addr // address of the host's end; servers listen there
	Taps      []string

	dhcp  *exec.Cmd
	apart string // namespace of a DHCP server of its own; empty = it is in Namespace
	dir   string
}

// sequence makes the names of namespaces unique within the process.
var sequence atomic.Int64

const namespacePrefix = "troy-"

// NewNetwork makes a network. The caller must call [Network.Close]. Networks left
// behind by processes that are gone are removed first.
func NewNetwork(ctx context.Context, c *NetworkConfig) (*Network, error) {
	removeStale(ctx)
	subnet := cmp.Or(c.Subnet, netip.MustParsePrefix("10.77.0.0/24")).Masked()
	n := &Network{
		Namespace: fmt.Sprintf("%s%d-%d", namespacePrefix, os.Getpid(), sequence.Add(1)),
		Host:      subnet.Addr().Next(),
		dir:       c.Dir,
	}
	err := n.setUp(ctx, subnet, cmp.Or(c.Taps, 1))
	if err == nil && c.Apart {
		err = n.setApart(ctx, subnet)
	}
	if err == nil && !c.NoDHCP {
		err = n.startDHCP(c.DHCP)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("network: %w", err), n.Close())
	}
	return n, nil
}

func (n *Network) setUp(ctx context.Context, subnet netip.Prefix, taps int) error {
	ns := n.Namespace
	steps := [][]string{
		{"netns", "add", ns},
		{"-n", ns, "link", "set", "lo", "up"},
		{"-n", ns, "link", "add", "br0", "type", "bridge", "forward_delay", "0"},
		{"-n", ns, "addr", "add", fmt.Sprintf("%s/%d", n.Host, subnet.Bits()), "dev", "br0"},
		{"-n", ns, "link", "set", "br0", "up"},
	}
	for i := range taps {
		tap := "tap" + strconv.Itoa(i)
		n.Taps = append(n.Taps, tap)
		steps = append(steps,
			[]string{"-n", ns, "tuntap", "add", tap, "mode", "tap"},
			[]string{"-n", ns, "link", "set", tap, "master", "br0", "up"})
	}
	return ipAll(ctx, steps)
}

// setApart makes the namespace of a DHCP server of its own and plugs it into the bridge.
func (n *Network) setApart(ctx context.Context, subnet netip.Prefix) error {
	n.apart = n.Namespace + "-dhcp"
	return ipAll(ctx, [][]string{
		{"netns", "add", n.apart},
		{"link", "add", "dhcp0", "netns", n.Namespace, "type", "veth", "peer", "name", "eth0", "netns", n.apart},
		{"-n", n.Namespace, "link", "set", "dhcp0", "master", "br0", "up"},
		{"-n", n.apart, "addr", "add", fmt.Sprintf("%s/%d", n.Host.Next(), subnet.Bits()), "dev", "eth0"},
		{"-n", n.apart, "link", "set", "eth0", "up"},
	})
}

// startDHCP starts dnsmasq with DHCP alone, and waits until it serves.
func (n *Network) startDHCP(extra []string) error {
	first, last := n.Host.As4(), n.Host.As4()
	first[3] += 99
	last[3] += 199
	namespace, port := n.Namespace, "br0"
	if n.apart != "" {
		namespace, port = n.apart, "eth0"
	}
	args := []string{"netns", "exec", namespace, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null",
		"--no-hosts", "--no-resolv", "--port=0", "--interface=" + port, "--bind-interfaces", "--no-ping", "--user=root",
		"--dhcp-authoritative", "--dhcp-range=" + netip.AddrFrom4(first).String() + "," + netip.AddrFrom4(last).String() + ",10m",
		"--dhcp-leasefile=" + n.file("leases"), "--pid-file=" + n.file("pid"), "--log-dhcp", "--log-facility=" + n.file("log")}
	n.dhcp = exec.Command("ip", append(args, extra...)...)
	n.dhcp.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	n.dhcp.Stdout, n.dhcp.Stderr = &out, &out
	if err := n.dhcp.Start(); err != nil {
		n.dhcp = nil
		return err
	}
	for range 100 {
		if strings.Contains(n.DHCPLog(), "DHCP, sockets bound") {
			return nil
		}
		if ended(n.dhcp.Process.Pid) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	n.stopDHCP()
	return fmt.Errorf("dnsmasq (Debian package dnsmasq-base) does not serve: %s%s", out.String(), n.DHCPLog())
}

func (n *Network) file(suffix string) string {
	return filepath.Join(n.dir, n.Namespace+".dnsmasq."+suffix)
}

// DHCPLog returns what the DHCP server has written so far.
func (n *Network) DHCPLog() string {
	b, err := os.ReadFile(n.file("log"))
	if err != nil {
		return ""
	}
	return string(b)
}

func (n *Network) stopDHCP() {
	if n.dhcp == nil {
		return
	}
	_ = n.dhcp.Process.Kill() // fails only if it has ended by itself
	_ = n.dhcp.Wait()
	n.dhcp = nil
}

// Command returns a command that runs in the network's namespace.
func (n *Network) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", n.Namespace, name}, args...)...)
}

// Do runs f on a thread that is in the network's namespace. Sockets that f opens
// stay in it, wherever they are used later; goroutines that f starts are not in it.
func (n *Network) Do(f func() error) error {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("network: %w", err)
	}
	defer home.Close()
	there, err := netns.GetFromName(n.Namespace)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("network %s: %w", n.Namespace, err)
	}
	defer there.Close()
	if err = netns.Set(there); err == nil {
		err = f()
	}
	if back := netns.Set(home); back != nil {
		return errors.Join(err, back) // the thread stays locked and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}

// Listen listens inside the network, for a server that runs in this process.
// An address without host listens on all addresses of the network.
func (n *Network) Listen(network, address string) (l net.Listener, err error) {
	err = n.Do(func() (err error) { l, err = net.Listen(network, address); return err })
	return l, err
}

// ListenPacket is [Network.Listen] for UDP.
func (n *Network) ListenPacket(network, address string) (c net.PacketConn, err error) {
	err = n.Do(func() (err error) { c, err = net.ListenPacket(network, address); return err })
	return c, err
}

// Close stops the DHCP server and removes the namespace with all that is in it.
// VMs in it should be closed before. It may be called more than once.
func (n *Network) Close() error {
	n.stopDHCP()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var errs []error
	for _, name := range []string{n.apart, n.Namespace} {
		if name != "" && exists(filepath.Join(namespaceDir, name)) {
			errs = append(errs, ip(ctx, "netns", "del", name))
		}
	}
	return errors.Join(errs...)
}

// namespaceDir is where ip(8) keeps named namespaces.
const namespaceDir = "/run/netns"

// removeStale removes the namespaces of processes that died without Close.
// What it cannot remove it leaves.
func removeStale(ctx context.Context) {
	entries, _ := os.ReadDir(namespaceDir) // absent: nothing to remove
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), namespacePrefix)
		pid, _, _ := strings.Cut(rest, "-")
		if id, err := strconv.Atoi(pid); ok && err == nil && !exists("/proc/"+strconv.Itoa(id)) {
			_ = ip(ctx, "netns", "del", e.Name())
		}
	}
}

func ipAll(ctx context.Context, steps [][]string) error {
	for _, s := range steps {
		if err := ip(ctx, s...); err != nil {
			return err
		}
	}
	return nil
}

func ip(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// ended tells whether a child has ended and waits to be collected.
func ended(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, state, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(state, "Z")
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }
