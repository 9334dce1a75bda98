package ntfs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"troy/diskwriter/ntfs"
)

// aFile makes \Troy\f of 64 KiB.
func aFile(root string) error { return named(root, "f", 65536) }

func named(root, name string, size int) error {
	if err := os.MkdirAll(filepath.Join(root, "Troy"), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, "Troy", name), random(5, size), 0o644)
}

// standard returns the attribute flags in $STANDARD_INFORMATION.
func standard(t *testing.T, b []byte) []byte { return attribute(t, b, 0x10)[0x18+0x20:][:4] }

func or32(b []byte, v uint32) {
	binary.LittleEndian.PutUint32(b, binary.LittleEndian.Uint32(b)|v)
}

// TestMapRefuses: everything that makes direct writes unsafe, each made by ntfs-3g
// where it can, by damage where it cannot.
func TestMapRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		make   func(root string) error
		damage func(t *testing.T, m *image)
		want   error
	}{
		{"missing", func(root string) error { return os.Mkdir(filepath.Join(root, "Troy"), 0o755) }, nil, ntfs.ErrNotExist},
		{"no folder", func(root string) error { return nil }, nil, ntfs.ErrNotExist},
		{"directory", func(root string) error { return os.MkdirAll(filepath.Join(root, "Troy/f"), 0o755) }, nil, ntfs.ErrDirectory},
		{"resident", func(root string) error { return named(root, "f", 100) }, nil, ntfs.ErrResident},
		{"empty", func(root string) error { return named(root, "f", 0) }, nil, ntfs.ErrResident},
		{"partial page", func(root string) error { return named(root, "f", 65536+512) }, nil, ntfs.ErrPartialPage},
		{"sparse", func(root string) error {
			if err := aFile(root); err != nil {
				return err
			}
			return os.Truncate(filepath.Join(root, "Troy/f"), 10*mib)
		}, nil, ntfs.ErrSparse},
		{"compressed", func(root string) error {
			dir := filepath.Join(root, "Troy")
			if err := os.Mkdir(dir, 0o755); err != nil {
				return err
			}
			if err := unix.Setxattr(dir, "system.ntfs_attrib", []byte{0x00, 0x08, 0, 0x10}, 0); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, "f"), bytes.Repeat([]byte("compress me"), 65536), 0o644)
		}, nil, ntfs.ErrCompressed},
		{"reparse point", func(root string) error {
			if err := aFile(root); err != nil {
				return err
			}
			data := append([]byte{0x17, 0, 0, 0x80, 16, 0, 0, 0}, make([]byte, 16)...)
			return unix.Setxattr(filepath.Join(root, "Troy/f"), "system.ntfs_reparse_data", data, 0)
		}, nil, ntfs.ErrReparse},
		{"hard link in another folder", func(root string) error {
			if err := aFile(root); err != nil {
				return err
			}
			return os.Link(filepath.Join(root, "Troy/f"), filepath.Join(root, "other"))
		}, nil, ntfs.ErrHardLinks},
		{"hard link in the folder", func(root string) error {
			if err := aFile(root); err != nil {
				return err
			}
			return os.Link(filepath.Join(root, "Troy/f"), filepath.Join(root, "Troy/other"))
		}, nil, ntfs.ErrHardLinks},
		{"valid length", func(root string) error { return named(root, "f", 0) }, func(t *testing.T, m *image) {
			tool(t, "ntfsfallocate", "-l", "1048576", m.Name(), "Troy/f")
		}, ntfs.ErrValidLength},
		{"encrypted", aFile, func(t *testing.T, m *image) {
			m.record(`\Troy\f`, func(b []byte) { or32(standard(t, b), 0x4000) })
		}, ntfs.ErrEncrypted},
		{"encrypted attribute", aFile, func(t *testing.T, m *image) {
			m.record(`\Troy\f`, func(b []byte) { attribute(t, b, 0x80)[0x0d] |= 0x40 })
		}, ntfs.ErrEncrypted},
		{"sparse flag alone", aFile, func(t *testing.T, m *image) {
			m.record(`\Troy\f`, func(b []byte) { or32(standard(t, b), 0x200) })
		}, ntfs.ErrSparse},
		{"clusters marked free", aFile, func(t *testing.T, m *image) {
			f, err := m.open().Map(m, `\Troy\f`)
			if err != nil {
				t.Fatal(err)
			}
			lcn := f.Mapping().Runs[0].LCN + 13
			b := make([]byte, 1)
			at := m.open().BitmapPlace(lcn)
			if _, err := m.ReadAt(b, at); err != nil {
				t.Fatal(err)
			}
			b[0] &^= 1 << (lcn % 8)
			m.write(b, at)
		}, ntfs.ErrNotUsed},
		{"clusters of $MFT", aFile, func(t *testing.T, m *image) { m.runs(ntfs.Run{LCN: 4, Length: 16}) }, ntfs.ErrOverlap},
		{"clusters twice", aFile, func(t *testing.T, m *image) {
			m.runs(ntfs.Run{LCN: 3000, Length: 10}, ntfs.Run{LCN: 3009, Length: 6})
		}, ntfs.ErrOverlap},
		{"clusters behind the end", aFile, func(t *testing.T, m *image) { m.runs(ntfs.Run{LCN: m.open().Geometry().Clusters - 15, Length: 16}) }, ntfs.ErrCorrupt},
		{"clusters before the start", aFile, func(t *testing.T, m *image) { m.runs(ntfs.Run{LCN: -5, Length: 16}) }, ntfs.ErrCorrupt},
		{"too few clusters", aFile, func(t *testing.T, m *image) { m.runs(ntfs.Run{LCN: 3000, Length: 15}) }, ntfs.ErrCorrupt},
		{"hole", aFile, func(t *testing.T, m *image) {
			m.record(`\Troy\f`, func(b []byte) { copy(attribute(t, b, 0x80)[0x40:], []byte{0x01, 16, 0}) })
		}, ntfs.ErrSparse},
		{"torn record", aFile, func(t *testing.T, m *image) {
			v := m.open()
			ref, err := v.Lookup(`\Troy\f`)
			if err != nil {
				t.Fatal(err)
			}
			m.write([]byte{0x5a, 0xa5}, v.RecordPlace(ref)+1022)
		}, ntfs.ErrCorrupt},
		{"record used again", aFile, func(t *testing.T, m *image) {
			m.record(`\Troy\f`, func(b []byte) { b[0x10]++ })
		}, ntfs.ErrCorrupt},
		{"record not in use", aFile, func(t *testing.T, m *image) {
			m.record(`\Troy\f`, func(b []byte) { b[0x16] &^= 1 })
		}, ntfs.ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newImage(t, 40*mib, 512, 4096)
			m.mounted(c.make)
			if c.damage != nil {
				c.damage(t, m)
			}
			f, err := m.open().Map(m, `\Troy\f`)
			if f != nil || !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if msg := err.Error(); !strings.Contains(msg, "f") || strings.Contains(msg, "\n") {
				t.Errorf("message %q", msg)
			}
			checkRunsOf(t, m, c.name, c.want)
		})
	}
}

