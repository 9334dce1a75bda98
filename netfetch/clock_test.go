package netfetch

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"troy/internal/testing/fetchtest"
	"troy/internal/testing/memnet"
	"troy/internal/tlskey"
)

var build = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func date(s string) time.Time {
	t, err := time.Parse(time.DateTime, s)
	if err != nil {
		panic(err)
	}
	return t
}

func TestClock(t *testing.T) {
	tests := []struct {
		rtc, hint string // hint "" = none
		taken     bool
		want      string
	}{
		{"2026-12-01 00:00:00", "", false, "2026-12-01 00:00:00"},
		{"1970-01-01 00:00:00", "", false, "2026-11-01 12:00:00"},
		{"2050-01-01 00:00:00", "", false, "2026-11-01 12:00:00"},
		{"2026-11-01 11:59:59", "", false, "2026-11-01 12:00:00"},
		{"1970-01-01 00:00:00", "2028-03-01 00:00:00", true, "2028-03-01 00:00:00"},
		{"2050-01-01 00:00:00", "2028-03-01 00:00:00", true, "2028-03-01 00:00:00"},
		{"1970-01-01 00:00:00", "2026-10-31 00:00:00", false, "2026-11-01 12:00:00"},
		{"1970-01-01 00:00:00", "2037-01-01 00:00:00", false, "2026-11-01 12:00:00"},
		{"2027-01-01 14:00:00", "2027-01-01 00:00:00", true, "2027-01-01 00:00:00"}, // local time in the clock
		{"2027-01-04 00:00:01", "2027-01-02 00:00:00", false, "2027-01-04 00:00:01"},
		{"2027-01-02 00:00:00", "2028-01-02 00:00:00", false, "2027-01-02 00:00:00"},
		{"2026-11-02 00:00:00", "2026-11-01 00:00:00", false, "2026-11-02 00:00:00"}, // before the build
	}
	for _, test := range tests {
		rtc := date(test.rtc)
		c := NewClock(build, func() time.Time { return rtc })
		if test.hint != "" && c.Hint(date(test.hint)) != test.taken {
			t.Errorf("clock %s: hint %s taken = %v", test.rtc, test.hint, !test.taken)
		}
		if got := c.Now(); !got.Equal(date(test.want)) {
			t.Errorf("clock %s, hint %s: now = %v, want %s", test.rtc, test.hint, got, test.want)
		}
		rtc = rtc.Add(time.Hour)
		if got := c.Now(); !got.Equal(date(test.want).Add(time.Hour)) {
			t.Errorf("clock %s: an hour later it is %v", test.rtc, got)
		}
	}
}

// serverKey makes a key, its certificate, and the TLS of a client that takes no other one.
func serverKey(t *testing.T) (tls.Certificate, *tls.Config) {
	t.Helper()
	key, err := tlskey.New()
	if err != nil {
		t.Fatal(err)
	}
	name, err := key.Name()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := key.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	return cert, tlskey.Client(func() []string { return []string{name} }, nil)
}

// serveTLS starts a server in memory that has a certificate, at https://127.0.0.1:443.
func serveTLS(t *testing.T, n *memnet.Net, cert tls.Certificate, h http.Handler) {
	t.Helper()
	l, err := n.Listen("127.0.0.1:443")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}}
	s.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what is tested
	go s.ServeTLS(l, "", "")
	t.Cleanup(func() { s.Close() })
}

// TestTLS: a server is taken by its key alone, whatever the clock says, and another one is refused
// at the first try.
func TestTLS(t *testing.T) {
	for name, c := range map[string]struct {
		clock string
		other bool
	}{
		"right clock": {clock: "2027-01-01 00:00:00"}, "1971": {clock: "1971-01-01 00:00:00"}, "2200": {clock: "2200-01-01 00:00:00"},
		"another key": {clock: "2027-01-01 00:00:00", other: true},
	} {
		t.Run(name, onFakeTime(func(t *testing.T) {
			cert, pinned := serverKey(t)
			if c.other {
				_, pinned = serverKey(t)
			}
			var n memnet.Net
			serveTLS(t, &n, cert, fetchtest.Files{"o": []byte("x")})
			o := quick()
			o.TLS, o.dial = pinned, n.Dial
			o.TLS.Time = func() time.Time { return date(c.clock) }
			h, err := NewHTTP(tlsURL, o)
			if err != nil {
				t.Fatal(err)
			}
			defer h.Reconnect()
			_, err = h.ReadRange(t.Context(), "o", 0, 1)
			var fe *FetchError
			if errors.Is(err, tlskey.ErrPin) != c.other || (err != nil) != c.other || err != nil && (!errors.As(err, &fe) || fe.Tries != 1) {
				t.Errorf("ReadRange = %v, want a refusal: %t", err, c.other)
			}
		}))
	}
}

const tlsURL = "https://127.0.0.1:443"

// TestNoRedirectFromTLS sends a TLS client to plain HTTP.
func TestNoRedirectFromTLS(t *testing.T) { synctest.Test(t, testNoRedirectFromTLS) }

func testNoRedirectFromTLS(t *testing.T) {
	cert, pinned := serverKey(t)
	var n memnet.Net
	n.Serve(t, "127.0.0.2:80", fetchtest.Files{"o": []byte("x")})
	away := http.RedirectHandler("http://127.0.0.2/o", http.StatusFound)
	serveTLS(t, &n, cert, away)
	n.Serve(t, "127.0.0.1:80", away)
	o := quick()
	o.TLS, o.dial = pinned, n.Dial
	h, err := NewHTTP(tlsURL, o)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Reconnect()
	if _, err := h.Get(t.Context(), "o", 10); !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), "from TLS to http://") {
		t.Errorf("Get = %v", err)
	}
	if h, err = NewHTTP("http://127.0.0.1:80", o); err != nil {
		t.Fatal(err)
	}
	defer h.Reconnect()
	if b, err := h.ReadRange(t.Context(), object, 0, 1); err != nil || string(b) != "x" {
		t.Errorf("a plain redirect: %q, %v", b, err)
	}
}
