package main

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"troy/image/trust"
	"troy/internal/tlskey"
)

// signedServers is what "key servers" lists.
func signedServers(t *testing.T, store string) (list trust.Servers) {
	t.Helper()
	must(t, json.Unmarshal([]byte(wantTroy(t, exitOK, "key", "servers", "--store", store, "--json").out), &list))
	return list
}

// TestKeyServers: a server's life, from its first key to the one that replaces it.
func TestKeyServers(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	const at, moved = "https://troy.example:8443", "https://new.example:8443"
	wantTroy(t, exitOK, "init", "--url", at, store)
	own := signedServers(t, store).Servers[0].Key
	next := strings.Repeat("5", tlskey.Size)
	for _, c := range []struct {
		args string
		code int
		says string // on the error line
		want []trust.Server
	}{
		{"", exitOK, "", []trust.Server{{Key: own, URLs: []string{at}}}},
		{"--next " + next, exitOK, "", []trust.Server{{Key: own, URLs: []string{at}}, {Key: next, Next: true}}},
		{"--add own", exitOK, "", []trust.Server{{Key: own, URLs: []string{at}}, {Key: next, Next: true}}},
		{"--remove own", exitFailed, "machines would take none", nil},
		{"--add " + next + " --url " + moved + " --remove own", exitOK, "", []trust.Server{{Key: next, URLs: []string{moved}}}},
		{"--remove own", exitFailed, "no server has the key", nil},
		{"--url " + at, exitUsage, "--url belongs to", nil},
		{"--add xyz", exitFailed, "not the SHA-256", nil},
		{"--add own --url http://a", exitFailed, "want https://", nil},
	} {
		t.Run(c.args, func(t *testing.T) {
			before := signedServers(t, store)
			r := wantTroy(t, c.code, append([]string{"key", "servers", "--store", store}, strings.Fields(c.args)...)...)
			if !strings.Contains(r.errOut, c.says) {
				t.Errorf("it says %s", r.errOut)
			}
			want := c.want
			if want == nil {
				want = before.Servers
			}
			same := func(a, b trust.Server) bool {
				return a.Key == b.Key && a.Next == b.Next && slices.Equal(a.URLs, b.URLs)
			}
			if now := signedServers(t, store); !slices.EqualFunc(now.Servers, want, same) || c.code != exitOK && now.Version != before.Version {
				t.Errorf("signed is %+v, want %+v", now, want)
			}
		})
	}
}

// TestAdminElsewhere: the admin's commands take a server by what the root metadata leads to, and send
// the token to no other one.
func TestAdminElsewhere(t *testing.T) {
	s := serveLab(t, newHistory(t, seeded(t)))
	root, token := filepath.Join(s.dir, "root.json"), filepath.Join(s.store, "serve", "token")
	wantTroy(t, exitOK, "key", "root", root)
	other := filepath.Join(s.dir, "other")
	wantTroy(t, exitOK, "init", other)
	foreign := filepath.Join(s.dir, "foreign.json")
	wantTroy(t, exitOK, "key", "root", "--store", other, foreign)
	for name, c := range map[string]struct {
		code int
		args []string
		says string
	}{
		"by the root":        {exitOK, []string{"--store", s.dir, "--root", root}, ""},
		"root of another":    {exitFailed, []string{"--store", s.dir, "--root", foreign}, "nothing was sent to the server"},
		"store of another":   {exitFailed, []string{"--store", other}, "the token was not sent"},
		"neither":            {exitFailed, []string{"--store", s.dir}, "--store or --root says which server to take"},
		"without TLS":        {exitFailed, []string{"--store", s.store, "--server", strings.Replace(s.url, "https", "http", 1)}, "with https"},
		"by the store's own": {exitOK, []string{"--store", s.store}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := wantTroy(t, c.code, append([]string{"status", "--server", s.url, "--token-file", token}, c.args...)...)
			if !strings.Contains(r.errOut, c.says) {
				t.Errorf("it says %s", r.errOut)
			}
		})
	}
}
