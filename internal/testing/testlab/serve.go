package testlab

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
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
	"strings"
	"sync"
	"syscall"
	"time"

	"troy/internal/tlskey"
	"troy/server/certs"
	"troy/server/protocol"
	"troy/server/servedir"
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

// Room is what lab.yaml says of the lab's one room.
type Room struct {
	Image   string // empty = Image
	Version int    // 0 = what is promoted
	Keys    string // further keys, such as "merge: now, reset: boot"
}

// listed is how many PCs of the lab lab.yaml names; those made later join as unknown ones, without
// permits.
const listed = 100

// LabFile writes a lab.yaml with one room, default, and returns its path.
func (l *Lab) LabFile(r Room) (path string, err error) {
	keys := "image: " + cmp.Or(r.Image, Image)
	if r.Version > 0 {
		keys += fmt.Sprintf(", version: %d", r.Version)
	}
	if r.Keys != "" {
		keys += ", " + r.Keys
	}
	var b strings.Builder
	// PCs whose power is cut, or that are to fail, do not keep others waiting.
	fmt.Fprintf(&b, "format: 1\nzone: UTC\nunknown: default\nrooms:\n  default: {always: true, wave: 1000, failures: 1000, %s}\nhosts:\n", keys)
	for n := range listed {
		fmt.Fprintf(&b, "  - {name: pc-%d, room: default, uuid: %s}\n", n+1, uuid(n+1))
	}
	path = filepath.Join(l.o.Dir, "lab.yaml")
	return path, os.WriteFile(path, []byte(b.String()), 0o644)
}

// uuid is that of a PC by its number.
func uuid(n int) string { return fmt.Sprintf("7e570000-0000-4000-8000-%012x", n) }

// Host is the name of a PC in that file.
func (p *PC) Host() string {
	n, err := strconv.ParseInt(p.UUID[strings.LastIndex(p.UUID, "-")+1:], 16, 32)
	if err != nil || n > listed {
		return ""
	}
	return fmt.Sprintf("pc-%d", n)
}

// Serve starts `troy serve` with one room in the lab's network, with further arguments, and waits
// until it answers.
func (l *Lab) Serve(ctx context.Context, r Room, args ...string) (*Server, error) {
	file, err := l.LabFile(r)
	if err != nil {
		return nil, err
	}
	return l.ServeRooms(ctx, file, args...)
}

// ServeRooms starts `troy serve` with a lab.yaml and further arguments, and waits until it answers.
func (l *Lab) ServeRooms(ctx context.Context, file string, args ...string) (*Server, error) {
	log, err := os.CreateTemp(l.o.Dir, "serve-*.jsonl")
	if err != nil {
		return nil, err
	}
	log.Close()
	s := &Server{log: log.Name(), out: new(output)}
	args = slices.Concat([]string{"serve", "--listen", ":" + serverPort, "--log", s.log, "--lab", file}, args, []string{l.Store})
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

// TLS is that of the lab's server, for another one that PCs take for it.
func (l *Lab) TLS() (*tls.Config, error) {
	key, _, err := certs.LoadKey(servedir.Of(l.Store).TLSKey())
	if err != nil {
		return nil, err
	}
	own, err := key.Certificate()
	return tlskey.Server(&own, func() *tls.Certificate { return &own }), err
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
	return said(s, func(e *saidEvent) *protocol.Report { return e.Report })
}

// CheckIns returns their check-ins so far.
func (s *Server) CheckIns() ([]protocol.CheckIn, error) {
	return said(s, func(e *saidEvent) *protocol.CheckIn { return e.CheckIn })
}

// saidEvent is a line of the server's log.
type saidEvent struct {
	Report  *protocol.Report
	CheckIn *protocol.CheckIn
}

func said[T any](s *Server, of func(*saidEvent) *T) (all []T, err error) {
	b, err := os.ReadFile(filepath.Clean(s.log))
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(b) {
		var e saidEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, err
		}
		if v := of(&e); v != nil {
			all = append(all, *v)
		}
	}
	return all, nil
}
