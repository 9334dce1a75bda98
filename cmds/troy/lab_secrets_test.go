package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLabSecrets: "lab check" says which file of a secret is missing, and warns of one that others
// may read; what the files hold it does not say.
func TestLabSecrets(t *testing.T) {
	dir := t.TempDir()
	path, key := filepath.Join(dir, "lab.yaml"), filepath.Join(dir, "pc-01.txt")
	must(t, os.WriteFile(path, []byte(`format: 1
zone: UTC
rooms: {a: {always: true, identity: required, secrets: {key: "{host}.txt"}}}
hosts:
  - {name: pc-01, room: a, mac: "52:54:00:12:34:01"}
`), 0o644))
	at := path + ":3:62: rooms.a.secrets.key: found " + key
	if r := wantTroy(t, exitCheck, "lab", "check", path); r.errOut != at+", of pc-01: it does not exist, expected a file with a text of 1 to 16384 bytes\n"+
		"troy: check failed: 1 faults in the file\n" {
		t.Errorf("missing: %s", r.errOut)
	}
	const secret = "bm90aGluZw=="
	must(t, os.WriteFile(key, []byte(secret), 0o600))
	must(t, os.Chmod(key, 0o644))
	if r := wantTroy(t, exitOK, "lab", "check", path); !strings.Contains(r.errOut, "troy: warning: "+at+", which every user of this computer may read") || strings.Contains(r.out+r.errOut, secret) {
		t.Errorf("for all: %s%s", r.out, r.errOut)
	}
	must(t, os.Chmod(key, 0o640))
	if r := wantTroy(t, exitOK, "lab", "check", path); r.errOut != "" || strings.Contains(r.out, secret) {
		t.Errorf("sound: %s%s", r.out, r.errOut)
	}
}
