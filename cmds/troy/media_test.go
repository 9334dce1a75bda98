package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writeText writes a file and returns its path.
func writeText(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// Each wrong thing gets one line that names it, before anything is made.
func TestMediaRefuses(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	file := func(name, text string) string { return writeText(t, dir, name, text) }
	text := file("text", "no certificate\n")
	store, bare := filepath.Join(dir, "store"), filepath.Join(dir, "bare")
	t.Setenv("TROY_BUNDLE", dir)
	wantTroy(t, exitOK, "init", store)
	wantTroy(t, exitOK, "init", bare)
	must(t, os.RemoveAll(filepath.Join(bare, "metadata")))
	must(t, os.RemoveAll(filepath.Join(bare, "keys")))
	for _, c := range []struct {
		code int
		args []string
		want string
	}{
		{exitFailed, nil, "is not a store"},
		{exitUsage, []string{"--root", text, "--store", dir}, "want one of --store and --root"},
		{exitUsage, []string{"--root", text, "--unsigned"}, "unknown flag --unsigned"},
		{exitFailed, []string{"--config", file("u.yaml", "unsigned: true\n")}, "every store is signed"},
		{exitFailed, []string{"--store", bare}, "'troy key init --store " + bare + "'"},
		{exitFailed, []string{"--config", filepath.Join(dir, "none.yaml")}, "no such file"},
		{exitFailed, []string{"--config", file("a.yaml", "server: x\n")}, `unknown field "server"`},
		{exitFailed, []string{"--config", file("b.yaml", "servers: x: y\n")}, "b.yaml: "},
		{exitFailed, []string{"--config", file("c.yaml", "servers: 5\n")}, "c.yaml: "},
		{exitFailed, []string{"--config", file("d.json", `{"root": "missing.json"}`)}, filepath.Join(dir, "missing.json")},
		{exitFailed, []string{"--config", file("big.yaml", strings.Repeat("#\n", 1<<20))}, "that is another file"},
		{exitFailed, []string{"--server", "ftp://x"}, "troy.server=ftp://x"},
		{exitFailed, []string{"--server", "http://x"}, "machines check in by TLS only"},
		{exitUsage, []string{"--ca", text}, "unknown flag --ca"},
		{exitFailed, []string{"--argument", "port=eth0"}, `"port=eth0" is no argument`},
		{exitFailed, []string{"--argument", "troy.a\ntroy.unsigned"}, "is no argument"},
		{exitFailed, []string{"--argument", "troy.ip=1.2.3"}, "troy.ip=1.2.3"},
		{exitFailed, []string{"--root", text}, text},
		{exitFailed, []string{"--store", dir}, dir},
		{exitFailed, []string{"--store", store}, "no boot bundle in " + dir},
		{exitFailed, []string{"--store", store, "--bundle", bare}, "no boot bundle in " + bare},
		{exitUsage, []string{"--kernel", text}, "unknown flag --kernel"},
	} {
		r := troy(append([]string{"media", "--out", out}, c.args...)...)
		if r.code != c.code || !strings.Contains(r.errOut, c.want) {
			t.Errorf("%q: exit code %d, %q; want %d and %q", c.args, r.code, r.errOut, c.code, c.want)
		}
		if line, _, _ := strings.Cut(r.errOut, "\nusage"); strings.Count(strings.TrimSpace(line), "\n") > 0 {
			t.Errorf("%q: more than a line: %q", c.args, r.errOut)
		}
	}
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Errorf("something was made (%v)", err)
	}
}

// TestNoToolsOfGo: golang.org/x/tools makes a folder in the user's cache as soon as a program that
// has it starts.
func TestNoToolsOfGo(t *testing.T) {
	for line := range strings.Lines(string(tool(t, ".", "go", "list", "-deps", "."))) {
		if strings.HasPrefix(line, "golang.org/x/tools/") {
			t.Errorf("troy is linked from %s", line)
		}
	}
}
