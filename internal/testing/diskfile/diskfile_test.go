package diskfile

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A hole and zeros are the same, and every byte counts, but for those that are left out.
func TestSum(t *testing.T) {
	const size = 9<<20 + 100
	path := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	put := func(b byte, off int64) {
		_, err := f.WriteAt([]byte{b}, off)
		must(t, err)
	}
	sum := func(without ...Range) uint64 {
		s, err := Sum(path, without...)
		must(t, err)
		if len(without) == 0 {
			info, err := f.Stat()
			must(t, err)
			if of, err := SumOf(f, info.Size()); err != nil || of != s {
				t.Errorf("read as a whole it is another: %v", err)
			}
		}
		return s
	}
	empty := sum()
	must(t, f.Truncate(size))
	holes := sum()
	if holes == empty {
		t.Error("the size does not count")
	}
	_, err = f.WriteAt(make([]byte, 3<<20), 2<<20)
	must(t, err)
	if sum() != holes {
		t.Error("zeros are not as a hole")
	}
	seen := map[uint64]int64{}
	for _, at := range []int64{0, 4095, 1 << 20, 5<<20 - 1, 5 << 20, size - 1} {
		put(7, at)
		got := sum()
		if was, ok := seen[got]; ok || got == holes {
			t.Errorf("a byte at %d is nothing, or the same as one at %d", at, was)
		}
		seen[got] = at
		if sum(Range{at, 1}) != holes || sum(Range{at - 9000, 20000}) != holes || sum(Range{at + 1, 9000}) != got || sum(Range{at - 9000, 9000}) != got {
			t.Errorf("at %d: another part is left out", at)
		}
		put(0, at)
	}
}

// A part is cut out, and put back over other content.
func TestCopy(t *testing.T) {
	disk, part := filepath.Join(t.TempDir(), "disk"), filepath.Join(t.TempDir(), "part")
	want := make([]byte, 40<<20)
	must(t, os.WriteFile(disk, nil, 0o644))
	must(t, os.Truncate(disk, int64(len(want))))
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	for _, at := range []int64{0, 1<<20 - 1, 1 << 20, 30 << 20, 33<<20 - 1, 33 << 20} {
		want[at] = byte(at>>20) + 1
		_, err := f.WriteAt(want[at:at+1], at)
		must(t, err)
	}
	must(t, Copy(part, 0, disk, Range{1 << 20, 32 << 20}))
	got, err := os.ReadFile(part)
	must(t, err)
	if !bytes.Equal(got, want[1<<20:33<<20]) {
		t.Error("the part is not that of the disk")
	}
	info, err := os.Stat(part)
	must(t, err)
	if used := info.Sys().(*syscall.Stat_t).Blocks * 512; used > 8<<20 {
		t.Errorf("it takes %d bytes", used)
	}
	must(t, os.Truncate(part, 0))
	must(t, os.Truncate(part, 32<<20))
	must(t, os.WriteFile(disk, bytes.Repeat([]byte("x"), len(want)), 0o644))
	must(t, Copy(disk, 1<<20, part, Range{0, 32 << 20}))
	got, err = os.ReadFile(disk)
	must(t, err)
	if bytes.Count(got, []byte("x")) != 8<<20 || bytes.Count(got[1<<20:33<<20], []byte{0}) != 32<<20 {
		t.Error("a hole does not cover what was there, or more was changed")
	}
}
