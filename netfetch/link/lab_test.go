package link

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"troy/internal/testing/netlab"
)

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

// plug connects the far end of port n of the PC, or pulls the cable out there.
func (l *lab) plug(n int, in bool) {
	l.t.Helper()
	state := map[bool]string{false: "down", true: "up"}[in]
	l.In(l.Switch, "ip", "link", "set", fmt.Sprintf("p%d", n), state)
}

// start begins a job on the PC.
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
	c := &child{t: l.t, cmd: exec.Command("ip", "netns", "exec", l.PC, self)}
	c.cmd.Env = append(os.Environ(), childEnv+"="+string(b))
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.said
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if c.hold, err = c.cmd.StdinPipe(); err != nil {
		l.t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { c.cmd.Process.Kill() })
	return c
}

// run is start and wait.
func (l *lab) run(job childJob) childResult {
	l.t.Helper()
	return l.start(job).wait()
}

// child is a job that runs on the PC.
type child struct {
	t    *testing.T
	cmd  *exec.Cmd
	hold io.Closer
	out  bytes.Buffer
	said transcript
}

// says waits until the child has said something.
func (c *child) says(text string) {
	c.t.Helper()
	if !eventually(func() bool { return strings.Contains(c.said.String(), text) }) {
		c.t.Fatalf("the child did not say %q, but:\n%s", text, c.said.String())
	}
}

// wait lets the child end when it has done its job, and returns what it has to tell.
func (c *child) wait() childResult {
	c.t.Helper()
	c.hold.Close()
	err := c.cmd.Wait()
	c.t.Logf("child:\n%s", c.said.String())
	var r childResult
	if err := errors.Join(err, json.Unmarshal(c.out.Bytes(), &r)); err != nil {
		c.t.Fatalf("child: %v\n%s", err, c.out.String())
	}
	return r
}

// transcript is what a child says.
type transcript struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (s *transcript) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// String returns what was said so far.
func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// eventually waits until something holds. The limit is for what never will.
func eventually(holds func() bool) bool {
	for end := time.Now().Add(90 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}
