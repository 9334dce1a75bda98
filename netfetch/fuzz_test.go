package netfetch

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// The seeds of all fuzz tests are under testdata/fuzz, each under a name that says what it is.

func FuzzParseContentRange(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string) {
		first, last, total, ok := parseContentRange(s)
		if ok && (first < 0 || last < first || total != -1 && total <= last) {
			t.Errorf("parseContentRange(%q) = %d, %d, %d", s, first, last, total)
		}
		if ok && strings.ContainsAny(s, "+ ") && strings.Count(s, " ") != 1 {
			t.Errorf("parseContentRange(%q) was taken", s)
		}
	})
}

func TestParseContentRange(t *testing.T) {
	for s, want := range map[string]bool{"bytes 0-99/1000": true, "bytes 5-5/*": true, "bytes 5-5/6": true, "": false,
		"bytes 5-5/5": false, "bytes 9-1/20": false, "bytes */1000": false, "bytes -1-5/9": false, "bytes +0-5/9": false,
		"bytes 0-5": false, "items 0-5/9": false, "bytes 0-9223372036854775808/*": false, "bytes  0-5/9": false} {
		if _, _, _, ok := parseContentRange(s); ok != want {
			t.Errorf("parseContentRange(%q) = %v, want %v", s, ok, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		if d := retryAfter(s, now); d < 0 || d > 24*time.Hour {
			t.Errorf("retryAfter(%q) = %v", s, d)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{"": 0, "0": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "-1": 0, "x": 0,
		"4294967295": 24 * time.Hour, "99999999999999999999": 0,
		now.Add(time.Minute).Format(http.TimeFormat): time.Minute, now.Add(-time.Minute).Format(http.TimeFormat): 0,
		now.Add(100 * time.Hour).Format(http.TimeFormat): 24 * time.Hour} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("retryAfter(%q) = %v, want %v", value, got, want)
		}
	}
}

// fuzzed parses bytes as an answer to a GET, as net/http does.
func fuzzed(t *testing.T, raw []byte) (*HTTP, *http.Response) {
	t.Helper()
	h, err := NewHTTP("http://192.0.2.1/repo", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), nil)
	if err != nil {
		return h, nil
	}
	return h, resp
}

// FuzzRange takes any bytes as the answer to a request for bytes 2 to 5: the range is complete, as
// the body has it, or there is an error. A broken part is kept only as far as it was read.
func FuzzRange(f *testing.F) {
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, resp := fuzzed(t, raw)
		if resp == nil {
			return
		}
		r := &ranged{h: h, name: "o", off: 2, n: 4}
		var body bytes.Buffer
		err := r.take(resp, io.TeeReader(resp.Body, &body))
		if r.filled < 0 || r.filled > r.n || (err == nil) != (r.filled == r.n) {
			t.Errorf("%q: %d of %d bytes, %v", raw, r.filled, r.n, err)
		}
		skip := 0
		if resp.StatusCode == http.StatusOK {
			skip = int(r.off)
		}
		if r.filled > 0 && !bytes.HasPrefix(body.Bytes()[skip:], r.buf[:r.filled]) {
			t.Errorf("%q: took %q of the body %q", raw, r.buf[:r.filled], body.Bytes())
		}
		checkOneLine(t, err)
	})
}

// FuzzDocument takes any bytes as the answer to a request for a document of at most 8 bytes.
func FuzzDocument(f *testing.F) {
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, resp := fuzzed(t, raw)
		if resp == nil {
			return
		}
		b, err := h.document(resp, resp.Body, 8)
		if err != nil && b != nil || len(b) > 8 {
			t.Errorf("%q: %q, %v", raw, b, err)
		}
		checkOneLine(t, err)
	})
}

// checkOneLine wants an error that a screen and a report can show.
func checkOneLine(t *testing.T, err error) {
	t.Helper()
	var s *statusError
	if errors.As(err, &s) && strings.ContainsAny(s.detail, "\n\r\x1b\x00") {
		t.Errorf("error %q", err)
	}
}

// FuzzName makes a request for any object: its URL stays under the base, and is the name again when
// it is taken apart.
func FuzzName(f *testing.F) {
	h, err := NewHTTP("http://192.0.2.1/repo", nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name string) {
		req, err := h.request(t.Context(), http.MethodGet, name)
		if err != nil {
			if !errors.Is(err, ErrName) {
				t.Errorf("%q: %v", name, err)
			}
			return
		}
		u, err := url.Parse(req.URL.String())
		if err != nil || u.Host != "192.0.2.1" || u.Path != "/repo/"+name || u.RawQuery != "" || u.Fragment != "" {
			t.Errorf("%q became %q, %v", name, req.URL, err)
		}
	})
}

// FuzzServerURL takes anything for a server that an admin may write: it is refused, or a base URL.
func FuzzServerURL(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string) {
		base := ServerURL(s)
		if base == "" {
			return
		}
		h, err := NewHTTP(base, nil)
		if err != nil {
			t.Fatalf("ServerURL(%q) = %q: %v", s, base, err)
		}
		if again := ServerURL(h.String()); again != h.String() {
			t.Errorf("ServerURL(%q) = %q, and of that %q", s, h, again)
		}
	})
}
