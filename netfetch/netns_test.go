package netfetch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
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

	"github.com/vishvananda/netns"

	"troy/internal/testing/needs"
)

// childEnv holds a childJob for a test binary started inside a namespace.
const childEnv = "NETFETCH_TEST_CHILD"

func TestMain(m *testing.M) {
	if job := os.Getenv(childEnv); job != "" {
		os.Exit(childMain(job))
	}
	flag.Parse()
	if runtime.GOMAXPROCS(0) < parallelLabs {
		if err := flag.Set("test.parallel", fmt.Sprint(parallelLabs)); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// parallelLabs is how many tests with a lab run at once: they mostly wait.
const parallelLabs = 6

// lab is a PC and a switch with a DHCP server, each in a network namespace.
// The switch's bridge br0 has 10.77.0.1/24; port ethN of the PC hangs on pN of the switch.
type lab struct {
	t      *testing.T
	pc, sw string
}

var labs atomic.Int32

func newLab(t *testing.T) *lab {
	t.Helper()
	t.Parallel() // these tests mostly wait
	needs.Root(t)
	id := fmt.Sprintf("troy%d-%d", os.Getpid(), labs.Add(1))
	l := &lab{t: t, pc: id + "-pc", sw: id + "-sw"}
	for _, ns := range []string{l.pc, l.sw} {
		l.run("ip", "netns", "add", ns)
		t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
		l.in(ns, "ip", "link", "set", "lo", "up")
	}
	l.in(l.sw, "ip", "link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0")
	l.in(l.sw, "ip", "addr", "add", "10.77.0.1/24", "dev", "br0")
	l.in(l.sw, "ip", "link", "set", "br0", "up")
	return l
}

// cable connects port n of the PC; without "on" it is a dead end: no carrier.
func (l *lab) cable(n int, on bool) {
	l.t.Helper()
	eth, p := fmt.Sprintf("eth%d", n), fmt.Sprintf("p%d", n)
	l.run("ip", "link", "add", p, "netns", l.sw, "type", "veth", "peer", "name", eth, "netns", l.pc)
	l.in(l.sw, "ip", "link", "set", p, "master", "br0")
	if on {
		l.in(l.sw, "ip", "link", "set", p, "up")
	}
}

func (l *lab) run(name string, args ...string) string {
	l.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (l *lab) in(ns string, args ...string) string {
	l.t.Helper()
	return l.run("ip", append([]string{"netns", "exec", ns}, args...)...)
}

// dhcp starts dnsmasq on the bridge and gives its log's path and a function that stops it.
func (l *lab) dhcp(extra ...string) (log string, stop func()) {
	l.t.Helper()
	dir := l.t.TempDir()
	log = filepath.Join(dir, "log")
	args := append([]string{"netns", "exec", l.sw, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null",
		"--port=0", "--interface=br0", "--bind-dynamic", "--user=root", "--pid-file=", "--no-ping", "--dhcp-authoritative",
		"--log-dhcp", "--log-facility=" + log, "--dhcp-leasefile=" + filepath.Join(dir, "leases")}, extra...)
	cmd := exec.Command("ip", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		l.t.Fatalf("dnsmasq (Debian package dnsmasq-base): %v", err)
	}
	var once atomic.Bool
	stop = func() {
		if once.CompareAndSwap(false, true) {
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
	l.t.Cleanup(stop)
	l.t.Cleanup(func() {
		if l.t.Failed() {
			for line := range strings.Lines(readText(log)) {
				if strings.Contains(line, "DHCP") {
					l.t.Logf("%s", strings.TrimSpace(line))
				}
			}
		}
	})
	for range 100 {
		if b, _ := os.ReadFile(log); bytes.Contains(b, []byte("DHCP, IP range")) {
			return log, stop
		}
		time.Sleep(20 * time.Millisecond)
	}
	l.t.Fatal("dnsmasq did not start; it says:\n" + readText(log))
	return "", nil
}

func readText(path string) string {
	b, _ := os.ReadFile(path)
	return string(b)
}

const dhcpRange = "--dhcp-range=10.77.0.100,10.77.0.150,255.255.255.0,2m"

// listen opens a TCP socket in the switch's namespace; it stays there
// whatever thread uses it.
func (l *lab) listen(addr string) net.Listener {
	l.t.Helper()
	type result struct {
		l   net.Listener
		err error
	}
	done := make(chan result)
	go func() {
		l, err := listenIn(l.sw, addr)
		done <- result{l, err}
	}()
	r := <-done
	if r.err != nil {
		l.t.Fatal(r.err)
	}
	return r.l
}

func listenIn(name, addr string) (l net.Listener, err error) {
	// Unlocked only when the thread is back in its own namespace. (A thread that
	// ended instead would take its children with it, see Pdeathsig.)
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		return nil, err
	}
	defer home.Close()
	ns, err := netns.GetFromName(name)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	if err := netns.Set(ns); err != nil {
		return nil, err
	}
	l, err = net.Listen("tcp", addr)
	if err := netns.Set(home); err != nil {
		return nil, err
	}
	runtime.UnlockOSThread()
	return l, err
}

// childJob is what a child does: bring the link up and, with a URL, fetch.
type childJob struct {
	Wait    time.Duration
	Static  *Static
	Useful  string // URL path prefix that must answer, "" = none
	Resolv  string
	URL     string // servers, with commas
	Name    string // object to fetch
	Size    int64
	Chunk   int64
	Workers int
	Keep    bool // renew the lease meanwhile
	NoLink  bool // fetch with the network as it is
	Linger  time.Duration
	Lease   time.Duration // > 0: the lease is taken to be this short (dnsmasq gives no shorter ones than two minutes)
}

// childResult is what it tells.
type childResult struct {
	Error   string
	Link    Link
	Took    time.Duration
	Ports   []string
	SHA256  string
	Stats   Stats
	Changes []string // addresses that Keep told of
	Fetch   time.Duration
}

// child runs a job on the PC.
type child struct {
	cmd    *exec.Cmd
	out    bytes.Buffer
	errOut bytes.Buffer
}

func (l *lab) start(job childJob) *child {
	l.t.Helper()
	self, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	b, err := json.Marshal(job)
	if err != nil {
		l.t.Fatal(err)
	}
	c := &child{cmd: exec.Command("ip", "netns", "exec", l.pc, self)}
	c.cmd.Env = append(os.Environ(), childEnv+"="+string(b))
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.errOut
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { c.cmd.Process.Kill() })
	return c
}

func (c *child) wait(t *testing.T) childResult {
	t.Helper()
	err := c.cmd.Wait()
	t.Logf("child:\n%s", c.errOut.String())
	var r childResult
	if err := errors.Join(err, json.Unmarshal(c.out.Bytes(), &r)); err != nil {
		t.Fatalf("child: %v\n%s", err, c.out.String())
	}
	return r
}

func (l *lab) child(job childJob) childResult {
	l.t.Helper()
	return l.start(job).wait(l.t)
}

// childMain is the child's side.
func childMain(text string) int {
	var job childJob
	if err := json.Unmarshal([]byte(text), &job); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	begin := time.Now()
	say := func(format string, a ...any) {
		fmt.Fprintf(os.Stderr, "%6.2fs "+format+"\n", append([]any{time.Since(begin).Seconds()}, a...)...)
	}
	var r childResult
	if err := childRun(&job, &r, say); err != nil {
		r.Error = err.Error()
	}
	b, err := json.Marshal(r)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Stdout.Write(b)
	return 0
}

func childRun(job *childJob, r *childResult, say func(string, ...any)) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if job.NoLink {
		return childFetch(ctx, job, r, &Link{}, say)
	}
	o := &LinkOptions{Wait: job.Wait, Static: job.Static, ResolvConf: job.Resolv}
	o.Notify = func(p Port) { say("%v", p) }
	if job.Useful != "" {
		o.Useful = func(ctx context.Context, l *Link) error {
			d := net.Dialer{Timeout: time.Second}
			c, err := d.DialContext(ctx, "tcp", job.Useful)
			if err == nil {
				c.Close()
			}
			return err
		}
	}
	link, err := LinkUp(ctx, o)
	var le *LinkError
	if errors.As(err, &le) {
		for _, p := range le.Ports {
			r.Ports = append(r.Ports, p.String())
		}
	}
	if err != nil {
		return err
	}
	r.Link, r.Took = *link, link.Took
	for i, p := range link.Ports {
		r.Ports = append(r.Ports, p.String())
		r.Link.Ports[i].Err = nil
	}
	return childFetch(ctx, job, r, link, say)
}
