package netfetch

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"troy/internal/testing/fetchtest"
	"troy/internal/testing/memnet"
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

// authority makes a CA and a server certificate for 127.0.0.1.
func authority(t *testing.T, from, to time.Time) (*x509.CertPool, tls.Certificate) {
	t.Helper()
	make := func(parent *x509.Certificate, parentKey *ecdsa.PrivateKey, ca bool) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lab"}, NotBefore: from, NotAfter: to,
			IsCA: ca, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
		if parent == nil {
			parent, parentKey = c, key
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
		if err != nil {
			t.Fatal(err)
		}
		made, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return made, key
	}
	ca, caKey := make(nil, nil, true)
	leaf, key := make(ca, caKey, false)
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return pool, tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}
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

// TestTLS has PCs whose clocks say anything.
func TestTLS(t *testing.T) {
	now := date("2027-01-01 00:00:00")
	made := now.Add(-30 * 24 * time.Hour) // the program
	old, oldCert := authority(t, made.Add(-time.Hour), now.Add(time.Hour))
	young, youngCert := authority(t, now.Add(-time.Hour), now.Add(time.Hour))
	tests := []struct {
		name   string
		rtc    time.Time
		pool   *x509.CertPool
		cert   tls.Certificate
		hinted bool
		ok     bool
	}{
		{"right clock", now, young, youngCert, false, true},
		{"1970", time.Unix(0, 0), old, oldCert, false, true},
		{"2050", date("2050-01-01 00:00:00"), old, oldCert, false, true},
		{"1970, certificate younger than the program", time.Unix(0, 0), young, youngCert, false, false},
		{"1970, the same with a hint", time.Unix(0, 0), young, youngCert, true, true},
		{"2050, the same with a hint", date("2050-01-01 00:00:00"), young, youngCert, true, true},
		{"another authority", now, old, youngCert, false, false},
	}
	for _, test := range tests {
		t.Run(test.name, onFakeTime(func(t *testing.T) {
			time.Sleep(time.Until(now)) // the server's clock is right
			var n memnet.Net
			serveTLS(t, &n, test.cert, fetchtest.Files{"o": []byte("x")})
			clock := NewClock(made, func() time.Time { return test.rtc })
			if test.hinted {
				hint, err := serverTime(t.Context(), tlsURL, &HTTPOptions{dial: n.Dial})
				if err != nil || !clock.Hint(hint) {
					t.Fatalf("hint %v: %v", hint, err)
				}
			}
			o := quick()
			o.RootCAs, o.Now, o.dial = test.pool, clock.Now, n.Dial
			h, err := NewHTTP(tlsURL, o)
			if err != nil {
				t.Fatal(err)
			}
			defer h.Reconnect()
			_, err = h.ReadRange(t.Context(), "o", 0, 1)
			var fe *FetchError
			if (err == nil) != test.ok || err != nil && (!errors.As(err, &fe) || fe.Tries != 1 || !strings.Contains(err.Error(), "certificate")) {
				t.Errorf("ReadRange error = %v, want success %v", err, test.ok)
			}
		}))
	}
}

const tlsURL = "https://127.0.0.1:443"

// TestNoRedirectFromTLS sends a TLS client to plain HTTP.
func TestNoRedirectFromTLS(t *testing.T) { synctest.Test(t, testNoRedirectFromTLS) }

func testNoRedirectFromTLS(t *testing.T) {
	pool, cert := authority(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	var n memnet.Net
	n.Serve(t, "127.0.0.2:80", fetchtest.Files{"o": []byte("x")})
	away := http.RedirectHandler("http://127.0.0.2/o", http.StatusFound)
	serveTLS(t, &n, cert, away)
	n.Serve(t, "127.0.0.1:80", away)
	o := quick()
	o.RootCAs, o.dial = pool, n.Dial
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