// readable are the cases of TestMapRefuses whose clusters are the file's all the same.
var readable = map[string]bool{"partial page": true, "sparse": true, "compressed": true, "valid length": true, "encrypted": true,
	"encrypted attribute": true, "sparse flag alone": true, "hole": true}

// checkRunsOf: Runs takes what is only unfit for writing, and says what ntfsinfo says.
func checkRunsOf(t *testing.T, m *image, name string, refusal error) {
	t.Helper()
	runs, err := m.open().Runs(`\Troy\f`)
	if !readable[name] {
		if runs != nil || !errors.Is(err, refusal) {
			t.Fatalf("Runs: %v, %v, want %v", runs, err, refusal)
		}
		return
	}
	if err != nil || len(runs) == 0 {
		t.Fatalf("Runs: %v, %v", runs, err)
	}
	if name != "encrypted attribute" { // ntfsinfo opens no file whose flags contradict each other
		var held []ntfs.Run // ntfsinfo's lines are joined across holes
		for _, r := range slices.DeleteFunc(runs, ntfs.Run.Hole) {
			if k := len(held) - 1; k >= 0 && held[k].LCN+held[k].Length == r.LCN {
				held[k].Length += r.Length
				continue
			}
			held = append(held, r)
		}
		compareClusters(t, m, held, "Troy/f")
	}
}

// runs gives \Troy\f other clusters; the length of its record does not change.
func (m *image) runs(runs ...ntfs.Run) {
	m.t.Helper()
	var pairs []byte
	last := int64(0)
	for _, r := range runs {
		d := r.LCN - last
		pairs = append(pairs, 0x31, byte(r.Length), byte(d), byte(d>>8), byte(d>>16))
		last = r.LCN
	}
	m.record(`\Troy\f`, func(b []byte) {
		a := attribute(m.t, b, 0x80)
		need := 0x40 + len(pairs) + 1
		if need > len(a) { // move the end marker
			grown := (need + 7) &^ 7
			off := cap(b) - cap(a)
			copy(b[off+grown:], b[off+len(a):][:8])
			binary.LittleEndian.PutUint32(b[off+4:], uint32(grown))
			binary.LittleEndian.PutUint32(b[0x18:], uint32(off+grown+8))
			a = b[off:][:grown]
		}
		copy(a[0x40:], append(pairs, 0))
	})
}

