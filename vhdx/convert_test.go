package vhdx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"troy/internal/block"
)

// holedRaw writes a raw image of random data, holes, and written zeros.
func holedRaw(t testing.TB, r *rand.Rand, path string, size int64) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	must(t, f.Truncate(size))
	for off := int64(0); off < size; {
		n := min(r.Int63n(3*mib)+1, size-off)
		switch r.Intn(3) {
		case 0:
			_, err = f.WriteAt(randomBytes(r, int(n)), off)
		case 1:
			_, err = f.WriteAt(make([]byte, n), off)
		}
		must(t, err)
		off += n
	}
	must(t, f.Close())
}

type counter struct{ n atomic.Int64 }

func (c *counter) Add(n int64) { c.n.Add(n) }

// TestConvert goes raw → dynamic → fixed → raw and back, each step
// also read by other programs.
func TestConvert(t *testing.T) {
	r := seeded(t)
	dir := t.TempDir()
	p := func(name string) string { return filepath.Join(dir, name) }
	ctx := context.Background()
	size := 40*mib + 1024*(r.Int63n(1000)*2+1)
	holedRaw(t, r, p("a.raw"), size)
	want, err := os.ReadFile(p("a.raw"))
	must(t, err)
	raw, err := OpenRaw(p("a.raw"))
	must(t, err)
	defer raw.Close()
	for i, step := range []struct {
		dst string
		src string // "" is the raw image
		o   *ConvertOptions
	}{
		{"b.vhdx", "", nil},
		{"c.vhdx", "b.vhdx", &ConvertOptions{To: ToFixed}},
		{"d.vhdx", "c.vhdx", &ConvertOptions{BlockSize: mib, workers: 1}},
		{"e.vhdx", "", &ConvertOptions{To: ToFixed, BlockSize: 8 * mib, LogicalSectorSize: 512, PhysicalSectorSize: 512}},
		{"f.raw", "d.vhdx", &ConvertOptions{To: ToRaw}},
		{"g.raw", "c.vhdx", &ConvertOptions{To: ToRaw, workers: 3}},
	} {
		var src Source = raw
		if step.src != "" {
			c, err := OpenChain(p(step.src), nil)
			must(t, err)
			defer c.Close()
			src = c
		}
		done := &counter{}
		o := ConvertOptions{}
		if step.o != nil {
			o = *step.o
		}
		o.Progress = done
		must(t, Convert(ctx, p(step.dst), src, &o))
		if done.n.Load() != size {
			t.Errorf("step %d: progress says %d of %d", i, done.n.Load(), size)
		}
		if o.To == ToRaw {
			b, err := os.ReadFile(p(step.dst))
			must(t, err)
			sameBytes(t, step.dst, b, want)
			continue
		}
		c, err := OpenChain(p(step.dst), nil)
		must(t, err)
		sameBytes(t, step.dst, readAll(t, c), want)
		checkClean(t, c.files[0].r, c.files[0].size)
		must(t, c.Close())
		qemuCheck(t, p(step.dst))
		sameBytes(t, step.dst+" by QEMU", qemuRaw(t, p(step.dst)), want)
	}
	if a, d := diskUsage(t, p("a.raw")), diskUsage(t, p("d.vhdx")); d > a+8*mib {
		t.Errorf("the dynamic disk takes %d bytes, the raw image %d", d, a)
	}
}

// diskUsage is what a sparse file takes: the bytes that are not in holes.
func diskUsage(t *testing.T, path string) (n int64) {
	t.Helper()
	r, err := OpenRaw(path)
	must(t, err)
	defer r.Close()
	for e, err := range r.Extents(0, r.Size()) {
		must(t, err)
		if e.Kind == Data {
			n += e.Length
		}
	}
	return n
}

// TestConvertChain: a chain becomes one disk.
func TestConvertChain(t *testing.T) {
	r := seeded(t)
	dir := t.TempDir()
	c := chainOf(t, randomChain(t, r, dir, 3)...)
	want := readAll(t, c)
	dst := filepath.Join(dir, "flat.vhdx")
	must(t, Convert(context.Background(), dst, c, nil))
	must(t, c.Close())
	sameBytes(t, "flat", sevenZip(t, dst), want)
	sameBytes(t, "flat by QEMU", qemuRaw(t, dst), want)
}

// TestConvertOddSize: a raw image that is no multiple of a sector is filled up
// with zeros.
func TestConvertOddSize(t *testing.T) {
	r := seeded(t)
	dir := t.TempDir()
	b := randomBytes(r, 2*mib+777)
	must(t, os.WriteFile(filepath.Join(dir, "a"), b, 0o644))
	raw, err := OpenRaw(filepath.Join(dir, "a"))
	must(t, err)
	defer raw.Close()
	must(t, Convert(context.Background(), filepath.Join(dir, "b"), raw, nil))
	c, err := OpenChain(filepath.Join(dir, "b"), nil)
	must(t, err)
	defer c.Close()
	sameBytes(t, "disk", readAll(t, c), append(b, make([]byte, 1024-777)...))
}

