package testlab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"troy/server/protocol"
)

// Server is a running `troy serve`.
type Server struct {
	cmd *exec.Cmd
	log string
	out *output
}

// output collects what a program prints; reading while it runs is safe.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String returns all that was printed so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Serve starts `troy serve` in the lab's network with further arguments and waits until it answers.
func (l *Lab) Serve(ctx context.Context, args ...string) (*Server, error) {
	return l.serve(ctx, append([]string{"--image", Image}, args...))
}

func (l *Lab) serve(ctx context.Context, args []string) (*Server, error) {
	log, err := os.CreateTemp(l.o.Dir, "serve-*.jsonl")
	if err != nil {
		return nil, err
	}
	log.Close()
	s := &Server{log: log.Name(), out: new(output)}
	args = slices.Concat([]string{"serve", "--listen", ":" + serverPort, "--log", s.log}, args, []string{l.Store})
	s.cmd = l.Net.Command(ctx, l.troy, args...)
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.out
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	if err := l.answers(ctx); err != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		return nil, fmt.Errorf("troy serve: %w: %s", err, s.out)
	}
	return s, nil
}

// answers waits until the server's health check does.
func (l *Lab) answers(ctx context.Context) error {
	dialer := net.Dialer{Timeout: time.Second}
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
			err = l.Net.Do(func() (err error) {
				c, err = dialer.DialContext(ctx, network, addr)
				return err
			})
			return c, err
		},
		DisableKeepAlives: true,
	}}
	url := "http://" + net.JoinHostPort(l.Net.Host.String(), serverPort) + "/healthz"
	var last error
	for range 50 {
		resp, err := client.Get(url)
		if err == nil {
			resp.Body.Close()
			return nil
		}
		last = err
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
	return last
}

var servedLine = regexp.MustCompile(`served .* \((\d+) bytes\) in \d+ requests`)

// Stop ends the server in order and returns how many bytes of the store it sent.
func (s *Server) Stop() (served int64, err error) {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	if err := s.cmd.Wait(); err != nil {
		return 0, fmt.Errorf("troy serve: %w: %s", err, s.out)
	}
	m := servedLine.FindStringSubmatch(s.out.String())
	if m == nil {
		return 0, fmt.Errorf("troy serve did not say what it served: %s", s.out)
	}
	return strconv.ParseInt(m[1], 10, 64)
}

// Reports returns the machines' reports so far, in the order in which they came.
func (s *Server) Reports() ([]protocol.Report, error) {
	b, err := os.ReadFile(filepath.Clean(s.log))
	if err != nil {
		return nil, err
	}
	var reports []protocol.Report
	for line := range bytes.Lines(b) {
		var e struct{ Report *protocol.Report }
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, err
		}
		if e.Report != nil {
			reports = append(reports, *e.Report)
		}
	}
	return reports, nil
}
