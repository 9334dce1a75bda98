package daemon

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"troy/chainload/release"
	"troy/server"
	"troy/server/netboot"
)

// TestPlainly: where there is TLS, check-ins and the page are not served without it.
func TestPlainly(t *testing.T) {
	h := plainly(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {}), &net.TCPAddr{Port: 8443})
	for _, c := range []struct {
		from, method, path string
		want               int
		location           string
	}{
		{"10.0.0.1:1", "GET", "/repo/store.json", 200, ""},
		{"10.0.0.1:1", "GET", "/boot/troy.iso", 200, ""},
		{"10.0.0.1:1", "GET", "/boot//troy.iso", 200, ""},
		{"10.0.0.1:1", "GET", "//boot/./troy.iso", 200, ""},
		{"10.0.0.1:1", "POST", "//v1//checkin", 403, ""},
		{"10.0.0.1:1", "GET", "/boot/..//host", 308, "https://troy.example:8443/host"},
		{"10.0.0.1:1", "GET", "/healthz", 200, ""},
		{"10.0.0.1:1", "POST", "/v1/checkin", 403, ""},
		{"10.0.0.1:1", "GET", "/host?id=a", 308, "https://troy.example:8443/host?id=a"},
		{"127.0.0.1:1", "POST", "/v1/checkin", 403, ""},
		{"[::1]:1", "GET", "/", 200, ""},
	} {
		r := httptest.NewRequest(c.method, "http://troy.example:8080"+c.path, nil)
		r.RemoteAddr = c.from
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want || w.Header().Get("Location") != c.location {
			t.Errorf("%s %s from %s: %d %s", c.method, c.path, c.from, w.Code, w.Header().Get("Location"))
		}
	}
}

// TestSentOn: a browser is sent to the host that it named, with or without a port.
func TestSentOn(t *testing.T) {
	h := plainly(http.NotFoundHandler(), &net.TCPAddr{Port: 8443})
	for host, want := range map[string]string{
		"troy.example": "troy.example", "troy.example:8080": "troy.example", "10.1.2.3:8080": "10.1.2.3",
		"[2001:db8::1]": "[2001:db8::1]", "[2001:db8::1]:8080": "[2001:db8::1]",
	} {
		r := httptest.NewRequest("GET", "/nights", nil)
		r.Host, r.RemoteAddr = host, "10.0.0.9:1"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if got := w.Header().Get("Location"); got != "https://"+want+":8443/nights" {
			t.Errorf("%s is sent to %s", host, got)
		}
	}
}

// TestBootPaths: firmware and shim follow no redirect, so a doubled slash must not cause one.
func TestBootPaths(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, release.ISO), []byte("MZ"), 0o644))
	boot, err := netboot.New(&netboot.Options{Dir: dir})
	must(t, err)
	defer boot.Close()
	h := (&Daemon{boot: boot, store: &server.Server{}}).routes()
	for path, want := range map[string]int{
		"/boot/troy.iso": 200, "/boot//troy.iso": 200, "//boot/troy.iso": 200, "/boot/./troy.iso": 200, "/boot/troy.iso%0A": 200,
		"/boot//none": 404, "/boot//../boot/": 404,
	} {
		t.Run(path, func(t *testing.T) {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", "http://troy.example"+path, nil))
			if w.Code != want || want == 200 && w.Body.Len() == 0 {
				t.Errorf("%d %s, want %d", w.Code, w.Header().Get("Location"), want)
			}
		})
	}
}

// TestDocumentedLimit: docs/check-in.md says how often an address may call.
func TestDocumentedLimit(t *testing.T) {
	b, err := os.ReadFile("../../docs/check-in.md")
	must(t, err)
	if want := fmt.Sprintf("takes %d calls a second from each IP address", callsPerSecond); !strings.Contains(string(b), want) {
		t.Errorf("the page does not say %q", want)
	}
}
