package main

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"troy/internal/utf16le"
	"troy/server/protocol"
)

// hall is a room of machines with a secret each, as a test sees it from all sides.
type hall struct {
	*servedLab
	macs    []string
	secrets map[string]string // by MAC address
	all     []string          // that ever were
}

// renew gives each machine another secret.
func (h *hall) renew(t *testing.T) {
	t.Helper()
	for i, mac := range h.macs {
		b := make([]byte, 24)
		rand.Read(b)
		h.secrets[mac] = hex.EncodeToString(b)
		h.all = append(h.all, h.secrets[mac])
		content := []byte(h.secrets[mac] + "\r\n")
		if i%2 == 1 { // as djoin writes it
			content = utf16le.Append([]byte{0xff, 0xfe}, h.secrets[mac]+"\x00")
		}
		must(t, os.WriteFile(filepath.Join(filepath.Dir(h.lab), fmt.Sprintf("key-pc-%d", i)), content, 0o600))
	}
}

// secretOf is the secret in an order.
func secretOf(o *protocol.Order) (texts []string) {
	if o.Identity == nil {
		return nil
	}
	for _, v := range o.Identity.Values {
		if v.Secret {
			texts = append(texts, v.Text)
		}
	}
	return texts
}

// visible is all that the server keeps, writes and shows.
func (h *hall) visible(t *testing.T) map[string][]byte {
	t.Helper()
	all := map[string][]byte{"screen": []byte(h.out.text.String())}
	must(t, filepath.WalkDir(h.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasPrefix(d.Name(), "key-pc-") {
			return err
		}
		all[path], err = os.ReadFile(path)
		return err
	}))
	for _, args := range [][]string{{"status"}, {"status", "--json"}, {"hosts"}, {"hosts", "--json"}, {"hosts", "--yaml"}, {"log", "--json", "pc-0"}, {"log", "pc-1"},
		{"lab", "check", h.lab}, {"promote", "--dry-run", "--room", "hall", "pc@2"}, {"promote", "--dry-run", "--json", "--room", "hall", "pc@2"}} {
		r := wantTroy(t, exitOK, args...)
		all[strings.Join(args, " ")] = []byte(r.out + r.errOut)
	}
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer web.CloseIdleConnections()
	for _, path := range []string{"/", "/host?id=pc-0", "/host?id=pc-1", "/nights", "/metrics"} {
		a, err := web.Get(h.url + path)
		must(t, err)
		b, err := io.ReadAll(a.Body)
		must(t, err)
		a.Body.Close()
		all[path] = append([]byte(a.Status+"\n"), b...)
	}
	return all
}

// TestSecretsNowhere: secrets reach the confirmed machine that each belongs to, by its own key, and
// nothing else: no file of the server, no command, no page, whatever happens in whatever order.
func TestSecretsNowhere(t *testing.T) {
	seed := mathrand.Uint64()
	t.Logf("seed %d", seed)
	draw := mathrand.New(mathrand.NewPCG(seed, 1))
	h := &hall{servedLab: &servedLab{history: newHistory(t, seeded(t))}, secrets: map[string]string{}}
	h.lab = filepath.Join(h.dir, "lab.yaml")
	h.more = []string{"--public-page", "--log", filepath.Join(h.dir, "events")}
	text := "format: 1\nzone: UTC\nimages: [pc]\nunknown: hall\nrooms:\n  hall: {image: pc, always: true, identity: wanted, values: {printer: hp}, secrets: {account: \"key-{host}\"}}\nhosts:\n"
	for i := range 4 {
		h.macs = append(h.macs, fmt.Sprintf("52:54:00:00:0a:%02x", i))
		text += fmt.Sprintf("  - {name: pc-%d, room: hall, mac: %q}\n", i, h.macs[i])
	}
	must(t, os.WriteFile(h.lab, []byte(text), 0o644))
	h.renew(t)
	h.start(t)
	confirmed := map[string]bool{}
	got := 0
	for range 40 {
		i := draw.IntN(len(h.macs))
		mac := h.macs[i]
		switch draw.IntN(8) {
		case 0:
			if h.keys[mac] == nil {
				continue
			}
			wantTroy(t, exitOK, "hosts", "confirm", "--yes", fmt.Sprintf("pc-%d", i))
			confirmed[mac] = true
		case 1:
			h.renew(t)
		case 2: // somebody else says that he is this machine
			if h.keys[mac] == nil {
				continue
			}
			own := h.keys[mac]
			delete(h.keys, mac)
			o := h.checkIn(t, mac, 1, "")
			if h.keys[mac] = own; o.Identity != nil {
				t.Fatalf("another key as pc-%d: %+v", i, o.Identity)
			}
		case 3:
			if o := h.checkIn(t, fmt.Sprintf("52:54:00:00:0b:%02x", draw.IntN(256)), 1, ""); o.Identity != nil {
				t.Fatalf("a guest: %+v", o.Identity)
			}
		default:
			o := h.checkIn(t, mac, 1+draw.IntN(2), protocol.HealthGood)
			want := []string(nil)
			if confirmed[mac] {
				want, got = []string{h.secrets[mac]}, got+1
			}
			if o.Identity == nil || o.Identity.Name != fmt.Sprintf("pc-%d", i) || !slices.Equal(secretOf(&o), want) {
				t.Fatalf("pc-%d, confirmed %t: %d secrets in %+v", i, confirmed[mac], len(secretOf(&o)), o.Identity)
			}
			h.report(t, mac, 1, protocol.OutcomeKept, "as it was")
		}
	}
	for i, mac := range h.macs { // whatever was drawn
		h.checkIn(t, mac, 1, "")
		wantTroy(t, exitOK, "hosts", "confirm", "--yes", fmt.Sprintf("pc-%d", i))
		if o := h.checkIn(t, mac, 1, ""); !slices.Equal(secretOf(&o), []string{h.secrets[mac]}) {
			t.Errorf("pc-%d has not got its secret", i)
		}
	}
	all := h.visible(t)
	h.stop()
	state, err := os.ReadFile(filepath.Join(h.store, "serve", "state.db"))
	must(t, err)
	all["state at the end"] = state
	for where, b := range all {
		for _, secret := range h.all {
			if bytes.Contains(b, []byte(secret)) || bytes.Contains(b, utf16le.Append(nil, secret)) {
				t.Errorf("%s holds a secret", where)
			}
		}
	}
	// Of what is looked at, each shows something.
	for where, want := range map[string]string{"/": "pc-0", "/host?id=pc-1": "pc-1", "hosts --json": "pc-3", "state at the end": "pc-0", filepath.Join(h.dir, "events"): `"secret":true`} {
		if !strings.Contains(string(all[where]), want) {
			t.Errorf("%s does not show %q", where, want)
		}
	}
	t.Logf("%d orders with secrets before the last ones, %d places", got, len(all))
}
