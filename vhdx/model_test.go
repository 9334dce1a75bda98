package vhdx

import (
	"bytes"
	"fmt"
	"math/rand"
	"path/filepath"
	"testing"
)

// TestRandomOperations plays random sequences of operations against a model
// in memory: at least 10,000 steps over kinds, sector sizes and depths.
func TestRandomOperations(t *testing.T) {
	r := seeded(t)
	steps := 0
	for steps < soak(10_000) {
		o := &CreateOptions{
			Size:              4*mib + r.Int63n(8*128)*8192, // 7-Zip refuses odd numbers of sectors
			Kind:              Kind(r.Intn(2)),
			BlockSize:         1 << (20 + r.Intn(3)),
			LogicalSectorSize: []uint32{512, 4096}[r.Intn(2)],
		}
		s := &session{t: t, r: r, model: make([]byte, o.Size)}
		s.add(o)
		for range 1000 {
			s.step()
			steps++
		}
		s.finish()
	}
	t.Logf("%d steps", steps)
}

// session is a chain that is being worked on, and what it must show.
type session struct {
	t     *testing.T
	r     *rand.Rand
	mems  []*memFile // leaf first
	c     *Chain
	model []byte
	log   []string // the last steps, for the report
}

// add puts a new leaf on the chain.
func (s *session) add(o *CreateOptions) {
	m := newMemFile()
	f, err := CreateStorage(m, o)
	must(s.t, err)
	s.mems = append([]*memFile{m}, s.mems...)
	files := []*File{f}
	for _, p := range s.mems[1:] {
		files = append(files, openMem(s.t, p, false))
	}
	s.c = chainOf(s.t, files...)
}

// reopen closes the leaf and opens the chain again.
func (s *session) reopen() {
	must(s.t, s.c.Close())
	var files []*File
	for i, m := range s.mems {
		files = append(files, openMem(s.t, m, i == 0))
	}
	s.c = chainOf(s.t, files...)
}

func (s *session) note(format string, args ...any) {
	s.log = append(s.log, fmt.Sprintf(format, args...))
	s.log = s.log[max(len(s.log)-12, 0):]
}

// place returns a random range, with a liking for borders.
func (s *session) place() (off, n int64) {
	size := int64(len(s.model))
	off = s.r.Int63n(size)
	switch s.r.Intn(4) {
	case 0:
		off = off / mib * mib
	case 1:
		off = max(off/mib*mib-int64(s.r.Intn(1000)), 0)
	}
	n = int64(s.r.Intn(20_000)) + 1
	switch s.r.Intn(12) {
	case 0:
		n = s.r.Int63n(3 * mib)
	case 1:
		off, n = off&^511, n&^511
	}
	return off, min(n, size-off)
}

func (s *session) step() {
	off, n := s.place()
	var err error
	switch k := s.r.Intn(100); {
	case k < 40:
		s.note("write %#x %d", off, n)
		b := randomBytes(s.r, int(n))
		copy(s.model[off:], b)
		_, err = s.c.WriteAt(b, off)
	case k < 48:
		s.note("zero %#x %d", off, n)
		if s.r.Intn(3) == 0 {
			n = min(n*50, int64(len(s.model))-off)
		}
		clear(s.model[off : off+n])
		err = s.c.ZeroRange(off, n)
	case k < 54:
		n = min(n*100, int64(len(s.model))-off)
		s.note("trim %#x %d", off, n)
		s.trimModel(off, n)
		err = s.c.TrimRange(off, n)
	case k < 56:
		s.note("sync")
		err = s.c.Sync()
	case k == 56:
		s.note("reopen")
		s.reopen()
	case k == 57 && len(s.mems) < 4 && s.r.Intn(4) == 0:
		s.note("child")
		must(s.t, s.c.Close())
		s.add(&CreateOptions{Kind: Differencing, BlockSize: 1 << (20 + s.r.Intn(3)),
			Parent: openMem(s.t, s.mems[0], false), ParentPath: fmt.Sprintf("%d.vhdx", len(s.mems)-1)})
	default:
		s.check(off, n)
	}
	if err != nil {
		s.t.Fatalf("%v\nlast steps: %q", err, s.log)
	}
}

// trimModel is the promise of TrimRange: whole blocks read zero afterwards,
// the rest, and the space of a fixed disk, keeps its content.
func (s *session) trimModel(off, n int64) {
	f := s.c.files[0]
	bs := int64(f.geo.BlockSize)
	for b := off / bs; b*bs < off+n; b++ {
		if b*bs < off || b*bs+f.geo.blockLen(b) > off+n || f.meta.LeaveBlockAllocated {
			continue
		}
		clear(s.model[b*bs : b*bs+f.geo.blockLen(b)])
	}
}

