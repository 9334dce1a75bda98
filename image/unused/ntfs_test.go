package unused_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/diskwriter/ntfs"
	"troy/diskwriter/pcdisk"
	"troy/image/publish"
	"troy/image/unused"
)

func (v *volume) mounted(do func(root string) error) {
	v.t.Helper()
	if err := pcdisk.Mounted(context.Background(), v.path, do); err != nil {
		v.t.Fatal(err)
	}
}

// owned returns the bytes of the disk that ntfs.Runs gives for a file.
func (v *volume) owned(name string) (n int64) {
	v.t.Helper()
	f, err := os.Open(v.path)
	if err != nil {
		v.t.Fatal(err)
	}
	defer f.Close()
	vol, err := ntfs.Open(f, volumeLen)
	if err != nil {
		v.t.Fatal(err)
	}
	runs, err := vol.Runs(name)
	if err != nil {
		v.t.Fatal(err)
	}
	for _, r := range runs {
		if !r.Hole() {
			n += r.Length * int64(vol.Geometry().ClusterSize)
		}
	}
	return n
}

func (v *volume) unusedBytes(r *rand.Rand) (n int64, notes string) {
	v.t.Helper()
	l, lines, err := filter.Unused(v.t.Context(), bytes.NewReader(v.disk(r)), diskLen, 512)
	if err != nil {
		v.t.Fatal(err)
	}
	for _, u := range l {
		n += u.Length
	}
	return n, strings.Join(lines, "\n")
}

// TestPageFiles: a page file that Windows has not written to its end, as they all are, and a sparse
// one are unused but for their heads; the same file under a second name counts, and the note says
// so.
func TestPageFiles(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	v := newVolume(t, r)
	v.mounted(func(root string) error { return os.MkdirAll(filepath.Join(root, "Windows/System32"), 0o755) })
	v.put("pagefile.sys", nil)
	program(t, "ntfsfallocate", "-l", "6291456", v.path, "pagefile.sys")
	v.mounted(func(root string) error {
		swap := filepath.Join(root, "swapfile.sys")
		if err := os.WriteFile(swap, random(r, mib), 0o644); err != nil {
			return err
		}
		return os.Truncate(swap, 3*mib)
	})
	page, swap := v.owned(`\pagefile.sys`), v.owned(`\swapfile.sys`)
	if page != 6*mib || swap < mib || swap >= 3*mib {
		t.Fatalf("page file of %d, swap file of %d bytes", page, swap)
	}
	with, notes := v.unusedBytes(r)
	v.mounted(func(root string) error {
		return os.Link(filepath.Join(root, "pagefile.sys"), filepath.Join(root, "Windows/kept.bin"))
	})
	linked, warning := v.unusedBytes(r)
	if d := with - linked; d != page-64<<10 || strings.Contains(notes, "whole") || !strings.Contains(warning, "counts as a whole: \\pagefile.sys: file has more") {
		t.Errorf("with a second name %d bytes less are unused, want %d\n%s\n%s", d, page-64<<10, notes, warning)
	}
	v.mounted(func(root string) error {
		return errors.Join(os.Remove(filepath.Join(root, "Windows/kept.bin")), os.Remove(filepath.Join(root, "pagefile.sys")), os.Remove(filepath.Join(root, "swapfile.sys")))
	})
	if free, _ := v.unusedBytes(r); free-with != 2*64<<10 { // the heads
		t.Errorf("without the files %d bytes are unused, with them %d", free, with)
	}
}

