// Package audit keeps who did what: one line of JSON for each act of an admin, each login, and each
// refusal worth knowing.
//
// # Promises
//
// An entry that Add returned nil for is on the disk. Lines are whole: what a crash cut off is ended
// by a newline when the log is opened again. A log over 16 MiB is renamed to NAME.1, which replaces
// the one before. The file is the owner's alone (0600).
//
// # Known gaps
//
// Anyone who can write the file can change the past: send it elsewhere (journald, a log server) if
// that matters.
package audit

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"troy/internal/durable"
)

// sizeMost is where a log is renamed, in bytes.
const sizeMost = 16 << 20

const textMost = 1000 // bytes of Detail

// Entry is one act.
type Entry struct {
	Time   time.Time `json:"time"`
	Who    string    `json:"who"`              // name of a login, "token", or "" for strangers
	From   string    `json:"from,omitempty"`   // address
	Action string    `json:"action"`           // login, promote, …
	Detail string    `json:"detail,omitempty"` // what was asked
	Result string    `json:"result"`           // "ok" or why not
}

// Log is an audit log in a file.
type Log struct {
	mu   sync.Mutex
	path string
	f    *os.File
	size int64
}

// Open opens a log, and makes it if need be.
func Open(path string) (*Log, error) {
	l := &Log{path: path}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	return l, nil
}

func (l *Log) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	l.f, l.size = f, info.Size()
	if l.size == 0 { // perhaps it was made just now
		if err := durable.SyncDir(filepath.Dir(l.path)); err != nil {
			f.Close()
			return err
		}
	}
	last := make([]byte, 1)
	if l.size > 0 {
		if _, err := f.ReadAt(last, l.size-1); err == nil && last[0] != '\n' {
			n, err := f.Write([]byte("\n"))
			l.size += int64(n)
			return err
		}
	}
	return nil
}

// Close closes the file.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Close()
}

// Add writes an entry; it is on the disk when nil is returned. A zero Time becomes the present.
func (l *Log) Add(e Entry) error {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if len(e.Detail) > textMost {
		e.Detail = e.Detail[:textMost]
	}
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size >= sizeMost {
		if err := l.rotate(); err != nil {
			return fmt.Errorf("audit log: %w", err)
		}
	}
	n, err := l.f.Write(append(line, '\n'))
	l.size += int64(n)
	if err == nil {
		err = l.f.Sync()
	}
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	return nil
}

func (l *Log) rotate() error {
	if err := l.f.Close(); err != nil {
		return err
	}
	if err := durable.Rename(l.path, l.path+".1"); err != nil {
		return err
	}
	return l.open()
}

// Handler notes each request to next that may change something (not GET or HEAD): path, the
// beginning of the body, and the status of the answer. failed, if set, is told what could not be
// noted.
func (l *Log) Handler(next http.Handler, who string, failed func(error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		body := &head{ReadCloser: r.Body}
		r.Body = body
		s := &status{ResponseWriter: w, code: http.StatusOK}
		next.ServeHTTP(s, r)
		e := Entry{Who: who, From: r.RemoteAddr, Action: r.Method + " " + r.URL.Path, Detail: string(body.seen), Result: "ok"}
		if s.code >= 400 {
			e.Result = http.StatusText(s.code)
		}
		if s.code == http.StatusUnauthorized {
			e.Who = ""
		}
		if err := l.Add(e); err != nil && failed != nil {
			failed(err)
		}
	})
}

// head keeps the beginning of what is read.
type head struct {
	io.ReadCloser
	seen []byte
}

// Read implements io.Reader.
func (h *head) Read(p []byte) (int, error) {
	n, err := h.ReadCloser.Read(p)
	h.seen = append(h.seen, p[:min(n, max(0, textMost-len(h.seen)))]...)
	return n, err
}

// status notes the status of an answer.
type status struct {
	http.ResponseWriter
	code int
}

// WriteHeader implements http.ResponseWriter.
func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

// Unwrap serves http.ResponseController.
func (s *status) Unwrap() http.ResponseWriter { return s.ResponseWriter }