func (s *session) check(off, n int64) {
	s.t.Helper()
	got := make([]byte, n)
	if k, err := s.c.ReadAt(got, off); int64(k) != n {
		s.t.Fatalf("ReadAt(%#x, %d) = %d, %v\nlast steps: %q", off, n, k, err, s.log)
	}
	if !bytes.Equal(got, s.model[off:off+n]) {
		s.t.Fatalf("ReadAt(%#x, %d) differs from the model\nlast steps: %q", off, n, s.log)
	}
}

// finish compares everything, also with readers that others made.
func (s *session) finish() {
	s.reopen()
	s.check(0, int64(len(s.model)))
	extentsMatch(s.t, s.c, 0, s.c.Size())
	compareNaive(s.t, s.r, s.c, s.mems...)
	dir := s.t.TempDir()
	for i := len(s.mems) - 1; i >= 0; i-- {
		checkClean(s.t, s.mems[i], s.mems[i].size)
		s.mems[i].save(s.t, filepath.Join(dir, fmt.Sprintf("%d.vhdx", len(s.mems)-1-i)))
	}
	leaf := filepath.Join(dir, fmt.Sprintf("%d.vhdx", len(s.mems)-1))
	sameBytes(s.t, "7-Zip", sevenZip(s.t, leaf), s.model)
	if base := s.c.files[len(s.mems)-1]; base.geo.LogicalSectorSize == 512 {
		qemuCheck(s.t, filepath.Join(dir, "0.vhdx"))
	}
}

// TestSpaceIsReused: a disk that is trimmed and written again and again does
// not grow without end, within a session and over sessions.
func TestSpaceIsReused(t *testing.T) {
	r := seeded(t)
	m := createMem(t, &CreateOptions{Size: 16 * mib, BlockSize: mib})
	for range 4 {
		f := openMem(t, m, true)
		c := chainOf(t, f)
		for range 5 {
			b := randomBytes(r, 8*mib)
			off := int64(r.Intn(8)) * mib
			_, err := c.WriteAt(b, off)
			must(t, err)
			must(t, c.Sync())
			got := make([]byte, len(b))
			_, err = c.ReadAt(got, off)
			must(t, err)
			sameBytes(t, "what was written", got, b)
			must(t, c.TrimRange(0, 16*mib))
			must(t, c.Sync())
		}
		// Partial writes into reused space show zeros around.
		_, err := c.WriteAt([]byte{1}, 5*mib+77)
		must(t, err)
		want := make([]byte, mib)
		want[77] = 1
		got := make([]byte, mib)
		_, err = c.ReadAt(got, 5*mib)
		must(t, err)
		sameBytes(t, "a block in reused space", got, want)
		must(t, c.TrimRange(0, 16*mib))
		must(t, f.Close())
	}
	if m.size > 4*mib+2*9*mib {
		t.Fatalf("the file grew to %d MiB", m.size/mib)
	}
}

// TestFullStorage: a storage that cannot grow is used to its end, also in gaps,
// then refuses without damage.
func TestFullStorage(t *testing.T) {
	r := seeded(t)
	dev := fixedStorage{newMemFile(), 12 * mib}
	dev.m.WriteAt(randomBytes(r, 12*mib), 0) // a used device
	f, err := CreateStorage(dev, &CreateOptions{Size: 64 * mib, BlockSize: 2 * mib})
	must(t, err)
	must(t, f.Close())
	f, err = OpenStorage(dev, 12*mib, &OpenOptions{Writable: true})
	must(t, err)
	c := chainOf(t, f)
	model := make([]byte, 64*mib)
	put := func(off int64) error {
		b := randomBytes(r, 5000)
		_, err := c.WriteAt(b, off)
		if err == nil {
			copy(model[off:], b)
		}
		return err
	}
	for i := range int64(4) {
		must(t, put(i*7*mib))
	}
	if err := put(60 * mib); !isNoSpace(err) {
		t.Fatalf("writing to a full device: %v", err)
	}
	must(t, c.TrimRange(14*mib, 2*mib))
	clear(model[14*mib : 16*mib])
	must(t, c.Sync())
	must(t, put(60*mib))
	must(t, c.Close())
	f, err = OpenStorage(dev, 12*mib, nil)
	must(t, err)
	sameBytes(t, "the device", readAll(t, chainOf(t, f)), model)
	checkClean(t, dev, 12*mib)
}
