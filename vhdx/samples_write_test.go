package vhdx

import (
	"context"
	"math/rand"
	"os"
	"path/filepath"
	"testing"

	"troy/internal/testing/vhdxfile"
)

// TestSampleMerge merges a child as Windows makes it into the parent.
func TestSampleMerge(t *testing.T) { vhdxfile.Both(t, mergeOther) }

func mergeOther(t *testing.T, s vhdxfile.Source) {
	dir := t.TempDir()
	path, parentPath := s.Put(t, dir, "fat-differential.vhdx"), s.Put(t, dir, "fat-parent.vhdx")
	child, err := Open(path, &OpenOptions{Writable: true})
	must(t, err)
	parent, err := new(Parents).findWritable(child)
	must(t, err)
	entries := len(child.Metadata().ParentLocator.Entries)
	must(t, Merge(context.Background(), child, parent, nil))
	if l := child.Metadata().ParentLocator; len(l.Entries) != entries || l.Entries[4].Key != KeyParentLinkage2 {
		t.Errorf("the locator is %+v", l)
	}
	must(t, child.Close())
	must(t, parent.Close())
	want := s.MD5(t, "fat-differential.vhdx") // what the child over the parent showed
	for _, p := range []string{path, parentPath} {
		c, err := OpenChain(p, &ChainOptions{Parents: &Parents{}})
		must(t, err)
		if got := md5Of(t, c, c.Size()); got != want {
			t.Errorf("%s shows %s, want %s", p, got, want)
		}
		must(t, c.Close())
	}
	qemuCheck(t, parentPath)
	c, err := OpenChain(parentPath, nil)
	must(t, err)
	defer c.Close()
	sameBytes(t, "the merged parent by 7-Zip", sevenZip(t, parentPath), readAll(t, c))
}

// TestSampleWrite writes into files that others made.
func TestSampleWrite(t *testing.T) {
	vhdxfile.Both(t, func(t *testing.T, s vhdxfile.Source) {
		r := seeded(t)
		for _, name := range []string{"fat-differential.vhdx", "fat-parent.vhdx", "ntfs-dynamic.vhdx", "ext2.vhdx"} {
			t.Run(name, func(t *testing.T) { writeOther(t, s, r, name) })
		}
	})
}

func writeOther(t *testing.T, s vhdxfile.Source, r *rand.Rand, name string) {
	t.Helper()
	dir := t.TempDir()
	path := s.Put(t, dir, name)
	if name == "fat-differential.vhdx" {
		s.Put(t, dir, "fat-parent.vhdx")
	}
	c, err := OpenChain(path, &ChainOptions{Parents: &Parents{}, Writable: true})
	must(t, err)
	model := readAll(t, c)
	for range 40 {
		off := r.Int63n(c.Size())
		b := randomBytes(r, int(min(r.Int63n(100_000), c.Size()-off)))
		copy(model[off:], b)
		_, err := c.WriteAt(b, off)
		must(t, err)
	}
	must(t, c.ZeroRange(mib+5, 2*mib))
	clear(model[mib+5 : 3*mib+5])
	must(t, c.Close())
	c, err = OpenChain(path, &ChainOptions{Parents: &Parents{}})
	must(t, err)
	defer c.Close()
	sameBytes(t, name, readAll(t, c), model)
	sameBytes(t, name+" by 7-Zip", sevenZip(t, path), model)
	checkClean(t, c.files[0].r, c.files[0].size)
	if !c.files[0].Metadata().HasParent {
		qemuCheck(t, path)
		sameBytes(t, name+" by QEMU", qemuRaw(t, path), model)
	}
}

// TestOurLogByQEMU lets QEMU replay logs that this package left: the session
// is cut off after Sync, with the pages of the last commit not yet in place.
func TestOurLogByQEMU(t *testing.T) {
	r := seeded(t)
	for range soak(3) {
		d := newCrashDisk(createMem(t, &CreateOptions{Size: 40 * mib, BlockSize: mib}))
		f, err := OpenStorage(d, d.size, &OpenOptions{Writable: true})
		must(t, err)
		c := chainOf(t, f)
		play(t, c, r, 30)
		must(t, c.Sync())
		play(t, c, r, 5)
		must(t, c.Sync())
		want := readAll(t, c)
		cut := d.durable.clone() // what was applied after the last sync is lost
		if !openMem(t, cut, false).LogPending() {
			t.Fatal("there is no log to replay")
		}
		path := cut.save(t, filepath.Join(t.TempDir(), "cut.vhdx"))
		run(t, "qemu-img", "check", "-r", "all", "-f", "vhdx", path)
		sameBytes(t, "replayed by QEMU", qemuRaw(t, path), want)
		must(t, os.Remove(path))
	}
}