// failing is a source that breaks.
type failing struct{ size int64 }

var errBroken = errors.New("broken")

func (f failing) Size() int64 { return f.size }
func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off > f.size/2 {
		return 0, errBroken
	}
	for i := range p {
		p[i] = 1
	}
	return len(p), nil
}
func (f failing) Extents(off, n int64) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) { yield(Extent{Offset: off, Length: n}, nil) }
}

// TestConvertFails: no file is left, none is replaced, and the cause is told.
func TestConvertFails(t *testing.T) {
	dir := t.TempDir()
	dst := filepath.Join(dir, "x")
	if err := Convert(context.Background(), dst, failing{200 * mib}, nil); !errors.Is(err, errBroken) {
		t.Errorf("broken source: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Convert(ctx, dst, failing{mib}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := Convert(context.Background(), dst, failing{mib}, &ConvertOptions{To: 7}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("format 7: %v", err)
	}
	if list, _ := os.ReadDir(dir); len(list) != 0 {
		t.Errorf("left behind: %v", list)
	}
	must(t, os.WriteFile(dst, []byte("mine"), 0o644))
	if err := Convert(context.Background(), dst, failing{mib}, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
	if err := Convert(context.Background(), dst, failing{200 * mib}, &ConvertOptions{Overwrite: true}); !errors.Is(err, errBroken) {
		t.Errorf("broken source: %v", err)
	}
	if b, _ := os.ReadFile(dst); string(b) != "mine" {
		t.Error("a failed conversion replaced the file")
	}
}

// TestRawExtents: holes are told, and everything that is not zero is data.
func TestRawExtents(t *testing.T) {
	r := seeded(t)
	path := filepath.Join(t.TempDir(), "raw")
	holedRaw(t, r, path, 20*mib+5)
	raw, err := OpenRaw(path)
	must(t, err)
	defer raw.Close()
	want, _ := os.ReadFile(path)
	for range 20 {
		off := r.Int63n(raw.Size())
		n := r.Int63n(raw.Size())
		at := off
		for e, err := range raw.Extents(off, n) {
			must(t, err)
			if e.Offset != at || e.Length <= 0 {
				t.Fatalf("extent %+v, expected at %#x", e, at)
			}
			if at += e.Length; e.Kind != Data && !block.IsZero(want[e.Offset:at]) {
				t.Fatalf("%+v is not zero", e)
			}
		}
		if at != min(off+n, raw.Size()) {
			t.Fatalf("extents end at %#x", at)
		}
	}
	if _, err := raw.ReadAt(make([]byte, 10), raw.Size()); err != io.EOF {
		t.Fatalf("reading at the end: %v", err)
	}
}

// TestHugeDisk: a disk of 64 TiB opens, is mapped, read and written within
// 32 MiB of memory, measured in a process of its own.
func TestHugeDisk(t *testing.T) {
	const env = "VHDX_HUGE_DISK"
	if path := os.Getenv(env); path != "" {
		fmt.Printf("peak=%d\n", memoryOf(func() { useHugeDisk(t, path) }))
		return
	}
	path := filepath.Join(t.TempDir(), "huge.vhdx")
	f, err := Create(path, &CreateOptions{Size: 64 * tib, BlockSize: mib})
	must(t, err)
	must(t, f.Close())
	cmd := exec.Command(os.Args[0], "-test.run=^TestHugeDisk$")
	cmd.Env = append(os.Environ(), env+"="+path)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var used int64
	if _, err := fmt.Sscanf(string(out), "peak=%d", &used); err != nil || used == 0 {
		t.Fatalf("no measurement in %q: %v", out, err)
	}
	t.Logf("%d KiB of memory", used/kib)
	if used > 32*mib {
		t.Errorf("%d bytes of memory", used)
	}
}

func useHugeDisk(t *testing.T, path string) {
	c, err := OpenChain(path, &ChainOptions{Writable: true})
	must(t, err)
	for i := range int64(3000) { // random reads all over the BAT
		b := make([]byte, 16)
		_, err := c.ReadAt(b, i*7919*2654435761%(64*tib))
		must(t, err)
	}
	_, err = c.WriteAt([]byte("end"), 64*tib-3)
	must(t, err)
	n := 0
	for _, err := range c.Extents(0, c.Size()) {
		must(t, err)
		n++
	}
	if n != 2 {
		t.Errorf("%d extents", n)
	}
	must(t, c.Close())
	h, err := os.Open(path)
	must(t, err)
	defer h.Close()
	checkClean(t, h, c.files[0].size)
}
