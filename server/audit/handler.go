package audit

import (
	"io"
	"net/http"
)

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
	h.seen = append(h.seen, p[:min(n, max(0, detailMost-len(h.seen)))]...)
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
