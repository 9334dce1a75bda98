package machine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"troy/diskwriter/blockdev"
	"troy/internal/block"
)

// benchSize is the size of the parent: 2 GiB, or TROY_BENCH_GIB.
func benchSize(b *testing.B) int64 {
	s := os.Getenv("TROY_BENCH_GIB")
	if s == "" {
		return 2 * gib
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 || n > 64 {
		b.Fatalf("TROY_BENCH_GIB=%q is not a number of GiB from 1 to 64", s)
	}
	return n * gib
}

// counted counts what is written and how often it is flushed.
type counted struct {
	Storage
	written, syncs *atomic.Int64
}

func (c counted) WriteAt(p []byte, off int64) (int, error) {
	c.written.Add(int64(len(p)))
	return c.Storage.WriteAt(p, off)
}

func (c counted) Sync() error {
	c.syncs.Add(1)
	return c.Storage.Sync()
}

// benchMachine is a machine whose newest version is in a slot, past the page cache as the agent has
// it.
type benchMachine struct {
	files          Files
	written, syncs atomic.Int64
	journal        []byte // from before the merge
	changed        int64  // bytes
	runs           []Run
}

// direct opens the files past the page cache. Preparation wrote every file full once, and so does
// this: neither stage nor merge ever writes into a hole.
func (m *benchMachine) direct(b *testing.B, dir string, f Files) {
	file := func(name string, size int64) File {
		path := filepath.Join(dir, name)
		if f, err := os.OpenFile(path, os.O_RDWR|unix.O_DIRECT, 0); err != nil {
			b.Fatalf("%s cannot be opened with O_DIRECT: set TMPDIR to a folder on a disk", path)
		} else {
			f.Close()
		}
		d, err := blockdev.Open(path, nil)
		must(b, err)
		b.Cleanup(func() { d.Close() })
		return File{Storage: counted{d, &m.written, &m.syncs}, Size: size}
	}
	m.files = Files{Base: file(BaseName, f.Base.Size), LayerA: file(LayerAName, f.LayerA.Size), LayerB: file(LayerBName, f.LayerB.Size),
		Boot: file(BootName, f.Boot.Size), Journal: file(JournalName, f.Journal.Size)}
}

func newBenchMachine(b *testing.B, virtual, granule int64) *benchMachine {
	dir := b.TempDir()
	m := &benchMachine{}
	m.runs, m.changed = scattered(virtual, granule, 10, 92)
	blocks := map[int64]bool{}
	for _, r := range m.runs {
		for at := r.Offset / SlotBlockSize; at*SlotBlockSize < r.Offset+r.Length; at++ {
			blocks[at] = true
		}
	}
	f := folder(b, dir, virtual, int64(len(blocks))*SlotBlockSize, 0)
	fill(b, filepath.Join(dir, BaseName), f.Base.Size)
	fill(b, filepath.Join(dir, LayerAName), f.LayerA.Size)
	must(b, formatFiles(f, &BaseOptions{VirtualSize: virtual}, image, 1))
	for _, file := range []File{f.Base, f.LayerA, f.LayerB, f.Boot, f.Journal} {
		must(b, file.Sync())
	}
	m.direct(b, dir, f)
	return m
}

// fill writes a file full once.
func fill(b *testing.B, path string, size int64) {
	b.Helper()
	d, err := blockdev.Open(path, nil)
	must(b, err)
	defer d.Close()
	p := block.Aligned(4 * mib)
	for i := range p {
		p[i] = byte(i*7 + i>>12)
	}
	for at := int64(0); at < size; at += int64(len(p)) {
		_, err := d.WriteAt(p[:min(int64(len(p)), size-at)], at)
		must(b, err)
	}
	must(b, d.Sync())
}

func run(b *testing.B, name string, args ...string) {
	b.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		b.Fatalf("%s %.200v: %v\n%s", name, args, err, out)
	}
}

// rounds is how often each job is done, in turns.
const rounds = 5

// BenchmarkMerge merges 10 % of a parent, scattered, in turns with a plain copy of as many bytes by
// dd and with the same job done by qemu-img commit: all past the page cache, on the same disk. What
// it prints are medians of the turns, and of the ratios within a turn.
func BenchmarkMerge(b *testing.B) {
	virtual := benchSize(b)
	for _, granule := range []int64{64 << 10, 2 * mib} {
		b.Run(fmt.Sprintf("%dGiB/%dKiB", virtual/gib, granule>>10), func(b *testing.B) { benchMerge(b, virtual, granule) })
	}
}

