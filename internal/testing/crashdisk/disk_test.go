package crashdisk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"
)

func sector(b byte) []byte { return bytes.Repeat([]byte{b}, SectorSize) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, f *File, off int64, sectors ...byte) {
	t.Helper()
	var p []byte
	for _, b := range sectors {
		p = append(p, sector(b)...)
	}
	_, err := f.WriteAt(p, off)
	must(t, err)
}

// read returns the first byte of each of the first n sectors.
func read(t *testing.T, f *File, n int) string {
	t.Helper()
	p := make([]byte, n*SectorSize)
	_, err := f.ReadAt(p, 0)
	must(t, err)
	var s []byte
	for i := range n {
		for _, c := range p[i*SectorSize : (i+1)*SectorSize] {
			if c != p[i*SectorSize] {
				t.Fatalf("sector %d is torn inside", i)
			}
		}
		s = append(s, p[i*SectorSize])
	}
	return string(s)
}

func contents(t *testing.T, d *Disk, o Options, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for s := range d.States(o) {
		got[read(t, s.Disk.File("f"), n)]++
	}
	return got
}

func newDisk(t *testing.T) (*Disk, *File) {
	d := New()
	f := d.Create("f", 1<<40, nil)
	write(t, f, 0, '.', '.', '.', '.')
	d.Start()
	return d, f
}

// Two writes, a flush, a third write: before the flush any sectors of the two, after it both for
// sure.
func TestStatesAreExactlyThePossibleOnes(t *testing.T) {
	d, f := newDisk(t)
	write(t, f, 0, 'a', 'b')
	write(t, f, 2*SectorSize, 'c')
	must(t, f.Sync())
	write(t, f, 0, 'x', 'y')
	got := contents(t, d, Options{Tears: 8, Subsets: 400, Lone: true, Seed: 1}, 4)
	for _, want := range []string{
		"....", "ab..", "abc.", "a...", ".b..", "..c.", "a.c.", ".bc.",
		"xbc.", "ayc.", "xyc.",
	} {
		if got[want] == 0 {
			t.Errorf("state %q is missing", want)
		}
		delete(got, want)
	}
	for s := range got {
		t.Errorf("impossible state %q", s)
	}
}

func TestSyncOfAnotherFilePromisesNothing(t *testing.T) {
	d, f := newDisk(t)
	g := d.Create("g", 1<<20, nil)
	write(t, f, 0, 'a')
	must(t, g.Sync())
	write(t, g, 0, 'z')
	lost := false
	for s := range d.States(Options{Subsets: 50}) {
		lost = lost || read(t, s.Disk.File("g"), 1) == "z" && read(t, s.Disk.File("f"), 1) == "."
	}
	if !lost {
		t.Error("no state has the second write without the first")
	}
}

func TestSameSectorTwiceMayKeepEither(t *testing.T) {
	d, f := newDisk(t)
	write(t, f, 0, 'a')
	write(t, f, 0, 'b')
	got := contents(t, d, Options{Subsets: 200}, 1)
	if got["."] == 0 || got["a"] == 0 || got["b"] == 0 || len(got) != 3 {
		t.Errorf("states %v", got)
	}
}

func TestStateIsADiskThatCanCrashAgain(t *testing.T) {
	d, f := newDisk(t)
	write(t, f, 0, 'a')
	seen := 0
	for s := range d.States(Options{}) {
		g := s.Disk.File("f")
		first := read(t, g, 1)
		write(t, g, 0, 'r')
		for again := range s.Disk.States(Options{}) {
			if c := read(t, again.Disk.File("f"), 1); c != first && c != "r" {
				t.Errorf("crashed again: %q after %q", c, first)
			}
			seen++
		}
		if !g.Changed(d, 0, 1) || g.Changed(d, 1<<20, pageSize) {
			t.Error("Changed is wrong")
		}
	}
	if seen != 4 || read(t, f, 1) != "a" {
		t.Errorf("%d states, live disk %q", seen, read(t, f, 1))
	}
}

