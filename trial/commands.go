package trial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// commands runs troy as an admin does, in a store of the trial's own.
type commands struct {
	troy string
	dir  string // of the trial
	log  io.Writer
	out  io.Writer // told of progress
}

func (c *commands) store() string { return filepath.Join(c.dir, "store") }

func (c *commands) keys() string { return filepath.Join(c.dir, "keys") }

// run runs one command, of which the user sees progress, and returns what it printed.
func (c *commands) run(ctx context.Context, args ...string) (string, error) {
	fmt.Fprintf(c.log, "$ troy %s\n", strings.Join(args, " "))
	cmd := c.command(ctx, args...)
	var out, said bytes.Buffer
	cmd.Stdout = io.MultiWriter(&out, c.log)
	cmd.Stderr = io.MultiWriter(&said, c.log, &indented{w: c.out})
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return out.String(), fmt.Errorf("%w: troy %s: %w: %s", ErrCommand, strings.Join(args[:min(2, len(args))], " "), err, lastLine(said.String()))
	}
	return out.String(), nil
}

// command is one that ends with this process, sees nothing of an admin's own settings, and has no
// terminal to ask at.
func (c *commands) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.troy, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.WaitDelay = 5 * time.Second
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); !ownSetting(name) {
			cmd.Env = append(cmd.Env, v)
		}
	}
	// The keys of a trial sign for its own PCs alone.
	cmd.Env = append(cmd.Env, "TROY_KEYS="+c.keys(), "TROY_PASSPHRASE=of a trial")
	return cmd
}

// ownSetting reports whether a variable says how an admin's own commands find their store.
func ownSetting(name string) bool {
	switch name {
	case "TROY_STORE", "TROY_KEYS", "TROY_SERVER", "TROY_TOKEN_FILE", "TROY_PASSPHRASE":
		return true
	}
	return false
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// indented writes whole lines, indented. The last of several that a carriage return draws over each
// other is shown.
type indented struct {
	w    io.Writer
	rest []byte
}

// Write implements io.Writer.
func (i *indented) Write(p []byte) (int, error) {
	i.rest = append(i.rest, p...)
	for {
		end := bytes.IndexByte(i.rest, '\n')
		if end < 0 {
			return len(p), nil
		}
		line := bytes.TrimRight(i.rest[:end], "\r")
		if _, err := fmt.Fprintf(i.w, "    %s\n", line[bytes.LastIndexByte(line, '\r')+1:]); err != nil {
			return 0, err
		}
		i.rest = i.rest[end+1:]
	}
}

// server is a running troy serve.
type server struct {
	cmd     *exec.Cmd
	address string // of check-in, on 127.0.0.1
	ended   chan error
	said    *tail
}

// tail keeps the last lines of what a program says, and passes all on.
type tail struct {
	mu   sync.Mutex
	text []byte
	to   io.Writer
}

const tailSize = 4 << 10

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-tailSize):]
	return t.to.Write(p)
}

func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return lastLine(string(t.text))
}

// serve starts the server and waits until it takes connections.
func (c *commands) serve(ctx context.Context, lab string) (*server, error) {
	files, check, err := twoPorts()
	if err != nil {
		return nil, err
	}
	args := []string{"serve", "--listen", files, "--tls-listen", check, "--lab", lab, "--log", filepath.Join(c.dir, "reports.jsonl"), c.store()}
	fmt.Fprintf(c.log, "$ troy %s\n", strings.Join(args, " "))
	s := &server{cmd: c.command(ctx, args...), address: check, ended: make(chan error, 1), said: &tail{to: c.log}}
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	s.cmd.Stdout, s.cmd.Stderr = s.said, s.said
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { s.ended <- s.cmd.Wait() }()
	answers := func() bool { return c.command(ctx, "status", "--store", c.store()).Run() == nil }
	if err := s.up(ctx, answers); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// twoPorts are two ports of 127.0.0.1 that are free now.
func twoPorts() (a, b string, err error) {
	var all [2]string
	for i := range all {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", "", err
		}
		defer l.Close() // at the end: two different ones
		all[i] = l.Addr().String()
	}
	return all[0], all[1], nil
}

// up waits until the server takes connections, and answers an admin, which comes a little later.
func (s *server) up(ctx context.Context, answers func() bool) error {
	const tries, pause = 300, 200 * time.Millisecond
	dialer := net.Dialer{Timeout: time.Second}
	for range tries {
		conn, err := dialer.DialContext(ctx, "tcp", s.address)
		if err == nil {
			err = conn.Close()
		}
		if err == nil && answers() {
			return nil
		}
		if err := s.alive(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
	return fmt.Errorf("%w: troy serve does not answer: %s", ErrCommand, s.said.last())
}

func orEnded(err error) error {
	if err == nil {
		return errors.New("it ended")
	}
	return err
}

// alive tells why the server has ended; nil: it has not.
func (s *server) alive() error {
	select {
	case err := <-s.ended:
		s.ended <- err
		return fmt.Errorf("%w: troy serve: %w: %s", ErrCommand, orEnded(err), s.said.last())
	default:
		return nil
	}
}

// stopLimit is how long the server may take to end in order.
const stopLimit = 30 * time.Second

// stop ends the server in order.
func (s *server) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	kill := time.AfterFunc(stopLimit, func() { s.cmd.Process.Kill() }) // an error says that it has ended
	defer kill.Stop()
	return <-s.ended
}
