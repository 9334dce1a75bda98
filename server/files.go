package server

import (
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
	"time"

	"troy/internal/absent"
	"troy/server/jsonhttp"
	"troy/server/limit"
)

const (
	sliceBytes = 64 << 10         // part of an answer sent under one deadline
	sliceTime  = 60 * time.Second // the deadline
)

// serveFile answers for one file of the store.
func (s *Server) serveFile(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	f, info, err := s.open(name)
	if err != nil && !absent.Is(err) {
		// A client must not take this for the end of something: it asks for newer roots until there
		// is none.
		jsonhttp.Fail(w, http.StatusServiceUnavailable, fmt.Errorf("the server cannot read %q now", name))
		return
	}
	if err != nil {
		// Missing, hidden, a folder, leading outside: the client cannot tell which.
		jsonhttp.Fail(w, http.StatusNotFound, fmt.Errorf("no such object: %q", name))
		return
	}
	defer f.Close()
	h := w.Header()
	h.Set("ETag", fmt.Sprintf(`"%x-%x"`, info.ModTime().UnixNano(), info.Size()))
	h.Set("Content-Type", contentType(name))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", caching(name))
	out := s.sliced(w, r)
	http.ServeContent(out, r, "", info.ModTime(), f)
	s.gets.Add(1)
	s.served.Add(out.sent)
	if s.o.OnServed != nil {
		s.o.OnServed(name, out.sent)
	}
}

// Paced serves the answers of h as those from the store: they share the bandwidth, and a client that
// is slow gets all of one as long as bytes move.
func (s *Server) Paced(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(s.sliced(w, r), r) })
}

// sliced makes the writer of an answer.
func (s *Server) sliced(w http.ResponseWriter, r *http.Request) *slicedWriter {
	out := &slicedWriter{ResponseWriter: w, control: http.NewResponseController(w), slice: sliceBytes}
	if s.pacer != nil {
		out.slice = s.pacer.turn
		out.wait = func(n int64) error { return s.pacer.wait(r.Context(), limit.PartyOf(r.RemoteAddr), n) }
	}
	return out
}

// open opens a published regular file.
func (s *Server) open(name string) (*os.File, fs.FileInfo, error) {
	if !fs.ValidPath(name) || !inStore(name) {
		return nil, nil, fs.ErrNotExist
	}
	// Looked at before it is opened: opening a FIFO would wait for a writer.
	if info, err := s.root.Stat(name); err != nil {
		return nil, nil, err
	} else if !info.Mode().IsRegular() {
		return nil, nil, fs.ErrNotExist
	}
	f, err := s.root.Open(name)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// inStore reports whether a slash-separated name is one that a store publishes:
// store.json, and what lies under images/, objects/, metadata/ and agent/, without parts that
// begin with a dot. What is left out is the publisher's own (tmp/, .lock, keys/).
func inStore(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, ".") {
			return false
		}
	}
	top, _, folder := strings.Cut(name, "/")
	return name == "store.json" || folder && (top == "images" || top == "objects" || top == "metadata" || top == "agent")
}

// caching tells proxies what can never change: all but the index of an image and the
// signed timestamp.
func caching(name string) string {
	if path.Base(name) == "versions.json" || name == "metadata/timestamp.json" || name == "agent/release.json" || !strings.Contains(name, "/") {
		return "no-cache"
	}
	return "public, max-age=31536000, immutable"
}

// contentType never guesses from the bytes.
func contentType(name string) string {
	if path.Ext(name) == ".json" {
		return "application/json"
	}
	return "application/octet-stream"
}

// slicedWriter counts the body bytes and gives each part of the answer its own
// deadline, so that long answers to living clients go through.
type slicedWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	slice   int64             // bytes of a part
	wait    func(int64) error // waits for the turn to send that many bytes; nil = always
	sent    int64
}

// Unwrap serves http.ResponseController.
func (w *slicedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// begin prepares for a part of n bytes.
func (w *slicedWriter) begin(n int64) error {
	if w.wait != nil {
		if err := w.wait(n); err != nil {
			return err
		}
	}
	// A ResponseWriter without deadlines (a test's recorder) sends without.
	_ = w.control.SetWriteDeadline(time.Now().Add(sliceTime))
	return nil
}

// Write implements io.Writer.
func (w *slicedWriter) Write(p []byte) (n int, err error) {
	for n < len(p) {
		part := p[n:min(len(p), n+int(w.slice))]
		if err := w.begin(int64(len(part))); err != nil {
			return n, err
		}
		m, err := w.ResponseWriter.Write(part)
		n += m
		w.sent += int64(m)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// ReadFrom implements io.ReaderFrom. It hands net/http one-level LimitedReaders
// of the file, the form that it turns into sendfile.
func (w *slicedWriter) ReadFrom(src io.Reader) (int64, error) {
	limited, ok := src.(*io.LimitedReader)
	if !ok {
		limited = &io.LimitedReader{R: src, N: 1<<63 - 1}
	}
	var total int64
	for limited.N > 0 {
		want := min(limited.N, w.slice)
		if err := w.begin(want); err != nil {
			return total, err
		}
		n, err := io.Copy(w.ResponseWriter, &io.LimitedReader{R: limited.R, N: want})
		total += n
		w.sent += n
		limited.N -= n
		if err != nil || n < want {
			return total, err
		}
	}
	return total, nil
}
