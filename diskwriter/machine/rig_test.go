package machine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"troy/internal/block"
	"troy/internal/testing/crashdisk"
	"troy/vhdx"
)

// rig is a machine on a crash disk, and what its versions look like.
type rig struct {
	disk    *crashdisk.Disk
	virtual int64
	sector  uint32
	now     []byte // what the boot child shows
}

var names = []string{BaseName, LayerAName, LayerBName, BootName, JournalName}

const image = "win11-lab"

var solid = bytes.Repeat([]byte{0xa5}, pageSize)

// newRig makes a machine whose parent holds noise as version 1. No file is zeros before it is
// formatted.
func newRig(t testing.TB, virtual int64, sector uint32, slotPayload int64) *rig {
	t.Helper()
	r := &rig{disk: crashdisk.New(), virtual: virtual, sector: sector}
	r.disk.Align = pageSize
	sizes := []int64{BaseSize(virtual), SlotSize(virtual, slotPayload), SlotSize(virtual, slotPayload), BootChildSize(virtual), JournalSize}
	for i, name := range names {
		fill := crashdisk.Garbage(uint64(i) + 7)
		if i >= 3 { // noise is dear where whole logs are scanned again and again
			fill = func(p []byte, _ int64) { copy(p, solid) }
		}
		r.disk.Create(name, sizes[i], fill)
	}
	must(t, formatFiles(filesOf(r.disk), &BaseOptions{VirtualSize: virtual, LogicalSectorSize: sector}, image, 1))
	if virtual <= 64*mib {
		r.now = make([]byte, virtual)
		must(t, block.ReadFull(filesOf(r.disk).Base, r.now, payloadOffset(virtual)))
		must(t, writeFull(filesOf(r.disk).Base, r.now, payloadOffset(virtual))) // cheaper to read than noise
	}
	return r
}

// formatFiles makes all five files; the parent's payload stays as it is.
func formatFiles(f Files, o *BaseOptions, image string, version int) error {
	b, err := FormatBase(f.Base, o)
	if err != nil {
		return err
	}
	return FormatChildren(f, b, image, version)
}

func filesOf(d *crashdisk.Disk) Files {
	f := func(name string) File { s := d.File(name); return File{Storage: s, Size: s.Size()} }
	return Files{Base: f(BaseName), LayerA: f(LayerAName), LayerB: f(LayerBName), Boot: f(BootName), Journal: f(JournalName)}
}

// payloadOffset is the place of virtual offset 0 in a file made by FormatBase; the payload is in
// one piece.
func payloadOffset(virtual int64) int64 { return baseLayout(virtual, 512).payload.off }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, d *crashdisk.Disk) *Machine {
	t.Helper()
	m, err := Open(filesOf(d))
	must(t, err)
	return m
}

// update is a version to be staged: what it changes, and what the disk shows then.
type update struct {
	version int
	runs    []Run
	data    []byte // the whole disk
}

// randomUpdate changes pages here and there, whole blocks of both kinds, and both ends of the disk.
func (r *rig) randomUpdate(version int, seed uint64, pieces int) *update {
	rnd := rand.New(rand.NewPCG(seed, uint64(version)))
	pages := r.virtual / pageSize
	kind := make([]byte, pages) // 1 data, 2 zero
	mark := func(from, n int64, k byte) {
		for p := from; p < min(from+n, pages); p++ {
			kind[p] = k
		}
	}
	for range pieces {
		mark(rnd.Int64N(pages), 1+rnd.Int64N(24), byte(1+rnd.IntN(5)/4))
	}
	blocks := r.virtual / SlotBlockSize
	mark(rnd.Int64N(blocks)*pagesPerBlock, pagesPerBlock, 2)
	mark(rnd.Int64N(blocks)*pagesPerBlock, pagesPerBlock, 1)
	mark(0, 1, 1)
	mark(pages-1, 1, 1)
	return r.updateOf(version, rnd, kind)
}

// smallUpdate changes few pages, so that many states can be looked at.
func (r *rig) smallUpdate(version int, seed uint64) *update {
	rnd := rand.New(rand.NewPCG(seed, uint64(version)))
	kind := make([]byte, r.virtual/pageSize)
	for range 14 {
		from, k := rnd.IntN(len(kind)), byte(1+rnd.IntN(4)/3)
		for p := from; p < min(from+1+rnd.IntN(6), len(kind)); p++ {
			kind[p] = k
		}
	}
	return r.updateOf(version, rnd, kind)
}