func TestRandomIsRepeatableAndCovers(t *testing.T) {
	d, f := newDisk(t)
	write(t, f, 0, 'a', 'b')
	must(t, f.Sync())
	write(t, f, 0, 'c')
	got := map[string]bool{}
	for seed := range uint64(300) {
		c := read(t, d.Random(seed).Disk.File("f"), 2)
		if again := read(t, d.Random(seed).Disk.File("f"), 2); again != c {
			t.Fatalf("seed %d gives %q and %q", seed, c, again)
		}
		got[c] = true
	}
	for _, want := range []string{"..", "a.", ".b", "ab", "cb"} {
		if !got[want] {
			t.Errorf("%q never came", want)
		}
		delete(got, want)
	}
	if len(got) > 0 {
		t.Errorf("impossible states %v", got)
	}
}

func TestShardsTogetherAreAll(t *testing.T) {
	d, f := newDisk(t)
	for i := range int64(5) {
		write(t, f, i*4096, 'a', 'b', 'c')
	}
	count := func(o Options) (n int) {
		for range d.States(o) {
			n++
		}
		return n
	}
	o := Options{Tears: 6, Subsets: 30, Lone: true}
	all, parts := count(o), 0
	o.Shards = 3
	for o.Shard = range 3 {
		parts += count(o)
	}
	if all != parts || all < 40 {
		t.Errorf("%d states, %d in shards", all, parts)
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		fault Fault
		at    int
		want  error
		left  string
	}{
		{IOError, 1, syscall.EIO, "ab.."},
		{ShortWrite, 1, io.ErrShortWrite, "ab.."},
		{NoSpace, 1, syscall.ENOSPC, "...."},
		{SyncError, 2, syscall.EIO, "abcd"},
	} {
		t.Run(fmt.Sprint(c.fault), func(t *testing.T) {
			d, f := newDisk(t)
			hook, hit := FailAt(c.at, c.fault, false)
			d.SetHook(hook)
			_, err := f.WriteAt(append(append(append(sector('a'), sector('b')...), sector('c')...), sector('d')...), 0)
			if c.at == 2 {
				must(t, err)
				err = f.Sync()
			}
			d.SetHook(nil)
			if !errors.Is(err, c.want) || !hit() || read(t, f, 4) != c.left {
				t.Errorf("%v: %v, hit %v, left %q", c.fault, err, hit(), read(t, f, 4))
			}
			if c.fault == SyncError && contents(t, d, Options{}, 4)["...."] == 0 {
				t.Error("a failed flush made something durable")
			}
		})
	}
}

func TestDeadDiskStaysDead(t *testing.T) {
	d, f := newDisk(t)
	hook, _ := FailAt(1, IOError, true)
	d.SetHook(hook)
	for range 3 {
		if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
	}
}

func TestBoundsAndAlignment(t *testing.T) {
	d := New()
	d.Align = 4096
	f := d.Create("f", 8192, Garbage(3))
	if _, err := f.WriteAt(make([]byte, 512), 0); !errors.Is(err, ErrAlign) {
		t.Error(err)
	}
	if _, err := f.WriteAt(make([]byte, 4096), 8192); !errors.Is(err, ErrBounds) {
		t.Error(err)
	}
	p, q := make([]byte, 8192), make([]byte, 100)
	if n, err := f.ReadAt(p, 0); n != 8192 || err != nil {
		t.Error(n, err)
	}
	if _, err := f.ReadAt(q, 4050); err != nil || !bytes.Equal(q, p[4050:4150]) || bytes.Equal(p[:4096], p[4096:]) {
		t.Error("garbage is not repeatable", err)
	}
	if n, err := f.ReadAt(q, 8190); n != 2 || err != io.EOF {
		t.Error(n, err)
	}
}

func TestFork(t *testing.T) {
	d, f := newDisk(t)
	write(t, f, 0, 'a')
	fork := d.Fork()
	write(t, f, 0, 'b')
	g := fork.File("f")
	if len(fork.Log()) != 0 || read(t, g, 2) != "a." || read(t, f, 2) != "b." {
		t.Fatalf("%q and %q", read(t, g, 2), read(t, f, 2))
	}
	write(t, g, 0, 'c')
	if read(t, f, 1) != "b" || contents(t, d, Options{}, 1)["."] != 1 || contents(t, fork, Options{}, 1)["a"] != 1 {
		t.Error("the disks are not apart")
	}
}
