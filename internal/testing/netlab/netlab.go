package netlab

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"troy/internal/testing/needs"

	"github.com/vishvananda/netns"
)

// Range is the argument of DHCP that gives the PC an address between 10.77.0.100 and 10.77.0.150
// for two minutes, the shortest lease that dnsmasq knows.
const Range = "--dhcp-range=10.77.0.100,10.77.0.150,255.255.255.0,2m"

// Lab is one PC and one switch.
type Lab struct {
	PC, Switch string // names of their namespaces

	t testing.TB
}

// labs makes the names of namespaces unique within the process.
var labs atomic.Int32

// New makes a PC without ports and a switch.
func New(t testing.TB) *Lab {
	t.Helper()
	needs.Root(t)
	id := fmt.Sprintf("troy%d-%d", os.Getpid(), labs.Add(1))
	l := &Lab{t: t, PC: id + "-pc", Switch: id + "-sw"}
	for _, ns := range []string{l.PC, l.Switch} {
		l.run("ip", "netns", "add", ns)
		t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
		l.In(ns, "ip", "link", "set", "lo", "up")
	}
	l.In(l.Switch, "ip", "link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0")
	l.In(l.Switch, "ip", "addr", "add", "10.77.0.1/24", "dev", "br0")
	l.In(l.Switch, "ip", "link", "set", "br0", "up")
	return l
}

// Cable connects port n of the PC; without on it is a dead end: no carrier.
func (l *Lab) Cable(n int, on bool) {
	l.t.Helper()
	eth, p := fmt.Sprintf("eth%d", n), fmt.Sprintf("p%d", n)
	l.run("ip", "link", "add", p, "netns", l.Switch, "type", "veth", "peer", "name", eth, "netns", l.PC)
	l.In(l.Switch, "ip", "link", "set", p, "master", "br0")
	if on {
		l.In(l.Switch, "ip", "link", "set", p, "up")
	}
}

// In runs a command in a namespace and returns its output.
func (l *Lab) In(ns string, args ...string) string {
	l.t.Helper()
	return l.run("ip", append([]string{"netns", "exec", ns}, args...)...)
}

func (l *Lab) run(name string, args ...string) string {
	l.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// DHCP starts a DHCP server on the bridge, with further arguments for dnsmasq such as Range.
func (l *Lab) DHCP(extra ...string) *DHCP {
	l.t.Helper()
	dir := l.t.TempDir()
	d := &DHCP{log: filepath.Join(dir, "log")}
	args := append([]string{"netns", "exec", l.Switch, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null",
		"--port=0", "--interface=br0", "--bind-dynamic", "--user=root", "--pid-file=", "--no-ping", "--dhcp-authoritative",
		"--log-dhcp", "--log-facility=" + d.log, "--dhcp-leasefile=" + filepath.Join(dir, "leases")}, extra...)
	d.cmd = exec.Command("ip", args...)
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		l.t.Fatalf("dnsmasq (Debian package dnsmasq-base): %v", err)
	}
	l.t.Cleanup(func() {
		d.Stop()
		if l.t.Failed() {
			l.t.Logf("the DHCP server wrote:\n%s", d.Log())
		}
	})
	for range 1000 {
		if strings.Contains(d.Log(), "DHCP, IP range") {
			return d
		}
		time.Sleep(20 * time.Millisecond)
	}
	l.t.Fatal("dnsmasq did not start; it says:\n" + d.Log())
	return nil
}

// DHCP is a running DHCP server.
type DHCP struct {
	log  string
	cmd  *exec.Cmd
	done atomic.Bool
}

// Stop ends the server.
func (d *DHCP) Stop() {
	if d.done.CompareAndSwap(false, true) {
		d.cmd.Process.Kill()
		d.cmd.Wait()
	}
}

// Log returns what the server has written about DHCP so far.
func (d *DHCP) Log() string {
	text, _ := os.ReadFile(d.log) // not there yet = nothing written
	var b bytes.Buffer
	for line := range bytes.Lines(text) {
		if bytes.Contains(line, []byte("DHCP")) {
			b.Write(line)
		}
	}
	return b.String()
}

// Listen opens a TCP socket in the switch's namespace; it stays there whatever thread uses it.
func (l *Lab) Listen(addr string) net.Listener {
	l.t.Helper()
	var listener net.Listener
	err := Do(l.Switch, func() (err error) { listener, err = net.Listen("tcp", addr); return err })
	if err != nil {
		l.t.Fatal(err)
	}
	return listener
}

// Do runs f on a thread that is in a namespace. Sockets that f opens stay in it; goroutines that f
// starts are not in it.
func Do(ns string, f func() error) error {
	runtime.LockOSThread()
	away, err := enter(ns, f)
	if !away {
		// Otherwise the thread stays locked and ends with its goroutine.
		runtime.UnlockOSThread()
	}
	return err
}

// enter runs f in a namespace and reports whether the thread is still in it.
func enter(ns string, f func() error) (away bool, err error) {
	home, err := netns.Get()
	if err != nil {
		return false, err
	}
	defer home.Close()
	there, err := netns.GetFromName(ns)
	if err != nil {
		return false, err
	}
	defer there.Close()
	if err := netns.Set(there); err != nil {
		return false, err
	}
	err = f()
	back := netns.Set(home)
	return back != nil, errors.Join(err, back)
}
