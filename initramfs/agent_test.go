package initramfs

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// The folder of a release holds what starts; files of others in it are left alone.
func TestAgent(t *testing.T) {
	dir := t.TempDir()
	initrd, out := filepath.Join(dir, "initrd"), filepath.Join(dir, "agent")
	if err := os.WriteFile(initrd, []byte("initramfs"), 0o644); err != nil {
		t.Fatal(err)
	}
	boot := &Boot{Loaders: loaders(t), Kernel: environment(t, "KERNEL"), Initrd: initrd}
	if err := Agent(&Boot{Loaders: dir, Kernel: boot.Kernel, Initrd: initrd}, out); err == nil {
		t.Error("a release without boot loaders")
	}
	if entries, err := os.ReadDir(out); err == nil && len(entries) > 0 {
		t.Errorf("what failed left %v", entries)
	}
	check := func(want map[string]string) {
		t.Helper()
		entries, err := os.ReadDir(out)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		for name, from := range want {
			have, err := os.ReadFile(filepath.Join(out, name))
			if err != nil {
				t.Fatal(err)
			}
			if content, err := os.ReadFile(from); err != nil || !bytes.Equal(have, content) {
				t.Errorf("%s is not %s: %v", name, from, err)
			}
			names = slices.DeleteFunc(names, func(n string) bool { return n == name })
		}
		if len(names) != 0 {
			t.Errorf("there are also %v", names)
		}
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(out, "notes"), []byte("of the admin"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Agent(boot, out); err != nil {
		t.Fatal(err)
	}
	notes := filepath.Join(out, "notes")
	beside, err := boot.GRUBBeside()
	if err != nil {
		t.Fatal(err)
	}
	grub := filepath.Join(t.TempDir(), "grub")
	if err := os.WriteFile(grub, beside, 0o644); err != nil {
		t.Fatal(err)
	}
	check(map[string]string{"shimx64.efi": filepath.Join(boot.Loaders, Shim.Path), "grubx64.efi": grub,
		"vmlinuz": boot.Kernel, "initramfs.cpio.zst": initrd, "notes": notes})
}
