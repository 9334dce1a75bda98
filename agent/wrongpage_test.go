package agent

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"troy/diskwriter/pcdisk"
	"troy/image"
	"troy/internal/testing/needs"
	"troy/server/protocol"
	"troy/vhdx"
)

// A page of the parent went wrong, and so did others that version 2 does not touch. Version 2 has
// the content of the first in another place as well, so it is seen. What was seen is mended with all
// else that is wrong, or, where the store cannot give it, nothing is committed.
func TestWrongPageOfTheParent(t *testing.T) {
	for name, lost := range map[string]bool{"mended": false, "the store cannot mend it": true} {
		t.Run(name, func(t *testing.T) {
			b, disk := newMovedBench(t)
			b.wrongPages(disk, movedFrom, 20<<20)
			if lost {
				store, err := image.OpenStore(b.store)
				b.must(err)
				m, err := store.Show(t.Context(), testImage, 1)
				b.must(err)
				b.must(os.Remove(filepath.Join(b.store, filepath.FromSlash(m.Pack.Name))))
				b.stopped(b.run(), ExitUnfinished, "does not hold its version", "pack")
				return
			}
			if code := b.run(); code != ExitDone {
				t.Fatalf("exit code %d", code)
			}
			b.holds(b.v2)
		})
	}
}

const movedFrom, movedTo, movedBytes = 5 << 20, 10 << 20, 64 << 12

// newMovedBench has a version 2 in which a file was copied, and nothing else. It returns version 1.
func newMovedBench(t *testing.T) (*bench, []byte) {
	t.Helper()
	needs.Root(t)
	b := newBenchIn(t, filepath.Join(t.TempDir(), "bench"))
	for _, d := range []string{b.dir, b.dmi, b.media} {
		b.must(os.MkdirAll(d, 0o755))
	}
	b.must(os.WriteFile(filepath.Join(b.dmi, "product_uuid"), []byte("4C4C4544-0042-3510-8054-B4C04F564231\n"), 0o644))
	v1 := make([]byte, testVirtual)
	rand.NewChaCha8([32]byte{1}).Read(v1)
	b.must(os.WriteFile(b.v1, v1, 0o644))
	v2 := bytes.Clone(v1)
	copy(v2[movedTo:movedTo+movedBytes], v2[movedFrom:])
	b.must(os.WriteFile(b.v2, v2, 0o644))
	b.publish()
	b.makePC(1, b.v1)
	b.orders = fixedOrders{Image: testImage, Version: 2, Rules: protocol.Rules{Merge: protocol.MergeNow}}
	b.url = b.serve(b.store)
	return b, v1
}

// wrongPages flips a bit in pages of the parent.
func (b *bench) wrongPages(disk []byte, places ...int64) {
	b.t.Helper()
	b.withTarget(func(tg *pcdisk.Target) {
		_, _, err := tg.Open()
		b.must(err)
		f := tg.Files().Base
		v, err := vhdx.OpenStorage(f.Storage, f.Size, &vhdx.OpenOptions{})
		b.must(err)
		g := v.Geometry()
		for _, at := range places {
			e, err := v.BATEntry(g.PayloadIndex(at / int64(g.BlockSize)))
			b.must(err)
			page := bytes.Clone(disk[at : at+4096])
			page[77] ^= 1
			_, err = f.Storage.WriteAt(page, e.FileOffset()+at%int64(g.BlockSize))
			b.must(err)
		}
		b.must(f.Storage.Sync())
	})
}
