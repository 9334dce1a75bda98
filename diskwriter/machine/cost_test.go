package machine

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"troy/internal/block"
	"troy/internal/testing/crashdisk"
)

// scattered changes a share of the disk in granules at random places.
func scattered(virtual, granule int64, percent int, seed uint64) (runs []Run, bytes int64) {
	rnd := rand.New(rand.NewPCG(seed, 0))
	for at := int64(0); at+granule <= virtual; at += granule {
		if rnd.IntN(100) < percent {
			runs = append(runs, Run{Offset: at, Length: granule})
			bytes += granule
		}
	}
	return runs, bytes
}

// stageNoise stages noise.
func stageNoise(t testing.TB, m *Machine, version int, runs []Run) {
	t.Helper()
	s, err := m.Stage(ctx, &StageRequest{Image: image, Version: version, Runs: runs, Manifest: "noise"})
	must(t, err)
	buf := block.Aligned(mib)
	for i, r := range runs {
		for at := int64(0); at < r.Length; at += mib {
			n := min(r.Length-at, mib)
			crashdisk.Garbage(uint64(version)<<32+uint64(i))(buf[:n], at)
			_, err := s.WriteAt(buf[:n], r.Offset+at)
			must(t, err)
		}
	}
	must(t, s.Finish(ctx))
}

// What an update costs in bytes and flushes, beside the bytes that it changes.
func TestCosts(t *testing.T) {
	const virtual = 512 * mib
	for _, c := range []struct {
		granule int64
		percent int
	}{{64 << 10, 10}, {4 << 10, 5}, {2 * mib, 10}} {
		r := newRig(t, virtual, 512, virtual)
		runs, changed := scattered(virtual, c.granule, c.percent, 90)
		m := open(t, r.disk)
		cost := func(f func()) (bytes int64, syncs int) {
			r.disk.Start()
			f()
			return r.disk.Written(), r.disk.Syncs()
		}
		stage, stageSyncs := cost(func() { stageNoise(t, m, 2, runs) })
		commit, commitSyncs := cost(func() { must(t, m.Commit(ctx)) })
		merge, mergeSyncs := cost(func() { must(t, func() error { _, err := m.Merge(ctx, &MergeOptions{Policy: Now}); return err }()) })
		relink, relinkSyncs := cost(func() { must(t, m.Relink(ctx)) })
		reset, resetSyncs := cost(func() { must(t, m.Reset(ctx)) })
		t.Logf("granules of %d KiB, %d bytes changed: stage %d bytes, %d flushes; commit %d, %d; merge %d, %d; relink %d, %d; reset %d, %d",
			c.granule>>10, changed, stage, stageSyncs, commit, commitSyncs, merge, mergeSyncs, relink, relinkSyncs, reset, resetSyncs)
		const constant = 256 << 10
		before, all := stage+commit, stage+commit+merge+relink
		t.Logf("before boot %.4f, in all %.4f times what changed", float64(before)/float64(changed), float64(all)/float64(changed))
		if float64(before) > 1.02*float64(changed)+constant {
			t.Errorf("%d bytes written before boot for %d that changed", before, changed)
		}
		if float64(all) > 2.02*float64(changed)+2*constant {
			t.Errorf("%d bytes written in all for %d that changed", all, changed)
		}
		if commitSyncs != 8 || resetSyncs != 8 || stageSyncs != 9+2*int(changed/defaultFlushBytes) {
			t.Errorf("stage %d, commit %d, reset %d flushes", stageSyncs, commitSyncs, resetSyncs)
		}
	}
}

// osFile is a plain file as Storage.
type osFile struct{ *os.File }

// folder makes the five files of a machine as plain files, opened with flag.
func folder(t testing.TB, dir string, virtual, payload int64, flag int) Files {
	t.Helper()
	file := func(name string, size int64) File {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE|flag, 0o600)
		must(t, err)
		t.Cleanup(func() { f.Close() })
		must(t, f.Truncate(size))
		return File{Storage: osFile{f}, Size: size}
	}
	return Files{Base: file(BaseName, BaseSize(virtual)), LayerA: file(LayerAName, SlotSize(virtual, payload)),
		LayerB: file(LayerBName, SlotSize(virtual, payload)), Boot: file(BootName, BootChildSize(virtual)), Journal: file(JournalName, JournalSize)}
}

// The same engine on plain files, read where they are by 7zz, and the parent by qemu-img.
func TestPlainFiles(t *testing.T) {
	dir := t.TempDir()
	const virtual = 24 * mib
	f := folder(t, dir, virtual, virtual, 0)
	must(t, formatFiles(f, &BaseOptions{VirtualSize: virtual}, image, 1))
	r := &rig{virtual: virtual, now: make([]byte, virtual)}
	for version := 2; version < 6; version++ {
		m, err := Open(f)
		must(t, err)
		u := r.randomUpdate(version, 91, 20)
		must(t, u.stage(m))
		must(t, m.Commit(ctx))
		diff(t, sevenZip(t, dir), u.data, "committed")
		if version%2 == 1 { // two versions at once
			must(t, mergeAll(m))
			diff(t, sevenZip(t, dir), u.data, "merged")
			must(t, m.Relink(ctx))
			diff(t, sevenZip(t, dir), u.data, "relinked")
		}
		r.now = u.data
	}
	raw := filepath.Join(dir, "base.raw")
	for _, args := range [][]string{{"check", "-f", "vhdx", filepath.Join(dir, BaseName)}, {"convert", "-f", "vhdx", "-O", "raw", filepath.Join(dir, BaseName), raw}} {
		if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
			t.Fatalf("qemu-img %v: %v\n%s", args, err, out)
		}
	}
	got, err := os.ReadFile(raw)
	must(t, err)
	diff(t, got, r.now, "the parent alone, by qemu-img")
}
