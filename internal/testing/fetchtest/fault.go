package fetchtest

import (
	"fmt"
	"net/http"
	"time"
)

// Fault is one way to misbehave: it wraps the handler that behaves.
type Fault func(http.Handler) http.Handler

// body makes a fault that changes how the body is written.
func body(write func(w *faultWriter, p []byte) (int, error)) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(&faultWriter{ResponseWriter: w, r: r, write: write}, r)
		})
	}
}

// before makes a fault that changes the request or the header beforehand.
func before(change func(w http.ResponseWriter, r *http.Request)) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r = r.Clone(r.Context())
			change(w, r)
			next.ServeHTTP(w, r)
		})
	}
}

// instead makes a fault that answers itself.
func instead(answer http.HandlerFunc) Fault {
	return func(http.Handler) http.Handler { return answer }
}

// header makes a fault that changes the header as it goes out.
func header(change func(h http.Header)) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(&headerWriter{ResponseWriter: w, change: change}, r)
		})
	}
}

// Cut sends n bytes of the body and closes the connection.
func Cut(n int64) Fault {
	return body(func(w *faultWriter, p []byte) (int, error) {
		w.pass(p, n)
		if w.sent >= n {
			w.flush()
			panic(http.ErrAbortHandler)
		}
		return len(p), nil
	})
}

// Stall sends n bytes of the body and then nothing, until the client goes.
func Stall(n int64) Fault {
	return body(func(w *faultWriter, p []byte) (int, error) {
		w.pass(p, n)
		if w.sent >= n {
			w.flush()
			<-w.r.Context().Done()
			panic(http.ErrAbortHandler)
		}
		return len(p), nil
	})
}

// Drip sends the body n bytes at a time, with a pause after each.
func Drip(n int, every time.Duration) Fault {
	return body(func(w *faultWriter, p []byte) (int, error) {
		done := 0
		for done < len(p) {
			m, err := w.ResponseWriter.Write(p[done:min(len(p), done+n)])
			done += m
			if err != nil {
				return done, err
			}
			w.flush()
			select {
			case <-time.After(every):
			case <-w.r.Context().Done():
				return done, w.r.Context().Err()
			}
		}
		return done, nil
	})
}

// Wrong changes the body's byte at the given place.
func Wrong(at int64) Fault {
	return body(func(w *faultWriter, p []byte) (int, error) {
		if i := at - w.sent; i >= 0 && i < int64(len(p)) {
			p = append([]byte(nil), p...)
			p[i] ^= 0x40
		}
		n, err := w.ResponseWriter.Write(p)
		w.sent += int64(n)
		return n, err
	})
}

// Silence accepts the request and answers nothing for d, or until the client
// goes; then it answers.
func Silence(d time.Duration) Fault {
	return before(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
		case <-r.Context().Done():
		}
	})
}

// Whole ignores the range and answers 200 with the whole object.
func Whole() Fault {
	return before(func(_ http.ResponseWriter, r *http.Request) {
		r.Header.Del("Range")
		r.Header.Del("If-Range")
	})
}

// ETag gives the object another ETag; "" gives it none.
func ETag(tag string) Fault {
	return before(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Etag"] = []string{tag}
		if tag == "" {
			w.Header()["Etag"] = nil
		}
	})
}

// DeafETag gives the object another ETag and answers ranges of it whatever
// If-Range says, as a cache in front of changed files may do.
func DeafETag(tag string) Fault {
	return before(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("If-Range")
		w.Header()["Etag"] = []string{tag}
	})
}

// Busy answers with the status, and with Retry-After unless it is "".
func Busy(status int, retryAfter string) Fault {
	return instead(func(w http.ResponseWriter, _ *http.Request) {
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		http.Error(w, "come back later", status)
	})
}

// Redirect sends the client elsewhere.
func Redirect(to string) Fault {
	return instead(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
	})
}

// Drop closes the connection without an answer.
func Drop() Fault {
	return instead(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
}

// Header sets one header of the answer as it goes out, e.g. a Content-Range
// of another range or a Content-Encoding; "" removes it.
func Header(key, value string) Fault {
	return header(func(h http.Header) {
		h.Set(key, value)
		if value == "" {
			h.Del(key)
		}
	})
}

// Endless sends the right body, without its length, and then goes on until
// the client goes.
func Endless() Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(&headerWriter{ResponseWriter: w, change: func(h http.Header) { h.Del("Content-Length") }}, r)
			junk := make([]byte, 32<<10)
			for {
				if _, err := w.Write(junk); err != nil {
					panic(http.ErrAbortHandler)
				}
			}
		})
	}
}

// Shift answers a range with one that begins d bytes later, and says so.
func Shift(d int64) Fault {
	return before(func(_ http.ResponseWriter, r *http.Request) {
		var first, last int64
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last); err == nil {
			r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", first+d, last+d))
		}
	})
}

// faultWriter hands body writes to a fault.
type faultWriter struct {
	http.ResponseWriter
	r     *http.Request
	write func(w *faultWriter, p []byte) (int, error)
	sent  int64
}

// Write implements http.ResponseWriter.
func (w *faultWriter) Write(p []byte) (int, error) { return w.write(w, p) }

// Unwrap serves http.ResponseController.
func (w *faultWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// pass sends what of p still fits below n.
func (w *faultWriter) pass(p []byte, n int64) {
	m, _ := w.ResponseWriter.Write(p[:min(int64(len(p)), n-w.sent)])
	w.sent += int64(m)
}

func (w *faultWriter) flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// headerWriter changes the header when it goes out.
type headerWriter struct {
	http.ResponseWriter
	change func(http.Header)
	wrote  bool
}

// Unwrap serves http.ResponseController.
func (w *headerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *headerWriter) WriteHeader(status int) {
	if !w.wrote {
		w.wrote = true
		w.change(w.Header())
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *headerWriter) Write(p []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}
