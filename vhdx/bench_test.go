//go:build unix

package vhdx

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// benchChain makes a chain of some depth in files: the base is full, every
// child holds a third of the 64 KiB pieces.
func benchChain(b *testing.B, depth int, size int64) *Chain {
	b.Helper()
	r := rand.New(rand.NewSource(1))
	dir := b.TempDir()
	var files []*File
	for i := range depth {
		o := &CreateOptions{Size: size, BlockSize: 2 * mib}
		if i > 0 {
			o.Kind, o.Parent = Differencing, files[0]
		}
		f, err := Create(filepath.Join(dir, fmt.Sprintf("%d.vhdx", i)), o)
		must(b, err)
		files = append([]*File{f}, files...)
		c := chainOf(b, files...)
		piece := randomBytes(r, 64*kib)
		for off := int64(0); off < size; off += 64 * kib {
			if i == 0 || r.Intn(3) == 0 {
				_, err := c.WriteAt(piece, off)
				must(b, err)
			}
		}
		must(b, c.Sync())
	}
	c := chainOf(b, files...)
	b.Cleanup(func() { must(b, c.Close()) })
	return c
}

const benchSize = 256 * mib

func BenchmarkRead(b *testing.B) {
	for _, depth := range []int{1, 3} {
		c := benchChain(b, depth, benchSize)
		b.Run(fmt.Sprintf("sequential/depth%d", depth), func(b *testing.B) {
			benchIO(b, c.ReadAt, mib, func(i int) int64 { return int64(i) * mib % benchSize })
		})
		r := rand.New(rand.NewSource(2))
		b.Run(fmt.Sprintf("random64K/depth%d", depth), func(b *testing.B) {
			benchIO(b, c.ReadAt, 64*kib, func(int) int64 { return r.Int63n(benchSize/4096-16) * 4096 })
		})
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, depth := range []int{1, 3} {
		c := benchChain(b, depth, benchSize)
		b.Run(fmt.Sprintf("sequential/depth%d", depth), func(b *testing.B) {
			benchIO(b, c.WriteAt, mib, func(i int) int64 { return int64(i) * mib % benchSize })
			must(b, c.Sync())
		})
		r := rand.New(rand.NewSource(2))
		b.Run(fmt.Sprintf("random64K/depth%d", depth), func(b *testing.B) {
			benchIO(b, c.WriteAt, 64*kib, func(int) int64 { return r.Int63n(benchSize/4096-16) * 4096 })
			must(b, c.Sync())
		})
	}
}

func benchIO(b *testing.B, do func([]byte, int64) (int, error), n int, at func(i int) int64) {
	p := randomBytes(rand.New(rand.NewSource(3)), n)
	b.SetBytes(int64(n))
	for i := 0; b.Loop(); i++ {
		if _, err := do(p, at(i)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkConvert converts one raw image, two thirds data, to a dynamic disk,
// here and by qemu-img. BENCH_SIZE sets its size in MiB. Ours is durable when
// it is finished; for a fair sum both end with a sync.
func BenchmarkConvert(b *testing.B) {
	size := int64(1024)
	if s := os.Getenv("BENCH_SIZE"); s != "" {
		var err error
		size, err = strconv.ParseInt(s, 10, 64)
		must(b, err)
	}
	size *= mib
	dir := b.TempDir()
	raw, dst := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "disk.vhdx")
	benchRaw(b, raw, size)
	b.Run("here", func(b *testing.B) {
		benchConvert(b, dst, size, func() time.Duration {
			before := cpuTime(syscall.RUSAGE_SELF)
			r, err := OpenRaw(raw)
			must(b, err)
			defer r.Close()
			must(b, Convert(context.Background(), dst, r, nil))
			return cpuTime(syscall.RUSAGE_SELF) - before
		})
	})
	b.Run("qemu-img", func(b *testing.B) {
		benchConvert(b, dst, size, func() time.Duration {
			cmd := exec.Command("qemu-img", "convert", "-f", "raw", "-O", "vhdx", raw, dst)
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
			f, err := os.OpenFile(dst, os.O_RDWR, 0)
			must(b, err)
			must(b, f.Sync())
			must(b, f.Close())
			return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		})
	})
}

func benchRaw(b *testing.B, path string, size int64) {
	b.Helper()
	r := rand.New(rand.NewSource(4))
	f, err := os.Create(path)
	must(b, err)
	must(b, f.Truncate(size))
	for off := int64(0); off < size; off += mib {
		if r.Intn(3) > 0 {
			_, err := f.WriteAt(randomBytes(r, mib), off)
			must(b, err)
		}
	}
	must(b, f.Sync())
	must(b, f.Close())
}

func benchConvert(b *testing.B, dst string, size int64, do func() time.Duration) {
	var cpu time.Duration
	b.SetBytes(size)
	for b.Loop() {
		b.StopTimer()
		os.Remove(dst)
		b.StartTimer()
		cpu += do()
	}
	b.ReportMetric(cpu.Seconds()/float64(b.N)/(float64(size)/gib), "cpu-s/GiB")
}

// cpuTime is what this process has used.
func cpuTime(who int) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkMerge merges a child that holds a tenth of the disk, in scattered
// pieces of 64 KiB, into a fixed parent of 512 MiB. Bytes are those of payload.
func BenchmarkMerge(b *testing.B) {
	const size, n = 512 * mib, 512 * 16 / 10
	r := rand.New(rand.NewSource(5))
	dir := b.TempDir()
	base, err := Create(filepath.Join(dir, "base.vhdx"), &CreateOptions{Size: size, Kind: Fixed})
	must(b, err)
	child, err := Create(filepath.Join(dir, "child.vhdx"), &CreateOptions{Kind: Differencing, Parent: base})
	must(b, err)
	c := chainOf(b, child, base)
	for range n {
		_, err := c.WriteAt(randomBytes(r, 64*kib), r.Int63n(size/(64*kib))*64*kib)
		must(b, err)
	}
	must(b, c.Sync())
	b.SetBytes(n * 64 * kib)
	for b.Loop() {
		must(b, Merge(context.Background(), child, base, nil))
	}
	must(b, c.Close())
}
