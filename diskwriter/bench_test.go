package diskwriter

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"troy/diskwriter/blockdev"
)

// benchSize is the size of the parent: 1 GiB, or TROY_BENCH_GIB.
func benchSize(b *testing.B) int64 {
	n, err := strconv.ParseInt(os.Getenv("TROY_BENCH_GIB"), 10, 64)
	if err != nil || n < 1 {
		n = 1
	}
	b.Logf("parent of %d GiB", n)
	return n * gib
}

// direct opens the files of a machine past the page cache, as the agent does with a disk.
func direct(b *testing.B, dir string, f Files) Files {
	open := func(name string, size int64) File {
		d, err := blockdev.Open(filepath.Join(dir, name), nil)
		must(b, err)
		b.Cleanup(func() { d.Close() })
		return File{Storage: d, Size: size}
	}
	return Files{Base: open(BaseName, f.Base.Size), LayerA: open(LayerAName, f.LayerA.Size), LayerB: open(LayerBName, f.LayerB.Size),
		Boot: open(BootName, f.Boot.Size), Journal: open(JournalName, f.Journal.Size)}
}

// allocate writes a file full once, as preparation does: a merge never writes into a hole.
func allocate(b *testing.B, path string, size int64) {
	b.Helper()
	run(b, "dd", "if=/dev/zero", "of="+path, "bs=4M", "count="+strconv.FormatInt(size/(4*mib)+1, 10), "oflag=direct", "conv=notrunc", "status=none")
}

func run(b *testing.B, name string, args ...string) {
	b.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		b.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// BenchmarkMerge merges 10 % of a parent, scattered, beside a plain copy of as many bytes by dd and the same job done by qemu-img
// commit: all past the page cache, one after the other, on the same disk.
func BenchmarkMerge(b *testing.B) {
	virtual := benchSize(b)
	for _, granule := range []int64{64 << 10, 2 * mib} {
		runs, changed := scattered(virtual, granule, 10, 92)
		name := strconv.FormatInt(granule>>10, 10) + "KiB"
		b.Run(name+"/merge", func(b *testing.B) { benchMerge(b, virtual, runs, changed) })
		b.Run(name+"/dd", func(b *testing.B) { benchDD(b, changed) })
		b.Run(name+"/qemu-img-commit", func(b *testing.B) { benchQemu(b, virtual, runs, changed) })
	}
}

func benchMerge(b *testing.B, virtual int64, runs []Run, changed int64) {
	dir := b.TempDir()
	f := folder(b, dir, virtual, virtual, 0)
	allocate(b, filepath.Join(dir, BaseName), BaseSize(virtual))
	must(b, os.Truncate(filepath.Join(dir, BaseName), BaseSize(virtual)))
	must(b, Format(f, &BaseOptions{VirtualSize: virtual}, image, 1))
	f = direct(b, dir, f)
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		m, err := OpenMachine(f, nil)
		must(b, err)
		stageNoise(b, m, i+2, runs)
		must(b, m.Commit(ctx))
		b.StartTimer()
		done, err := m.Merge(ctx, &MergeOptions{Policy: Now})
		b.StopTimer()
		if err != nil || !done {
			b.Fatal(done, err)
		}
		must(b, m.Relink(ctx))
		b.StartTimer()
	}
	b.SetBytes(changed)
}

func benchDD(b *testing.B, changed int64) {
	dir := b.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	allocate(b, from, changed)
	allocate(b, to, changed)
	for b.Loop() {
		run(b, "dd", "if="+from, "of="+to, "bs=4M", "count="+strconv.FormatInt(changed/(4*mib), 10), "iflag=direct", "oflag=direct", "conv=notrunc,fsync", "status=none")
	}
	b.SetBytes(changed / (4 * mib) * (4 * mib))
}

func benchQemu(b *testing.B, virtual int64, runs []Run, changed int64) {
	dir := b.TempDir()
	base, over := filepath.Join(dir, "base.raw"), filepath.Join(dir, "over.qcow2")
	allocate(b, base, virtual)
	must(b, os.Truncate(base, virtual))
	for b.Loop() {
		b.StopTimer()
		cluster := min(runs[0].Length, 2*mib)
		run(b, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size="+strconv.FormatInt(cluster, 10), "-b", base, "-F", "raw", over)
		var script []string
		for _, r := range runs {
			script = append(script, "-c", "write -q -P 0x5a "+strconv.FormatInt(r.Offset, 10)+" "+strconv.FormatInt(r.Length, 10))
		}
		run(b, "qemu-io", append(script, over)...)
		run(b, "sync", over)
		b.StartTimer()
		run(b, "qemu-img", "commit", "-q", "-d", "-t", "none", over)
	}
	b.SetBytes(changed)
}
