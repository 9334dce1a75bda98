package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"troy/chainload/release"
	"troy/initramfs/bundle"
)

// boot makes a bundle.
func boot(t *testing.T, change func(m *bundle.Manifest)) string {
	t.Helper()
	files := map[string][]byte{}
	for _, name := range bundle.Names() {
		files[name] = []byte("content of " + name)
	}
	m := &bundle.Manifest{Version: "1.2", Linux: "6.12.1", Packages: []bundle.Package{{Name: "linux-image-6.12", Version: "6.12.1-1~bpo12+1",
		Sources: []string{"linux (= 6.12.1-1)", "gcc-12 (= 12.2.0-14)"}, Files: []string{release.Kernel, release.Initrd + "/*.ko"}}},
		Modules: []bundle.Module{{Name: "example.org/agent", Version: "v1.2.3", Files: []string{release.Initrd}}}}
	if change != nil {
		change(m)
	}
	dir := filepath.Join(t.TempDir(), "boot")
	if err := bundle.Write(dir, m, files); err != nil {
		t.Fatal(err)
	}
	return dir
}

// The document names all that it was given, and nothing is made of what it does not name; twice the
// same input gives the same bytes.
func TestDocument(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	dir := boot(t, nil)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--version", "1.2~test", "--bundle", dir, "usr/bin/troy=" + self}
	first, second := written(t, args...), written(t, args...)
	if !bytes.Equal(first, second) {
		t.Error("twice the same is not the same")
	}
	if other := written(t, append([]string{"--version", "1.3"}, args[2:]...)...); serial(t, other) == serial(t, first) {
		t.Error("another version has the same serial number")
	}
	var d bill
	if err := json.Unmarshal(first, &d); err != nil {
		t.Fatal(err)
	}
	var unnamed bill
	t.Setenv("SOURCE_DATE_EPOCH", "")
	if err := json.Unmarshal(written(t, args[2:]...), &unnamed); err != nil || unnamed.Metadata.Component.Version != "1.2" || unnamed.Metadata.Timestamp != "" {
		t.Errorf("without a version and a time: %+v, %v", unnamed.Metadata, err)
	}
	if d.Metadata.Timestamp != "2023-11-14T22:13:20Z" || d.Metadata.Component.Version != "1.2~test" || d.Format != "CycloneDX" {
		t.Errorf("head %+v", d)
	}
	made := map[string][]string{}
	for _, of := range d.Dependencies {
		made[of.Ref] = of.DependsOn
	}
	for _, c := range d.Components {
		if _, ok := made[c.Ref]; !ok {
			t.Errorf("of %s it is not said what it is made of", c.Ref)
		}
	}
	for _, refs := range made {
		for _, ref := range refs {
			if !slices.ContainsFunc(d.Components, func(c component) bool { return c.Ref == ref }) {
				t.Errorf("%s is no component", ref)
			}
		}
	}
	contains(t, made["troy"], "usr/bin/troy", release.Initrd, bundle.Rescue, release.Kernel)
	contains(t, made[release.Initrd], "pkg:golang/example.org/agent@v1.2.3", "pkg:deb/debian/linux-image-6.12@6.12.1-1~bpo12%2B1")
	contains(t, made[release.Kernel], "pkg:deb/debian/linux-image-6.12@6.12.1-1~bpo12%2B1")
	contains(t, made["pkg:deb/debian/linux-image-6.12@6.12.1-1~bpo12%2B1"], "pkg:deb/debian/linux@6.12.1-1?arch=source", "pkg:deb/debian/gcc-12@12.2.0-14?arch=source")
	info, ok := debug.ReadBuildInfo()
	if !ok || len(info.Deps) == 0 {
		t.Fatalf("this test knows no modules: %+v", info)
	}
	for _, m := range info.Deps {
		contains(t, made["usr/bin/troy"], "pkg:golang/"+m.Path+"@"+strings.ReplaceAll(m.Version, "+", "%2B"))
	}
	contains(t, made["usr/bin/troy"], "pkg:golang/std@"+strings.TrimPrefix(info.GoVersion, "go"))
}

func contains(t *testing.T, have []string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !slices.Contains(have, w) {
			t.Errorf("%s is missing in %q", w, have)
		}
	}
}

// written is what the command writes to a file.
func written(t *testing.T, args ...string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sbom.json")
	var errs bytes.Buffer
	if code := run(append([]string{"--out", path}, args...), &errs, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func serial(t *testing.T, b []byte) string {
	t.Helper()
	var d bill
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	return d.Serial
}

// What cannot be told gives no document, and says what is wrong.
func TestRefused(t *testing.T) {
	good := boot(t, nil)
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	noSource := boot(t, func(m *bundle.Manifest) { m.Packages[0].Sources = []string{"linux"} })
	noFile := boot(t, func(m *bundle.Manifest) { m.Packages[0].Files = []string{"vmlinux"} })
	ofNothing := boot(t, func(m *bundle.Manifest) { m.Modules[0].Files = nil })
	for _, c := range []struct {
		epoch string
		args  []string
		code  int
		want  string
	}{
		{"", []string{"--verbose"}, 64, "flag provided but not defined"},
		{"", []string{"--version", "1", "--bundle", good, "troy"}, 64, `"troy" is not NAME=PROGRAM`},
		{"", []string{"--version", "1", "--bundle", good, "troy=" + script}, 1, errNoModules.Error()},
		{"", []string{"--version", "1", "--bundle", noFile}, 1, `"vmlinux" of linux-image-6.12 is not in it`},
		{"", []string{"--version", "1", "--bundle", ofNothing}, 1, `nothing is of example.org/agent`},
		{"", []string{"--version", "1", "--bundle", noSource}, 1, `source "linux" of linux-image-6.12`},
		{"", []string{"--version", "1", "--bundle", t.TempDir()}, 1, bundle.ErrAbsent.Error()},
		{"yesterday", []string{"--version", "1", "--bundle", good}, 1, "SOURCE_DATE_EPOCH"},
	} {
		t.Setenv("SOURCE_DATE_EPOCH", c.epoch)
		var out, errs bytes.Buffer
		if code := run(c.args, &out, &errs); code != c.code || !strings.Contains(errs.String(), c.want) || out.Len() > 0 {
			t.Errorf("%q: exit code %d, %s%s; want %q", c.args, code, &errs, &out, c.want)
		}
	}
}