// disk is a Storage that knows its place on a disk.
type disk struct {
	*image
	start            int64
	sector, physical int
}

func (d disk) Start() int64            { return d.start }
func (d disk) SectorSize() int         { return d.sector }
func (d disk) PhysicalSectorSize() int { return d.physical }

func TestAlignment(t *testing.T) {
	m := newImage(t, 40*mib, 512, 4096)
	m.mounted(aFile)
	small := newImage(t, 40*mib, 512, 512)
	small.mounted(aFile)
	small.mounted(func(root string) error { return named(root, "g", 65536) })
	for _, c := range []struct {
		name string
		d    disk
		ok   bool
	}{
		{"512n at sector 63", disk{m, 63 * 512, 512, 512}, true},
		{"512e at sector 63", disk{m, 63 * 512, 512, 4096}, false},
		{"512e at 1 MiB", disk{m, mib, 512, 4096}, true},
		{"4Kn at 1 MiB", disk{m, mib, 4096, 4096}, true},
		{"512-byte clusters on 512n", disk{small, mib, 512, 512}, true},
	} {
		f, err := c.d.open().Map(c.d, `\Troy\f`)
		if c.ok && err != nil || !c.ok && !errors.Is(err, ntfs.ErrMisaligned) {
			t.Errorf("%s: %v", c.name, err)
		}
		if (f != nil) != c.ok {
			t.Errorf("%s: file %v", c.name, f)
		}
	}
}

func TestMappedFileBounds(t *testing.T) {
	m := newImage(t, 40*mib, 512, 4096)
	m.mounted(aFile)
	f, err := m.open().Map(m, `\Troy\f`)
	if err != nil {
		t.Fatal(err)
	}
	before := make([]byte, m.size)
	if _, err := m.ReadAt(before, 0); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ off, n int64 }{{-4096, 4096}, {512, 4096}, {0, 512}, {65536, 4096}, {61440, 8192}, {1 << 62, 4096}, {0, 65536 + 4096}} {
		if n, err := f.WriteAt(make([]byte, c.n), c.off); n != 0 || !errors.Is(err, ntfs.ErrPage) {
			t.Errorf("write %d at %d: %d, %v", c.n, c.off, n, err)
		}
	}
	after := make([]byte, m.size)
	if _, err := m.ReadAt(after, 0); err != nil || !bytes.Equal(before, after) {
		t.Fatalf("a refused write wrote (%v)", err)
	}
	if n, err := f.WriteAt(nil, 65536); n != 0 || err != nil {
		t.Errorf("empty write at the end: %d, %v", n, err)
	}
	if n, err := f.ReadAt(make([]byte, 10), 65530); n != 6 || err != io.EOF {
		t.Errorf("read over the end: %d, %v", n, err)
	}
	if _, err := f.ReadAt(make([]byte, 1), -1); !errors.Is(err, ntfs.ErrPage) {
		t.Errorf("read before the start: %v", err)
	}
	if n, err := f.ReadAt(make([]byte, 1), 65536); n != 0 || err != io.EOF {
		t.Errorf("read at the end: %d, %v", n, err)
	}
}

func TestSameAs(t *testing.T) {
	m := newImage(t, 40*mib, 512, 4096)
	m.mounted(aFile)
	f, err := m.open().Map(m, `\Troy\f`)
	if err != nil {
		t.Fatal(err)
	}
	recorded := f.Mapping()
	if err := f.Mapping().SameAs(recorded); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*ntfs.Mapping){
		"serial":    func(r *ntfs.Mapping) { r.Serial++ },
		"reference": func(r *ntfs.Mapping) { r.Reference += 1 << 48 },
		"size":      func(r *ntfs.Mapping) { r.Size += 4096 },
		"cluster":   func(r *ntfs.Mapping) { r.ClusterSize *= 2 },
		"runs":      func(r *ntfs.Mapping) { r.Runs[0].LCN++ },
		"more runs": func(r *ntfs.Mapping) { r.Runs = append(r.Runs, ntfs.Run{LCN: 1, Length: 1}) },
	} {
		other := f.Mapping()
		change(&other)
		if err := f.Mapping().SameAs(other); !errors.Is(err, ntfs.ErrMoved) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A file that was deleted and made again has another sequence number.
	m.mounted(func(root string) error {
		if err := os.Remove(filepath.Join(root, "Troy/f")); err != nil {
			return err
		}
		return aFile(root)
	})
	again, err := m.open().Map(m, `\Troy\f`)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Mapping().SameAs(recorded); !errors.Is(err, ntfs.ErrMoved) {
		t.Errorf("made again: %v", err)
	}
}
