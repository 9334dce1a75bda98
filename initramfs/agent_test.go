package initramfs

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"troy/chainload/grub"
	"troy/chainload/release"
)

// The folder of a release holds what starts, kernel and initramfs as in the bundle; files of others
// in it are left alone.
func TestAgent(t *testing.T) {
	b, out := smallBoot(t), filepath.Join(t.TempDir(), "agent")
	if err := os.MkdirAll(out, 0o755); err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{"notes": []byte("of the admin"), release.Site: b.Site}
	if err := os.WriteFile(filepath.Join(out, "notes"), want["notes"], 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Agent(b, out); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{release.Shim, release.Kernel, release.Initrd} {
		data, err := b.Bundle.Read(name)
		if err != nil {
			t.Fatal(err)
		}
		want[name] = data
	}
	have := map[string][]byte{}
	entries, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if have[e.Name()], err = os.ReadFile(filepath.Join(out, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	if !grub.ReadsBeside(have[release.GRUB]) {
		t.Error("its GRUB does not read the configuration beside itself")
	}
	delete(have, release.GRUB)
	if !maps.EqualFunc(have, want, bytes.Equal) {
		t.Errorf("files %q, want %q with the content of the bundle", slices.Sorted(maps.Keys(have)), slices.Sorted(maps.Keys(want)))
	}
}
