package fetchtest

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// get fetches bytes 10-109 of a 1000 byte object with a plain client.
func get(t *testing.T, f Fault) (resp *http.Response, body []byte, err error) {
	t.Helper()
	data := make([]byte, 1000)
	for i := range data {
		data[i] = byte(i * 7)
	}
	s := New(Files{"o": data})
	s.Next(f)
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	req, _ := http.NewRequest("GET", web.URL+"/o", nil)
	req.Header.Set("Range", "bytes=10-109")
	client := &http.Client{Timeout: 300 * time.Millisecond, Transport: &http.Transport{DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err = client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, 5000))
	if log := s.Requests(); len(log) != 1 || log[0].Range != "bytes=10-109" || log[0].Fault != (f != nil) || log[0].Method != "GET" {
		t.Errorf("log %+v", log)
	}
	return resp, body, err
}

// TestFaults shows that each fault does what it says, and nothing else.
func TestFaults(t *testing.T) {
	_, good, err := get(t, nil)
	if err != nil || len(good) != 100 {
		t.Fatalf("without a fault: %d bytes, %v", len(good), err)
	}
	wrong := bytes.Clone(good)
	wrong[50] ^= 0x40
	same := func(h string, v string) func(*http.Response, []byte, error) bool {
		return func(r *http.Response, b []byte, err error) bool {
			return err == nil && r.StatusCode == 206 && bytes.Equal(b, good) && r.Header.Get(h) == v
		}
	}
	status := func(code int, header, value string) func(*http.Response, []byte, error) bool {
		return func(r *http.Response, b []byte, err error) bool {
			return err == nil && r.StatusCode == code && r.Header.Get(header) == value
		}
	}
	early := func(n int) func(*http.Response, []byte, error) bool {
		return func(r *http.Response, b []byte, err error) bool {
			return err != nil && r != nil && r.StatusCode == 206 && bytes.Equal(b, good[:n])
		}
	}
	noAnswer := func(r *http.Response, _ []byte, err error) bool { return r == nil && err != nil }
	tests := []struct {
		name string
		f    Fault
		ok   func(*http.Response, []byte, error) bool
	}{
		{"Cut", Cut(40), early(40)},
		{"Stall", Stall(40), early(40)},
		{"Drip", Drip(1, 10*time.Millisecond), func(r *http.Response, b []byte, err error) bool {
			return err != nil && len(b) > 3 && len(b) < 40 && bytes.HasPrefix(good, b)
		}},
		{"Wrong", Wrong(50), func(r *http.Response, b []byte, err error) bool { return err == nil && bytes.Equal(b, wrong) }},
		{"Silence", Silence(time.Minute), noAnswer},
		{"Silence for a while", Silence(50 * time.Millisecond), same("Content-Range", "bytes 10-109/1000")},
		{"Drop", Drop(), noAnswer},
		{"Whole", Whole(), func(r *http.Response, b []byte, err error) bool { return r.StatusCode == 200 && len(b) == 1000 }},
		{"ETag", ETag(`"x"`), same("ETag", `"x"`)},
		{"no ETag", ETag(""), same("ETag", "")},
		{"DeafETag", DeafETag(`"x"`), same("ETag", `"x"`)},
		{"Busy", Busy(503, "9"), status(503, "Retry-After", "9")},
		{"Redirect", Redirect("/x"), status(302, "Location", "/x")},
		{"Header", Header("Content-Encoding", "gzip"), same("Content-Encoding", "gzip")},
		{"no header", Header("Content-Range", ""), same("Content-Range", "")},
		{"Shift", Shift(5), status(206, "Content-Range", "bytes 15-114/1000")},
		{"Endless", Endless(), func(r *http.Response, b []byte, err error) bool {
			return len(b) == 5000 && bytes.HasPrefix(b, good) && r.ContentLength == -1
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if r, b, err := get(t, test.f); !test.ok(r, b, err) {
				t.Errorf("answer %+v, %d bytes, %v", r, len(b), err)
			}
		})
	}
}

// TestQueue applies faults in order, then the standing one, to the requests that match.
func TestQueue(t *testing.T) {
	s := New(Files{"a": []byte("a"), "b": []byte("b")})
	s.Only(func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "b") })
	s.Next(Busy(500, ""), nil, Busy(501, ""))
	s.Always(Busy(502, ""))
	var got []int
	for _, path := range []string{"/a", "/b", "/b", "/a", "/b", "/b", "/b", "/a", "/c"} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		got = append(got, w.Code)
	}
	want := []int{200, 500, 200, 200, 501, 502, 502, 200, 404}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("statuses %v, want %v", got, want)
		}
	}
	if s.Sent() != int64(4+4*len("come back later\n")+len("no such object\n")) {
		t.Errorf("sent %d bytes", s.Sent())
	}
}
