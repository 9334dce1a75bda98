package link

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
	"runtime"
	"syscall"
	"testing"
	"time"

	"troy/internal/testing/netlab"
	"troy/netfetch"
	"troy/netfetch/params"
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

// lab is a lab whose PC runs jobs.
type lab struct {
	*netlab.Lab
	t *testing.T
}

func newLab(t *testing.T) *lab {
	t.Helper()
	t.Parallel() // these tests mostly wait
	return &lab{Lab: netlab.New(t), t: t}
}

// childJob is what a child does: bring the link up and, with a URL, fetch.
type childJob struct {
	Wait    time.Duration
	Static  *params.Static
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
	Stats   netfetch.Stats
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
	c := &child{cmd: exec.Command("ip", "netns", "exec", l.PC, self)}
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
	o := &Options{Wait: job.Wait, Static: job.Static, ResolvConf: job.Resolv}
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
	link, err := Up(ctx, o)
	var le *Error
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
