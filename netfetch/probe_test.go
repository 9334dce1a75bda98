package netfetch

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"troy/internal/testing/needs"
)

func TestProbe(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/base/good", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("here")) })
	mux.HandleFunc("/base/long", func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 1<<20)) })
	mux.HandleFunc("/base/portal", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/base/good", http.StatusFound) })
	plain, secure := httptest.NewServer(mux), httptest.NewTLSServer(mux)
	defer plain.Close()
	defer secure.Close()
	for _, test := range []struct {
		base, name string
		size       int
		fails      string
	}{
		{plain.URL + "/base/", "good", 4, ""},
		{secure.URL + "/base", "good", 4, ""}, // nobody signed its certificate
		{plain.URL + "/base", "long", maxProbe, ""},
		{plain.URL + "/base", "portal", 0, "302"},
		{plain.URL + "/base", "missing", 0, "404"},
		{"ftp://x", "good", 0, "want http://"},
	} {
		t.Run(test.base+" "+test.name, func(t *testing.T) {
			b, err := Probe(t.Context(), test.base, test.name, nil)
			if len(b) != test.size || (err == nil) != (test.fails == "") || err != nil && !strings.Contains(err.Error(), test.fails) {
				t.Errorf("%d bytes, %v", len(b), err)
			}
		})
	}
}

// TestProbeAsksTheseNameServers has a name that only one name server knows.
func TestProbeAsksTheseNameServers(t *testing.T) {
	needs.Root(t)
	conn, err := net.ListenPacket("udp", "127.0.77.1:53")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		b := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			end := 12 // of the question: its name, type and class
			for end < n && b[end] != 0 {
				end += 1 + int(b[end])
			}
			end = min(end+5, n)
			a := append([]byte{b[0], b[1], 0x84, 0, 0, 1, 0, 0, 0, 0, 0, 0}, b[12:end]...)
			if b[end-3] == 1 { // A, not AAAA
				a[7] = 1
				a = append(a, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1)
			}
			conn.WriteTo(a, from)
		}
	}()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(r.Host)) }))
	defer web.Close()
	url := strings.Replace(web.URL, "127.0.0.1", "troy.example.", 1)
	b, err := Probe(t.Context(), url, "o", []netip.Addr{netip.MustParseAddr("127.0.77.1")})
	if err != nil || !strings.HasPrefix(string(b), "troy.example.:") {
		t.Errorf("%q, %v", b, err)
	}
}
