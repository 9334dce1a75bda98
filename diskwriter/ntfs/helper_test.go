package ntfs_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"troy/diskwriter/ntfs"
	"troy/diskwriter/pcdisk"
	"troy/internal/testing/needs"
)

const mib = 1 << 20

// image is an NTFS volume in a file, made by mkntfs.
type image struct {
	*os.File
	t    *testing.T
	size int64
}

func newImage(t *testing.T, size int64, sector, cluster int) *image {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ntfs.img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	tool(t, "mkntfs", "-q", "-Q", "-F", "-s", fmt.Sprint(sector), "-c", fmt.Sprint(cluster), "-p", "2048", "-H", "255", "-S", "63", path)
	return &image{File: f, t: t, size: size}
}

// tool runs a program that must succeed.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// mounted runs do on the volume, mounted by ntfs-3g.
func (m *image) mounted(do func(root string) error) {
	m.t.Helper()
	needs.Root(m.t)
	if err := pcdisk.Mounted(context.Background(), m.Name(), do); err != nil {
		m.t.Fatal(err)
	}
}

func (m *image) open() *ntfs.Volume {
	m.t.Helper()
	v, err := ntfs.Open(m, m.size)
	if err != nil {
		m.t.Fatal(err)
	}
	return v
}

func (m *image) judge() ntfs.Verdict {
	_, d := ntfs.Judge(m, m.size)
	return d
}

// record changes an MFT record in place: change gets it without fixups.
func (m *image) record(path string, change func(b []byte)) {
	m.t.Helper()
	v := m.open()
	ref, err := v.Lookup(path)
	if err != nil {
		m.t.Fatal(err)
	}
	patches, err := v.ChangeRecord(ref, change)
	if err != nil {
		m.t.Fatal(err)
	}
	m.apply(patches)
}

// mirror copies one of the first four MFT records to $MFTMirr, which ntfs-3g compares.
func (m *image) mirror(path string) {
	m.t.Helper()
	v := m.open()
	ref, err := v.Lookup(path)
	if err != nil {
		m.t.Fatal(err)
	}
	g := v.Geometry()
	b := make([]byte, g.RecordSize)
	if _, err := m.ReadAt(b, v.RecordPlace(ref)); err != nil {
		m.t.Fatal(err)
	}
	m.write(b, g.MFTMirror*int64(g.ClusterSize)+ref.Record()*int64(g.RecordSize))
}

func (m *image) apply(patches []ntfs.Patch) {
	m.t.Helper()
	for _, p := range patches {
		m.write(p.Data, p.Offset)
	}
}

func (m *image) write(b []byte, off int64) {
	m.t.Helper()
	if _, err := m.WriteAt(b, off); err != nil {
		m.t.Fatal(err)
	}
}

// attribute returns the first attribute of a type in a record without fixups.
func attribute(t *testing.T, b []byte, typ uint32) []byte {
	t.Helper()
	le := binary.LittleEndian
	for off := int(le.Uint16(b[0x14:])); off+8 < len(b); off += int(le.Uint32(b[off+4:])) {
		if le.Uint32(b[off:]) == typ {
			return b[off:][:le.Uint32(b[off+4:])]
		}
	}
	t.Fatalf("no attribute %#x", typ)
	return nil
}

// random returns n bytes that only seed determines.
func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	var s [32]byte
	binary.LittleEndian.PutUint64(s[:], seed)
	rand.NewChaCha8(s).Read(b)
	return b
}

// fragment calls do while only every other piece of the free space is marked free in
// $Bitmap, so that files have to be made of pieces.
func (m *image) fragment(piece int, do func(root string) error) {
	m.t.Helper()
	v := m.open()
	clusters, per := v.Geometry().Clusters, int64(piece/v.Geometry().ClusterSize)
	bits := make([]byte, (clusters+7)/8)
	place := v.BitmapPlace(0)
	if _, err := m.ReadAt(bits, place); err != nil {
		m.t.Fatal(err)
	}
	hidden := make([]byte, len(bits))
	for lcn := range clusters {
		if lcn/per%2 == 1 && bits[lcn/8]>>(lcn%8)&1 == 0 {
			hidden[lcn/8] |= 1 << (lcn % 8)
		}
	}
	change := func() {
		if _, err := m.ReadAt(bits, place); err != nil {
			m.t.Fatal(err)
		}
		for i := range bits {
			bits[i] ^= hidden[i]
		}
		m.write(bits, place)
	}
	change()
	m.mounted(do)
	change()
}

// writePieces writes the pieces that random makes of the seeds first, first+2, ...
func writePieces(path string, first, pieces, piece int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for i := range pieces {
		if _, err := f.Write(random(uint64(2*i+first), piece)); err != nil {
			return err
		}
	}
	return f.Close()
}