// TestPageFileContent: what machines hold in a page file that ends before its size never reaches a
// version, and the volume stays whole.
func TestPageFileContent(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	v := newVolume(t, r)
	v.put("pagefile.sys", nil)
	program(t, "ntfsfallocate", "-l", "4194304", v.path, "pagefile.sys")
	content := map[string][]byte{"a.dll": random(r, mib+5)}
	v.put("a.dll", content["a.dll"])
	s, err := publish.Init(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d := v.disk(r)
	m, err := publish.Import(t.Context(), s, "pc", source(d, "g1"), &publish.Options{Filter: filter})
	if err != nil {
		t.Fatal(err)
	}
	if outside := int64(diskLen - volumeLen); m.Figures.Shipped > outside+3*mib {
		t.Errorf("shipped: %+v", m.Figures)
	}
	checkVolume(t, fetch(t, s, random(r, diskLen), 0, 1), content)
}

// TestWindowsVolumes: a volume with a Windows on it is what publishers have. Its state decides,
// whatever else is found first.
func TestWindowsVolumes(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	v := newVolume(t, r)
	v.mounted(func(root string) error { return os.MkdirAll(filepath.Join(root, "Windows/System32"), 0o755) })
	clean := v.disk(r)
	program(t, "ntfsfix", v.path) // sets the dirty flag
	dirty := v.disk(r)
	hiberfil := filepath.Join(t.TempDir(), "hiberfil.sys")
	if err := os.WriteFile(hiberfil, append([]byte("hibr"), random(r, mib)...), 0o644); err != nil {
		t.Fatal(err)
	}
	program(t, "ntfscp", "-q", "-f", v.path, hiberfil, "hiberfil.sys")
	both := v.disk(r)
	v = newVolume(t, r)
	v.mounted(func(root string) error { return os.MkdirAll(filepath.Join(root, "Windows/System32"), 0o755) })
	v.put("hiberfil.sys", []byte("HIBR and so on, longer than a record can hold: "+strings.Repeat("x", 5000)))
	asleep := v.disk(r)
	for _, c := range []struct {
		name   string
		disk   []byte
		unused bool
		err    error
		note   string
	}{
		{"clean", clean, true, nil, "NTFS, clean"},
		{"dirty", dirty, false, nil, "NTFS, not clean (dirty flag is set), all of it counts"},
		{"asleep", asleep, false, unused.ErrHibernated, ""},
		{"asleep and dirty", both, false, unused.ErrHibernated, ""},
	} {
		l, notes, err := filter.Unused(t.Context(), bytes.NewReader(c.disk), diskLen, 512)
		if !errors.Is(err, c.err) || len(l) > 0 != c.unused || !strings.Contains(strings.Join(notes, "\n"), c.note) {
			t.Errorf("%s: %d ranges, %q, %v", c.name, len(l), notes, err)
		}
	}
}

// bent is a volume with a few bytes changed.
type bent struct {
	base    []byte
	changes map[int64]byte
}

func (b *bent) ReadAt(p []byte, off int64) (int, error) {
	n, err := bytes.NewReader(b.base).ReadAt(p, off)
	for at, c := range b.changes {
		if at >= off && at < off+int64(n) {
			p[at-off] = c
		}
	}
	return n, err
}

var _ io.ReaderAt = (*bent)(nil)

// FuzzReadNTFS changes bytes of a real volume (3 for the place, 1 for the value): no panic, nothing
// outside the volume, nothing unused on an unclean one.
func FuzzReadNTFS(f *testing.F) {
	p := filepath.Join(f.TempDir(), "volume")
	const size = 4 * mib
	if err := os.WriteFile(p, make([]byte, size), 0o644); err != nil {
		f.Fatal(err)
	}
	program(f, "mkntfs", "-Q", "-F", "-q", "-c", "4096", "-s", "512", "-p", "4096", "-H", "16", "-S", "63", p)
	small := filepath.Join(f.TempDir(), "small")
	if err := os.WriteFile(small, make([]byte, 256<<10), 0o644); err != nil {
		f.Fatal(err)
	}
	for _, name := range []string{"pagefile.sys", "swapfile.sys", "hiberfil.sys"} {
		program(f, "ntfscp", "-q", p, small, name)
	}
	b, err := os.ReadFile(p)
	if err != nil {
		f.Fatal(err)
	}
	good, err := unused.ReadNTFS(f.Context(), bytes.NewReader(b), size)
	if err != nil || len(good.Files) != 3 || len(good.Free) == 0 || good.Unclean != "" {
		f.Fatalf("the unchanged volume: %+v, %v", good, err)
	}
	record := bytes.Index(b, []byte("FILE"))
	f.Add([]byte{})
	f.Add([]byte{0, 0, 3, 'X'})
	f.Add([]byte{byte(record >> 16), byte(record >> 8), byte(record) + 0x16, 0})
	for _, name := range []string{"p\x00a\x00g\x00e\x00f", "h\x00i\x00b\x00e\x00r"} {
		at := bytes.Index(b, []byte(name))
		f.Add([]byte{byte(at >> 16), byte(at >> 8), byte(at), 'q', byte(at >> 16), byte(at >> 8), byte(at) + 60, 1})
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		d := &bent{b, map[int64]byte{}}
		for ; len(in) >= 4 && len(d.changes) < 32; in = in[4:] {
			d.changes[int64(in[0])<<16|int64(in[1])<<8|int64(in[2])] = in[3]
		}
		v, err := unused.ReadNTFS(t.Context(), d, size)
		if err != nil {
			return
		}
		if (v.Hibernated || v.Unclean != "") && (len(v.Free) > 0 || len(v.Files) > 0) {
			t.Fatalf("an unclean volume has unused clusters: %+v", v)
		}
		for _, list := range append(v.Files, v.Free) {
			for _, r := range list {
				if r.Offset < 0 || r.Length <= 0 || r.Offset > size-r.Length {
					t.Fatalf("%+v of a volume of %d", r, size)
				}
			}
		}
	})
}
