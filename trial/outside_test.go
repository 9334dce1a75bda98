package trial

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"troy/internal/testing/medium"
	"troy/trial/inside"
	"troy/trial/prepare"
	"troy/vhdx"
)

// A version differs from the one before in the ballast alone; the broken one has lost what Windows
// starts by, and the one after it has it back.
func TestVersions(t *testing.T) {
	dir := t.TempDir()
	manager, iso, raw := filepath.Join(dir, "manager.efi"), filepath.Join(dir, "Win11.iso"), filepath.Join(dir, "disk.raw")
	if err := os.WriteFile(manager, []byte("MZ"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := medium.Make(t.Context(), &medium.Options{BootManager: manager, Out: iso}); err != nil {
		t.Fatal(err)
	}
	answer, err := prepare.Answer("")
	if err != nil {
		t.Fatal(err)
	}
	if err := medium.Disk(t.Context(), iso, 128<<20, answer, raw); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	path := func(n string) string { return filepath.Join(dir, n+".vhdx") }
	f, err := vhdx.Create(path("1"), &vhdx.CreateOptions{Size: int64(len(b)), Kind: vhdx.Dynamic})
	if err != nil {
		t.Fatal(err)
	}
	c, err := vhdx.NewChain(f)
	if err != nil {
		t.Fatal(err)
	}
	copied := int64(0)
	if err := copyPages(t.Context(), c, bytes.NewReader(b), zeros{}, int64(len(b)), func(n int64) { copied += n }); err != nil || copied != int64(len(b)) {
		t.Fatal(err, copied)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if got := content(t, path("1")); !bytes.Equal(got, b) {
		t.Fatal("the copy differs")
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(child(path("1"), path("2"), withBallast(2)))
	must(child(path("2"), path("3"), broken))
	good, err := vhdx.OpenChain(path("2"), &vhdx.ChainOptions{Parents: &vhdx.Parents{}})
	must(err)
	defer good.Close()
	must(child(path("3"), path("4"), func(c *vhdx.Chain) error { return mended(c, good) }))
	for n, want := range map[string]struct {
		stamp uint32
		begin string
	}{"1": {0, "MZ"}, "2": {2, "MZ"}, "3": {2, "\xdb\xdb"}, "4": {2, "MZ"}} {
		v, begin := look(t, path(n))
		if want.stamp > 0 && !v.Ballast.One(want.stamp) || begin != want.begin || len(v.Faults) > 0 {
			t.Errorf("version %s: %q, %s", n, begin, v)
		}
	}
	if !bytes.Equal(content(t, path("2")), content(t, path("4"))) {
		t.Error("what was broken is not as it was")
	}
	changed, old, now := 0, content(t, path("1")), content(t, path("2"))
	for i := 0; i < len(old); i += inside.BlockSize {
		if !bytes.Equal(old[i:i+inside.BlockSize], now[i:i+inside.BlockSize]) {
			changed++
		}
	}
	if want := 4 << 20 / inside.BlockSize; changed != want {
		t.Errorf("%d pages differ, want %d", changed, want)
	}
}

// What a cut in a Windows that writes leaves in a file is no damage; a place outside the file is.
func TestDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "boot.vhdx")
	f, err := vhdx.Create(path, &vhdx.CreateOptions{Size: 8 << 20, Kind: vhdx.Dynamic, BlockSize: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	c, err := vhdx.NewChain(f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteAt(bytes.Repeat([]byte{7}, 4096), 0); err != nil {
		t.Fatal(err)
	}
	if err := c.Sync(); err != nil {
		t.Fatal(err)
	}
	cut, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bat, _ := f.Regions().Find(vhdx.RegionBAT)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	closed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := func(b []byte) (*vhdx.Report, *vhdx.Finding) {
		r, err := vhdx.Check(bytes.NewReader(b), int64(len(b)), nil)
		if err != nil {
			t.Fatal(err)
		}
		return r, damage(r)
	}
	if r, d := found(cut); d != nil || r.OK() {
		t.Errorf("a log that is not closed: %v, findings %v", d, r.Findings)
	}
	copy(cut[vhdx.Header1Offset:], make([]byte, 512))
	if _, d := found(cut); d != nil {
		t.Errorf("and a torn header: %v", d)
	}
	if _, d := found(closed); d != nil {
		t.Errorf("closed: %v", d)
	}
	copy(closed[bat.Offset:], bytes.Repeat([]byte{0xff}, 8))
	if _, d := found(closed); d == nil || d.Severity != vhdx.Error {
		t.Errorf("a damaged BAT: %v", d)
	}
}

// content is all of a disk.
func content(t *testing.T, path string) []byte {
	t.Helper()
	c, err := vhdx.OpenChain(path, &vhdx.ChainOptions{Parents: &vhdx.Parents{}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := make([]byte, c.Size())
	if _, err := c.ReadAt(b, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return b
}

// look is what Look sees of the virtual disk, and the beginning of the loader.
func look(t *testing.T, path string) (v *View, begin string) {
	t.Helper()
	c, err := vhdx.OpenChain(path, &vhdx.ChainOptions{Parents: &vhdx.Parents{}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	v = &View{}
	v.windows(c, 0)
	volume, err := windowsOn(c)
	if err != nil {
		t.Fatal(err)
	}
	l, err := volume.OpenFile(loader)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2)
	if _, err := l.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return v, string(b)
}