// updateOf fills the pages that are to change: 1 data, 2 zero.
func (r *rig) updateOf(version int, rnd *rand.Rand, kind []byte) *update {
	pages := int64(len(kind))
	u := &update{version: version, data: bytes.Clone(r.now)}
	for p := int64(0); p < pages; {
		n := int64(1)
		for p+n < pages && kind[p+n] == kind[p] {
			n++
		}
		if kind[p] != 0 {
			run := Run{Offset: p * pageSize, Length: n * pageSize, Zero: kind[p] == 2}
			u.runs = append(u.runs, run)
			fillRun(rnd, u.data[run.Offset:][:run.Length], run.Zero)
		}
		p += n
	}
	return u
}

func fillRun(rnd *rand.Rand, p []byte, zero bool) {
	if zero {
		clear(p)
		return
	}
	crashdisk.Garbage(rnd.Uint64())(p, 0)
}

// write sends the data of an update in pieces of odd sizes.
func (u *update) write(s io.WriterAt, seed uint64) error {
	rnd := rand.New(rand.NewPCG(seed, 9))
	for _, run := range u.runs {
		for at := run.Offset; at < run.Offset+run.Length && !run.Zero; {
			n := min((1+rnd.Int64N(400))*pageSize, run.Offset+run.Length-at)
			if _, err := s.WriteAt(u.data[at:at+n], at); err != nil {
				return err
			}
			at += n
		}
	}
	return nil
}

// stage runs a whole Stage.
func (u *update) stage(m *Machine) error {
	ctx := context.Background()
	s, err := m.Stage(ctx, &StageRequest{Image: image, Version: u.version, Runs: u.runs})
	if err != nil {
		return err
	}
	if err := u.write(s, uint64(u.version)); err != nil {
		return err
	}
	return s.Finish(ctx)
}

// changed is the number of bytes that the update sends, and that it changes.
func (u *update) changed() (sent, all int64) {
	for _, r := range u.runs {
		all += r.Length
		if !r.Zero {
			sent += r.Length
		}
	}
	return sent, all
}

// view reads the whole virtual disk through package vhdx.
func view(d *crashdisk.Disk, virtual int64) ([]byte, error) {
	c, err := vhdxChain(d)
	if err != nil {
		return nil, err
	}
	b := make([]byte, virtual)
	if n, err := c.ReadAt(b, 0); n < len(b) {
		return nil, err
	}
	return b, nil
}

// vhdxChain opens what the boot child names, with package vhdx alone.
func vhdxChain(d *crashdisk.Disk) (*vhdx.Chain, error) {
	var files []*vhdx.File
	for name := BootName; ; {
		f := d.File(name)
		if f == nil || len(files) > 3 {
			return nil, fmt.Errorf("no parent %q", name)
		}
		v, err := vhdx.NewFile(f, f.Size())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		files = append(files, v)
		if !v.Metadata().HasParent {
			return vhdx.NewChain(files...)
		}
		name = v.ParentName()
	}
}

// unpack writes the files of the disk into a folder, holes where nothing was ever written.
func unpack(t testing.TB, d *crashdisk.Disk) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names[:4] {
		f := d.File(name)
		out, err := os.Create(filepath.Join(dir, name))
		must(t, err)
		_, err = io.Copy(out, io.NewSectionReader(f, 0, f.Size()))
		must(t, err)
		must(t, out.Close())
	}
	return dir
}

// sevenZip flattens the chain with 7zz.
func sevenZip(t testing.TB, dir string) []byte {
	t.Helper()
	cmd := exec.Command("7zz", "x", "-so", "-tvhdx", filepath.Join(dir, BootName))
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		t.Fatalf("7zz: %v\n%s", err, log.String())
	}
	return out.Bytes()
}

// shows fails unless package vhdx and 7zz both read want.
func shows(t testing.TB, d *crashdisk.Disk, want []byte, when string) {
	t.Helper()
	got, err := view(d, int64(len(want)))
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	diff(t, got, want, when+": package vhdx")
	diff(t, sevenZip(t, unpack(t, d)), want, when+": 7zz")
}

func diff(t testing.TB, got, want []byte, what string) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d bytes, want %d", what, len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s: first difference at %d (page %d)", what, i, i/pageSize)
		}
	}
}
