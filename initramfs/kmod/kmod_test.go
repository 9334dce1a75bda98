package kmod

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// realIndex opens the modules of the kernel that the project uses.
func realIndex(t *testing.T) *Index {
	t.Helper()
	dir := os.Getenv("MODULES")
	if dir == "" {
		t.Fatal("MODULES must name a lib/modules/VERSION folder (make deps fetches one)")
	}
	x, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestClosureOfRealModules(t *testing.T) {
	x := realIndex(t)
	modules, err := x.Closure("e1000e", "nvme", "usb-storage", "r8169", "virtio_net", "vfat")
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]int{}
	for i, m := range modules {
		if _, twice := at[m.Name]; twice {
			t.Errorf("%s stands twice in the closure", m.Name)
		}
		at[m.Name] = i
	}
	for i, m := range modules {
		for _, d := range m.Depends {
			if j, ok := at[d]; !x.isBuiltin(d) && (!ok || j > i) {
				t.Errorf("%s needs %s, which does not stand before it", m.Name, d)
			}
		}
	}
	// r8169 loads its PHY driver by a softdep, usb-storage sits on three layers.
	for _, name := range []string{"realtek", "usbcore", "scsi_mod", "nvme_core", "net_failover", "fat"} {
		if _, ok := at[name]; !ok && !x.isBuiltin(name) {
			t.Errorf("closure lacks %s", name)
		}
	}
	again, err := x.Closure("vfat", "virtio_net", "r8169", "usb_storage", "nvme", "e1000e")
	if err != nil || !slices.Equal(modules, again) {
		t.Errorf("closure depends on the order of the names (%v)", err)
	}
}

// What we read must be what xz and objcopy read.
func TestModuleAgainstOtherTools(t *testing.T) {
	x := realIndex(t)
	for _, name := range []string{"e1000e", "vfat"} {
		m, err := x.module(name)
		if err != nil {
			t.Fatal(err)
		}
		ko := filepath.Join(t.TempDir(), "m.ko")
		if err := os.WriteFile(ko, decompressed(t, filepath.Join(x.dir, x.files[name])), 0o600); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(ko); err != nil || !bytes.Equal(b, m.Data) {
			t.Errorf("%s: content differs from the other decompressor's (%v)", name, err)
		}
		section := filepath.Join(t.TempDir(), "modinfo")
		if out, err := exec.Command("objcopy", "-O", "binary", "--only-section=.modinfo", ko, section).CombinedOutput(); err != nil {
			t.Fatalf("objcopy: %v: %s", err, out)
		}
		b, err := os.ReadFile(section)
		if err != nil {
			t.Fatal(err)
		}
		got, err := modinfo(m.Data)
		want := strings.FieldsFunc(string(b), func(r rune) bool { return r == 0 })
		if err != nil || !slices.Equal(got, want) || len(want) < 5 {
			t.Errorf("%s: modinfo = %q, objcopy finds %q (%v)", name, got, want, err)
		}
	}
}

func decompressed(t *testing.T, path string) []byte {
	t.Helper()
	tool := map[string][]string{".xz": {"xz", "-dc"}, ".zst": {"zstd", "-dc"}, ".gz": {"gzip", "-dc"}, ".ko": {"cat"}}[filepath.Ext(path)]
	out, err := exec.Command(tool[0], append(tool[1:], path)...).Output()
	if err != nil {
		t.Fatalf("%v: %v", tool, err)
	}
	return out
}

func TestMissing(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); err == nil {
		t.Error("Open accepts a folder without modules")
	}
	real := realIndex(t)
	path := filepath.Join(dir, "kernel", filepath.Base(real.files["vfat"]))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(real.dir, real.files["vfat"]))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	x, err := Open(dir) // vfat without fat
	if err != nil {
		t.Fatal(err)
	}
	_, err = x.Closure("vfat")
	var missing *MissingError
	if !errors.Is(err, ErrNotFound) || !errors.As(err, &missing) || missing.Name != "fat" || missing.By != "vfat" {
		t.Errorf("Closure without fat = %v, want fat missing, needed by vfat", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "modules.builtin"), []byte("kernel/fs/fat/fat.ko\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if x, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	if modules, err := x.Closure("vfat"); err != nil || len(modules) != 1 {
		t.Errorf("Closure with fat built in = %d modules, %v; want vfat alone", len(modules), err)
	}
	if err := os.WriteFile(path, b[:len(b)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if x, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := x.module("vfat"); err == nil {
		t.Error("half a module is accepted")
	}
}

func TestSoftPre(t *testing.T) {
	for value, want := range map[string][]string{
		"pre: realtek":                    {"realtek"},
		"pre: a-b c post: d":              {"a_b", "c"},
		"post: d pre: a":                  {"a"},
		"post: d":                         nil,
		"":                                nil,
		"crc32c":                          nil,
		"pre:":                            nil,
		"pre: aes sha256 post: x pre: md": {"aes", "sha256", "md"},
	} {
		if got := softPre(value); !slices.Equal(got, want) {
			t.Errorf("softPre(%q) = %q, want %q", value, got, want)
		}
	}
}

func TestIndexFiles(t *testing.T) {
	modules := []*Module{
		{Name: "core", Path: "kernel/core.ko"},
		{Name: "mid", Path: "kernel/mid.ko", Depends: []string{"core"}},
		{Name: "other", Path: "kernel/other.ko", Depends: []string{"core", "builtin"}},
		{Name: "top", Path: "kernel/top.ko", Depends: []string{"core", "mid", "other"}, SoftPre: []string{"other", "absent"}, Aliases: []string{"pci:v1*", "usb:x"}},
	}
	wantDep := `kernel/core.ko:
kernel/mid.ko: kernel/core.ko
kernel/other.ko: kernel/core.ko
kernel/top.ko: kernel/mid.ko kernel/other.ko kernel/core.ko
`
	if got := string(ModulesDep(modules)); got != wantDep {
		t.Errorf("ModulesDep =\n%swant\n%s", got, wantDep)
	}
	if got, want := string(ModulesAlias(modules)), "alias pci:v1* top\nalias usb:x top\n"; got != want {
		t.Errorf("ModulesAlias = %q, want %q", got, want)
	}
	if got, want := string(ModulesSoftdep(modules)), "softdep top pre: other\n"; got != want {
		t.Errorf("ModulesSoftdep = %q, want %q", got, want)
	}
}
