package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/image/trust/sign"
	"troy/internal/tlskey"
	"troy/server/certs"
	"troy/server/protocol"
	"troy/server/rooms/api"
	"troy/server/servedir"
)

// TestPage: a browser gets the page's certificate, self-made or of a folder, and by plain HTTP it is
// sent there.
func TestPage(t *testing.T) {
	for _, given := range []string{"", "certs"} {
		t.Run("folder "+given, func(t *testing.T) {
			o := withLab(t, options(t))
			folder := servedir.Of(o.Dir).Page()
			if given != "" {
				folder = filepath.Join(t.TempDir(), given)
				must(t, certs.Init(folder, []string{"127.0.0.1"}, time.Now()))
				o.Certs = folder
			}
			d, _ := start(t, o)
			b, err := os.ReadFile(filepath.Join(folder, certs.FileCA))
			must(t, err)
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(b)
			c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
			defer c.CloseIdleConnections()
			for _, path := range []string{"/healthz", "/", "/repo/store.json"} {
				r, err := c.Get("https://" + d.TLS().String() + path)
				must(t, err)
				if r.Body.Close(); r.StatusCode != http.StatusOK {
					t.Errorf("%s: %s", path, r.Status)
				}
			}
		})
	}
}

// TestToken: a damaged token is replaced at the start, with a line; the next one is in force at once.
func TestToken(t *testing.T) {
	o := withLab(t, options(t))
	folder := servedir.Of(o.Dir)
	must(t, folder.Make())
	must(t, os.WriteFile(folder.Token(), nil, 0o600))
	var notes []string
	o.Events.Note = func(line string) { notes = append(notes, line) }
	d, _ := start(t, o)
	if all := strings.Join(notes, "\n"); !strings.Contains(all, folder.Token()+" held no token: another was made") {
		t.Errorf("it was said: %s", all)
	}
	token, err := api.Token(folder.Token()).Read()
	must(t, err)
	known := tlskey.Client(func() []string { return []string{d.Key()} }, nil)
	old := api.NewClient("https://"+d.TLS().String(), token, known)
	must(t, old.Ping(t.Context()))
	token, err = api.Token(folder.Token()).Rotate()
	must(t, err)
	if err := old.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "the admin's token is needed") {
		t.Errorf("the token before: %v", err)
	}
	must(t, api.NewClient("https://"+d.TLS().String(), token, known).Ping(t.Context()))
}

// TestCallsNeedKeys: no call is taken by plain HTTP, not even from this machine, nor from a machine
// that shows no key.
func TestCallsNeedKeys(t *testing.T) {
	d, _ := start(t, withLab(t, options(t)))
	keyless := tlskey.Client(func() []string { return []string{d.Key()} }, nil)
	for _, path := range []string{protocol.PathCheckIn, protocol.PathProgress, protocol.PathReport, "v1//checkin", "v1/capture/x", "v1/admin/status"} {
		for base, want := range map[string]int{"http://" + d.Plain().String(): http.StatusForbidden, "https://" + d.TLS().String(): http.StatusForbidden} {
			if path == "v1/admin/status" && strings.HasPrefix(base, "https") {
				want = http.StatusUnauthorized // the token is asked for
			}
			t.Run(base[:5]+" "+path, func(t *testing.T) {
				tr := &http.Transport{TLSClientConfig: keyless}
				defer tr.CloseIdleConnections()
				r, err := (&http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Post(base+"/"+path, "application/json", strings.NewReader("{}"))
				must(t, err)
				if r.Body.Close(); r.StatusCode != want {
					t.Errorf("%s", r.Status)
				}
			})
		}
	}
}

// TestByHand: what docs/check-in.md has people type is taken by a server, and not by one with another
// key.
func TestByHand(t *testing.T) {
	o := withLab(t, options(t))
	d, _ := start(t, o)
	page, err := os.ReadFile("../../docs/check-in.md")
	must(t, err)
	_, text, ok := strings.Cut(string(page), "## By hand")
	if !ok {
		t.Fatal("the page has no such part")
	}
	script := ""
	for i, block := range strings.Split(text, "```") {
		if _, commands, ok := strings.Cut(block, "\n"); i%2 == 1 && ok {
			script += commands
		}
	}
	script = strings.NewReplacer("/srv/troy/", o.Dir+"/", "127.0.0.1:8443", d.TLS().String()).Replace(script)
	for name, c := range map[string]struct {
		key   string // of the server, as the script names it
		taken int
	}{"its key": {"tls.key", 2}, "another key": {"other.key", 0}} {
		t.Run(name, func(t *testing.T) {
			_, _, err := certs.LoadKey(filepath.Join(o.Dir, "serve", c.key))
			must(t, err)
			sh := exec.Command("sh", "-c", strings.ReplaceAll(script, "tls.key", c.key))
			sh.Dir = t.TempDir()
			out, err := sh.CombinedOutput()
			if n := strings.Count(string(out), "HTTP/1.1 200"); n != c.taken || (err == nil) != (c.taken > 0) {
				t.Errorf("%d calls were taken, want %d: %v\n%s", n, c.taken, err, out)
			}
		})
	}
}

// TestUnsignedServer: a server whose key nobody signed says which command does it, and orders name
// the list that is signed.
func TestUnsignedServer(t *testing.T) {
	o := withLab(t, options(t))
	must(t, os.Remove(servedir.Of(o.Dir).TLSKey()))
	d, _ := start(t, o)
	want := fmt.Sprintf("no machine takes this server yet: 'troy key servers --store %s --add %s --url https://SERVER:PORT' signs its key", o.Dir, d.Key())
	if next := d.Next(t.Context()); len(next) == 0 || next[0] != want {
		t.Errorf("next: %q, want %q first", next, want)
	}
	repo, err := sign.Open(o.Dir, nil)
	must(t, err)
	list, err := repo.ServedList()
	must(t, err)
	if order := checkIn(t, d); order.Servers != list.Digest() || list.Digest() == "" {
		t.Errorf("the order names the list %q, want %q", order.Servers, list.Digest())
	}
}
