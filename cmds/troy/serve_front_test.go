package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"troy/server/audit"
	"troy/server/servedir"
)

// TestServeFront serves a lab with TLS: the page, a login, a promotion on it, the audit log,
// metrics.
func TestServeFront(t *testing.T) {
	h := newHistory(t, seeded(t))
	lab, ca, secret := filepath.Join(h.dir, "lab.yaml"), filepath.Join(h.dir, "certs"), filepath.Join(h.dir, "secret")
	must(t, os.WriteFile(lab, []byte(labYAML), 0o644))
	must(t, os.WriteFile(secret, []byte("correct horse battery\n"), 0o600))
	wantTroy(t, exitOK, "certs", "init", "--name", "127.0.0.1", ca)
	wantTroy(t, exitFailed, "certs", "init", "--name", "127.0.0.1", ca)
	wantTroy(t, exitOK, "login", "--password-file", secret, "admin", h.store)
	wantTroy(t, exitUsage, "serve", "--lab", lab, "--boot", h.dir, "--address", "x", "--listen", "127.0.0.1:0", h.store)

	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(h.dir, "notify"), Net: "unixgram"})
	must(t, err)
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", filepath.Join(h.dir, "notify"))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out, ended := &screen{}, make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"serve", "--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0", "--certs", ca, "--lab", lab, h.store}, out, out)
	}()
	out.wait(t, "status page at")
	base := regexp.MustCompile(`https://127\S+[0-9]`).FindString(out.text.String())
	note := make([]byte, 100)
	must(t, manager.SetReadDeadline(time.Now().Add(20*time.Second)))
	if n, err := manager.Read(note); err != nil || string(note[:n]) != "READY=1" {
		t.Errorf("the service manager heard %q, %v", note[:n], err)
	}

	b, err := os.ReadFile(filepath.Join(ca, "ca.crt"))
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(b)
	jar, err := cookiejar.New(nil)
	must(t, err)
	c := &http.Client{Jar: jar, Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
	defer c.CloseIdleConnections()
	ask := func(path string, form url.Values) string {
		t.Helper()
		var r *http.Response
		if form == nil {
			r, err = c.Get(base + path)
		} else {
			r, err = c.PostForm(base+path, form)
		}
		must(t, err)
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		must(t, err)
		return string(b)
	}
	if page := ask("/", nil); strings.Contains(page, "b204-1") || !strings.Contains(page, "Password") {
		t.Error("a stranger sees the page")
	}
	page := ask("/login", url.Values{"name": {"admin"}, "password": {"correct horse battery"}})
	csrf := regexp.MustCompile(`name="csrf" value="([^"]+)"`).FindStringSubmatch(page)
	if csrf == nil || !strings.Contains(page, "b204-1") {
		t.Fatalf("no login: %s", page)
	}
	if page := ask("/do/promote", url.Values{"csrf": {csrf[1]}, "room": {"test"}, "version": {"2"}, "confirm": {"yes"}}); !strings.Contains(page, "Room test gets pc version 2.") {
		t.Errorf("promote: %s", page)
	}
	if text := ask("/metrics", nil); !strings.Contains(text, `troy_room_version{image="pc",room="test"} 2`) {
		t.Errorf("metrics: %s", text)
	}
	wantTroy(t, exitOK, "rollback", "--store", h.store, "--room", "test", "pc@1") // by the socket

	stop()
	if code := <-ended; code != exitOK {
		t.Errorf("serve ends with %d: %s", code, out.text.String())
	}
	me, err := user.Current()
	must(t, err)
	log, err := os.ReadFile(servedir.Of(h.store).Audit())
	must(t, err)
	var acts []string
	for line := range strings.Lines(string(log)) {
		var e audit.Entry
		must(t, json.Unmarshal([]byte(line), &e))
		acts = append(acts, e.Who+" "+e.Action+" "+e.Result)
	}
	if got := strings.Join(acts, ", "); !strings.HasPrefix(got, "admin login ok, admin promote ok, "+me.Username+" POST /v1/admin/") {
		t.Errorf("audit log: %s", got)
	}
}

func TestDoctorCommand(t *testing.T) {
	h := newHistory(t, seeded(t))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	r := wantTroy(t, exitCheck, "doctor", "--listen", l.Addr().String(), "--boot", h.dir, "--no-dhcp", h.store)
	for _, want := range []string{"in use by", "shimx64.efi is not there", "no user can sign in", "signed "} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is missing in:\n%s", want, r.out)
		}
	}
	wantTroy(t, exitUsage, "doctor", "--listen", "8080")
}
