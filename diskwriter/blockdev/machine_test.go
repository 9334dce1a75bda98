package blockdev_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/internal/testing/needs"
	"troy/vhdx"
)

const mib = 1 << 20

// section is one file of a machine, in one piece on the disk.
type section struct {
	*blockdev.Device
	off, size int64
}

func (s section) ReadAt(p []byte, off int64) (int, error) {
	return s.Device.ReadAt(p[:min(int64(len(p)), s.size-off)], s.off+off)
}

func (s section) WriteAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > s.size {
		return 0, blockdev.ErrBounds
	}
	return s.Device.WriteAt(p, s.off+off)
}

// deep lets no caller write before as many as wanted are there.
type deep struct {
	machine.Storage
	want   int
	mu     sync.Mutex
	inside int
	open   chan struct{}
}

func (d *deep) WriteAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	if d.inside++; d.inside == d.want {
		close(d.open)
	}
	d.mu.Unlock()
	select {
	case <-d.open:
		return d.Storage.WriteAt(p, off)
	case <-time.After(20 * time.Second):
		return 0, fmt.Errorf("fewer than %d writes in flight", d.want)
	}
}

// TestMachine: stage, commit, merge and relink on block devices of both sector sizes. The kernel's
// own counters tell that nothing was discarded and that flushes arrived.
func TestMachine(t *testing.T) {
	for _, c := range []struct{ device, disk int }{{512, 512}, {4096, 512}, {4096, 4096}} {
		t.Run(fmt.Sprintf("device %d, virtual disk %d", c.device, c.disk), func(t *testing.T) { testMachine(t, c.device, uint32(c.disk)) })
	}
}

func testMachine(t *testing.T, sector int, virtualSector uint32) {
	const virtual, seed = 32 * mib, 17
	sizes := []int64{machine.BaseSize(virtual), machine.SlotSize(virtual, virtual), machine.SlotSize(virtual, virtual),
		machine.BootChildSize(virtual), machine.JournalSize}
	dev, d := openLoop(t, sizes, sector)
	start := counters(t, dev)
	var files [5]machine.File
	var at int64
	for i, size := range sizes {
		files[i] = machine.File{Storage: section{d, at, size}, Size: size}
		at += size
	}
	f := machine.Files{Base: files[0], LayerA: files[1], LayerB: files[2], Boot: files[3], Journal: files[4]}
	base, err := machine.FormatBase(f.Base, &machine.BaseOptions{VirtualSize: virtual, LogicalSectorSize: virtualSector})
	check(t, err)
	check(t, machine.FormatChildren(f, base, "win", 1))
	want := make([]byte, virtual)
	_, err = f.Base.ReadAt(want, machine.BaseSize(virtual)-virtual)
	check(t, err)

	rng := rand.New(rand.NewPCG(seed, uint64(sector)))
	t.Logf("seed %d", seed)
	runs := change(rng, want)
	m := openMachine(t, f)
	s, err := m.Stage(context.Background(), &machine.StageRequest{Image: "win", Version: 2, Runs: runs})
	check(t, err)
	for _, r := range runs {
		_, err := s.WriteAt(want[r.Offset:r.Offset+r.Length], r.Offset)
		check(t, err)
	}
	check(t, s.Finish(context.Background()))
	check(t, m.Commit(context.Background()))

	f.Base.Storage = &deep{Storage: f.Base.Storage, want: 8, open: make(chan struct{})}
	before := counters(t, dev)
	m = openMachine(t, f)
	done, err := m.Merge(context.Background(), &machine.MergeOptions{Policy: machine.Now})
	if err != nil || !done {
		t.Fatalf("merge: %v, %v", done, err)
	}
	check(t, m.Relink(context.Background()))
	after := counters(t, dev)
	if n := after[11] - start[11]; n != 0 {
		t.Errorf("%d discards", n)
	}
	if after[15] <= before[15] {
		t.Errorf("no flush arrived: %v, %v", before, after)
	}
	if v := openMachine(t, f).State().Version; v != 2 {
		t.Errorf("version %d", v)
	}
	same(t, f.Base, want)
}

// change makes noise of pages here and there, at both ends too.
func change(rng *rand.Rand, disk []byte) (runs []machine.Run) {
	const page = 4096
	last := int64(len(disk)/page) - 1
	for p := int64(0); p <= last; p++ {
		if p != 0 && p != last && rng.IntN(5) != 0 {
			continue
		}
		for i := range disk[p*page : (p+1)*page] {
			disk[p*page+int64(i)] = byte(rng.Uint32())
		}
		if n := len(runs) - 1; n >= 0 && runs[n].Offset+runs[n].Length == p*page {
			runs[n].Length += page
			continue
		}
		runs = append(runs, machine.Run{Offset: p * page, Length: page})
	}
	return runs
}

// same reads the parent alone, by package vhdx.
func same(t *testing.T, base machine.File, want []byte) {
	t.Helper()
	v, err := vhdx.NewFile(base, base.Size)
	check(t, err)
	c, err := vhdx.NewChain(v)
	check(t, err)
	got := make([]byte, len(want))
	if n, err := c.ReadAt(got, 0); n < len(got) {
		t.Fatal(n, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("the parent holds something else")
	}
}

func openMachine(t *testing.T, f machine.Files) *machine.Machine {
	t.Helper()
	m, err := machine.Open(f)
	check(t, err)
	return m
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openLoop makes a block device that is as large as all the files.
func openLoop(t *testing.T, sizes []int64, sector int) (name string, d *blockdev.Device) {
	t.Helper()
	needs.Root(t)
	var size int64
	for _, n := range sizes {
		size += n
	}
	path := filepath.Join(t.TempDir(), "disk")
	check(t, os.WriteFile(path, nil, 0o600))
	check(t, os.Truncate(path, size))
	out, err := exec.Command("losetup", "-f", "--show", "-b", strconv.Itoa(sector), path).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v\n%s", err, out)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "-d", dev).CombinedOutput(); err != nil {
			t.Errorf("losetup -d: %v\n%s", err, out)
		}
	})
	d, err = blockdev.Open(dev, nil)
	check(t, err)
	t.Cleanup(func() { d.Close() })
	if !d.IsBlock() || !d.Direct() || d.SectorSize() != sector {
		t.Fatalf("block %v, direct %v, sectors of %d bytes", d.IsBlock(), d.Direct(), d.SectorSize())
	}
	return filepath.Base(dev), d
}

// counters reads what the kernel counts of a block device (Documentation/block/stat.rst).
func counters(t *testing.T, dev string) (n []int64) {
	t.Helper()
	b, err := os.ReadFile("/sys/block/" + dev + "/stat")
	check(t, err)
	for _, s := range strings.Fields(string(b)) {
		v, err := strconv.ParseInt(s, 10, 64)
		check(t, err)
		n = append(n, v)
	}
	if len(n) < 17 {
		t.Fatalf("%d counters: a kernel before 5.5", len(n))
	}
	return n
}
