package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"troy/initramfs/bundle"
	"troy/internal/cli"
	"troy/internal/testing/medium"
	"troy/trial"
)

// What cannot be tried is found before anything begins, and leaves nothing behind.
func TestTryRefuses(t *testing.T) {
	dir := t.TempDir()
	manager := filepath.Join(dir, "manager.efi")
	if err := os.WriteFile(manager, []byte("MZ program"), 0o644); err != nil {
		t.Fatal(err)
	}
	iso := func(name, edition string) string {
		out := filepath.Join(dir, edition+".iso")
		if err := medium.Make(t.Context(), &medium.Options{BootManager: manager, Out: out, Name: name, Edition: edition}); err != nil {
			t.Fatal(err)
		}
		return out
	}
	pro, home, other := iso("", "Professional"), iso("Windows 11 Home", "Core"), filepath.Join(dir, "other.iso")
	if err := medium.Other(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	full := filepath.Join(dir, "full")
	if err := os.MkdirAll(filepath.Join(full, "photos"), 0o755); err != nil {
		t.Fatal(err)
	}
	boot, files := filepath.Join(dir, "boot"), map[string][]byte{}
	for _, name := range bundle.Names() {
		files[name] = []byte("a file of the bundle")
	}
	if err := bundle.Write(boot, &bundle.Manifest{}, files); err != nil {
		t.Fatal(err)
	}
	before := temporary(t)
	for name, c := range map[string]struct {
		code int
		says string
		args []string
	}{
		"estimate":  {cli.OK, "edition Professional, build 26100", []string{"--dry-run", pro}},
		"no bundle": {cli.Failed, "no boot bundle in", []string{"--bundle", full, pro}},
		"home":      {cli.Failed, "Windows Home, which Microsoft does not license", []string{"--dry-run", home}},
		"other":     {cli.Failed, "is no installation medium of Windows", []string{other}},
		"nothing":   {cli.Failed, "no such file", []string{filepath.Join(dir, "none.iso")}},
		"memory":    {cli.Failed, "of memory are free", []string{"--memory", "99999999", pro}},
		"room":      {cli.Failed, "free", []string{"--ballast", "1024", "--cuts", "99999999", pro}},
		"folder":    {cli.Failed, "is not empty and holds no trial", []string{"--keep", full, pro}},
		"result":    {cli.Usage, "no such file", []string{"--result", filepath.Join(dir, "none", "r.json"), pro}},
		"result in": {cli.Usage, "is a folder", []string{"--result", full, pro}},
		"terminal":  {cli.Usage, "there is no terminal: give --yes", []string{"--yes=false", pro}},
		"until":     {cli.Usage, "want one of store, import", []string{"--until", "lunch", pro}},
		"size":      {cli.Usage, "want 0.1 to", []string{"--size", "0", pro}},
		"cuts":      {cli.Usage, "out of its range", []string{"--cuts", "-1", pro}},
		"relay":     {cli.Failed, "is no address of this machine alone", []string{"--relay", "192.0.2.1:80"}},
		"no file":   {cli.Usage, "wrong number of arguments (0)", nil},
		"two files": {cli.Usage, "wrong number of arguments (2)", []string{pro, home}},
	} {
		t.Run(name, func(t *testing.T) {
			args := slices.Concat([]string{"try", "--no-secure-boot", "--emulate", "--memory", "512", "--size", "1", "--program", manager, "--bundle", boot, "--yes"}, c.args)
			r := wantTroy(t, c.code, args...)
			if !strings.Contains(r.out+r.errOut, c.says) {
				t.Errorf("%q is not in:\n%s%s", c.says, r.out, r.errOut)
			}
		})
	}
	if after := temporary(t); !slices.Equal(after, before) {
		t.Errorf("left behind: %v", after)
	}
}

// What is left is named so that it can be pasted into a shell.
func TestTryLeft(t *testing.T) {
	for dir, want := range map[string]string{"/var/tmp/troy-try-1": "rm -r /var/tmp/troy-try-1", "/home/a b/it's": `rm -r '/home/a b/it'\''s'`} {
		c := &tryCall{}
		c.o.Dir = dir
		if err := c.left(trial.ErrHost); !strings.HasSuffix(err.Error(), want) || !errors.Is(err, trial.ErrHost) {
			t.Errorf("%v, want it to end with %q", err, want)
		}
	}
}

// temporary lists the folders of trials.
func temporary(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("/var/tmp/troy-try-*")
	if err != nil {
		t.Fatal(err)
	}
	return names
}