func benchMerge(b *testing.B, virtual, granule int64) {
	m := newBenchMachine(b, virtual, granule)
	open, err := Open(m.files)
	must(b, err)
	stageNoise(b, open, 2, m.runs)
	must(b, open.Commit(ctx))
	m.journal = block.Aligned(JournalSize)
	must(b, block.ReadFull(m.files.Journal, m.journal, 0))
	dd, qemu := newCopy(b, m.changed), newCommit(b, virtual, m.runs)
	var turns [][3]float64 // MB/s
	for b.Loop() {
		turns = turns[:0]
		for range rounds {
			turns = append(turns, [3]float64{m.merge(b), rate(b, m.changed, dd), rate(b, m.changed, qemu)})
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(turns, func(t [3]float64) float64 { return t[0] }), "MB/s")
	b.ReportMetric(median(turns, func(t [3]float64) float64 { return t[1] }), "dd-MB/s")
	b.ReportMetric(median(turns, func(t [3]float64) float64 { return t[2] }), "qemu-img-MB/s")
	b.ReportMetric(median(turns, func(t [3]float64) float64 { return t[0] / t[1] }), "x-dd")
	b.ReportMetric(median(turns, func(t [3]float64) float64 { return t[0] / t[2] }), "x-qemu-img")
	b.ReportMetric(float64(m.syncs.Load()), "flushes")
	b.ReportMetric(float64(m.written.Load())/float64(m.changed), "written/payload")
	b.Logf("MB/s of merge, dd, qemu-img in each turn: %.0f", turns)
	dds, qemus := sorted(turns, func(t [3]float64) float64 { return t[0] / t[1] }), sorted(turns, func(t [3]float64) float64 { return t[0] / t[2] })
	b.Logf("merge / dd %.2f to %.2f, merge / qemu-img %.2f to %.2f", dds[0], dds[rounds-1], qemus[0], qemus[rounds-1])
}

// merge runs the merge from its beginning: the slot stays as it is, and the journal is put back.
func (m *benchMachine) merge(b *testing.B) float64 {
	must(b, writeFull(m.files.Journal, m.journal, 0))
	open, err := Open(m.files)
	must(b, err)
	m.written.Store(0)
	m.syncs.Store(0)
	return rate(b, m.changed, func() {
		done, err := open.Merge(ctx, &MergeOptions{Policy: Now})
		if err != nil || !done {
			b.Fatal(done, err)
		}
	})
}

// rate returns MB/s.
func rate(b *testing.B, bytes int64, f func()) float64 {
	b.Helper()
	start := time.Now()
	f()
	return float64(bytes) / time.Since(start).Seconds() / 1e6
}

func sorted[T any](turns []T, of func(T) float64) (v []float64) {
	for _, t := range turns {
		v = append(v, of(t))
	}
	slices.Sort(v)
	return v
}

func median[T any](turns []T, of func(T) float64) float64 { return sorted(turns, of)[len(turns)/2] }

// newCopy copies as many bytes from file to file.
func newCopy(b *testing.B, changed int64) func() {
	dir := b.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	for _, path := range []string{from, to} {
		must(b, os.WriteFile(path, nil, 0o600))
		must(b, os.Truncate(path, changed))
		fill(b, path, changed)
	}
	return func() {
		run(b, "dd", "if="+from, "of="+to, "bs=2M", "iflag=direct", "oflag=direct", "conv=notrunc,fsync", "status=none")
	}
}

// newCommit commits an overlay with the same runs; -d leaves the overlay as it is, for the next
// turn.
func newCommit(b *testing.B, virtual int64, runs []Run) func() {
	dir := b.TempDir()
	base, over := filepath.Join(dir, "base.raw"), filepath.Join(dir, "over.qcow2")
	must(b, os.WriteFile(base, nil, 0o600))
	must(b, os.Truncate(base, virtual))
	fill(b, base, virtual)
	cluster := min(runs[0].Length, 2*mib)
	run(b, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size="+strconv.FormatInt(cluster, 10), "-b", base, "-F", "raw", over)
	for len(runs) > 0 {
		var script []string
		n := min(len(runs), 4096)
		for _, r := range runs[:n] {
			script = append(script, "-c", fmt.Sprintf("write -q -P 0x5a %d %d", r.Offset, r.Length))
		}
		run(b, "qemu-io", append(append([]string{"-t", "none"}, script...), over)...)
		runs = runs[n:]
	}
	return func() { run(b, "qemu-img", "commit", "-q", "-d", "-t", "none", over) }
}

// BenchmarkStage stages the same changes, the content being there already: slot written, flushed,
// read back.
func BenchmarkStage(b *testing.B) {
	virtual := benchSize(b)
	for _, granule := range []int64{64 << 10, 2 * mib} {
		b.Run(fmt.Sprintf("%dGiB/%dKiB", virtual/gib, granule>>10), func(b *testing.B) {
			m := newBenchMachine(b, virtual, granule)
			version := 2
			for b.Loop() {
				m.written.Store(0)
				m.syncs.Store(0)
				must(b, m.stage(context.Background(), version))
				version++
			}
			b.SetBytes(m.changed)
			b.ReportMetric(float64(m.syncs.Load()), "flushes")
			b.ReportMetric(float64(m.written.Load())/float64(m.changed), "written/payload")
		})
	}
}

// stage writes every run as the download does, eight at once.
func (m *benchMachine) stage(ctx context.Context, version int) error {
	open, err := Open(m.files)
	if err != nil {
		return err
	}
	s, err := open.Stage(ctx, &StageRequest{Image: image, Version: version, Runs: m.runs})
	if err != nil {
		return err
	}
	if err := m.writeRuns(s, version); err != nil {
		return err
	}
	return s.Finish(ctx)
}

func (m *benchMachine) writeRuns(s *Stager, version int) error {
	const writers = 8
	var taken atomic.Int64
	errs := make(chan error, writers)
	for range writers {
		go func() {
			p := block.Aligned(2 * mib)
			for {
				i := int(taken.Add(1)) - 1
				if i >= len(m.runs) {
					errs <- nil
					return
				}
				r := m.runs[i]
				p[0], p[1] = byte(version), byte(i)
				if _, err := s.WriteAt(p[:r.Length], r.Offset); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	var first error
	for range writers {
		if err := <-errs; err != nil {
			first = err
		}
	}
	return first
}
