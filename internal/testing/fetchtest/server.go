package fetchtest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Files is a well-behaved handler for objects in memory: GET and HEAD with
// ranges and strong ETags.
type Files map[string][]byte

// ServeHTTP implements http.Handler.
func (f Files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data, ok := f[strings.TrimPrefix(r.URL.Path, "/")]
	if !ok {
		http.Error(w, "no such object", http.StatusNotFound)
		return
	}
	h := w.Header()
	if _, set := h["Etag"]; !set {
		h.Set("ETag", fmt.Sprintf(`"%.16x"`, sha256.Sum256(data)))
	}
	h.Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

// Request is one request as it came in and what was sent for it.
type Request struct {
	Method  string
	Path    string
	From    string // address of the client's end of the connection
	Range   string // header
	IfRange string // header
	Fault   bool   // a fault was applied
	Status  int
	Bytes   int64 // body bytes sent
	At      time.Time
}

// Server is the wrapper. It is safe for concurrent use.
type Server struct {
	next http.Handler

	mu     sync.Mutex
	queue  []Fault
	always Fault
	only   func(*http.Request) bool
	log    []*Request
}

// New wraps a handler; without faults it behaves as that does.
func New(next http.Handler) *Server { return &Server{next: next} }

// Next queues faults, one for each of the next requests; nil lets one pass.
func (s *Server) Next(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, faults...)
}

// Always applies a fault to every request that finds the queue empty; nil ends that.
func (s *Server) Always(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.always = f
}

// Only limits all faults to the requests that match; nil = all.
func (s *Server) Only(match func(*http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.only = match
}

// Requests gives the requests so far, in the order they came.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Request, len(s.log))
	for i, r := range s.log {
		all[i] = *r
	}
	return all
}

// Sent gives the body bytes of all answers so far.
func (s *Server) Sent() int64 {
	var n int64
	for _, r := range s.Requests() {
		n += r.Bytes
	}
	return n
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	entry, fault := s.admit(r)
	h := s.next
	if fault != nil {
		h = fault(h)
	}
	h.ServeHTTP(&countingWriter{ResponseWriter: w, s: s, entry: entry}, r)
}

// admit logs a request and takes the fault meant for it.
func (s *Server) admit(r *http.Request) (*Request, Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var fault Fault
	if s.only == nil || s.only(r) {
		fault = s.always
		if len(s.queue) > 0 {
			fault, s.queue = s.queue[0], s.queue[1:]
		}
	}
	entry := &Request{Method: r.Method, Path: r.URL.Path, From: r.RemoteAddr, Range: r.Header.Get("Range"),
		IfRange: r.Header.Get("If-Range"), Fault: fault != nil, At: time.Now()}
	s.log = append(s.log, entry)
	return entry, fault
}

// countingWriter notes status and bytes in the log.
type countingWriter struct {
	http.ResponseWriter
	s     *Server
	entry *Request
}

// Unwrap serves http.ResponseController.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *countingWriter) WriteHeader(status int) {
	w.s.mu.Lock()
	w.entry.Status = status
	w.s.mu.Unlock()
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.s.mu.Lock()
	w.entry.Bytes += int64(n)
	if w.entry.Status == 0 {
		w.entry.Status = http.StatusOK
	}
	w.s.mu.Unlock()
	return n, err
}
