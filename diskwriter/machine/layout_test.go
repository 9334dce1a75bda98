package machine

import (
	"cmp"
	"io"
	"slices"
	"testing"

	"troy/internal/guid"
	"troy/vhdx"
)

const gib = 1 << 30

// Every region is whole MiB, none overlaps another, and the sizes that prepare is told are the
// sizes that are used.
func TestLayouts(t *testing.T) {
	for _, virtual := range []int64{4096, mib, 3*mib + 4096, 4 * gib, 4*gib + mib, 127 * gib, 2 << 40} {
		for _, sector := range []uint32{512, 4096} {
			slot, err := slotLayout(virtual, sector, SlotSize(virtual, virtual/4+1))
			must(t, err)
			for name, l := range map[string]*layout{"base": baseLayout(virtual, sector), "slot": slot, "boot": bootLayout(virtual, sector)} {
				checkLayout(t, name, l)
			}
			if b := baseLayout(virtual, sector); b.size != BaseSize(virtual) || b.payload.off != payloadOffset(virtual) {
				t.Errorf("base of %d bytes: %d, BaseSize %d", virtual, b.size, BaseSize(virtual))
			}
			boot := bootLayout(virtual, sector)
			if boot.size != BootChildSize(virtual) || boot.metadata.end() != boot.size {
				t.Errorf("boot child of %d bytes: %d, BootChildSize %d", virtual, boot.size, BootChildSize(virtual))
			}
			if full, _ := slotLayout(virtual, sector, 1<<62); full.size != SlotSize(virtual, virtual) || full.payload.length < virtual {
				t.Errorf("largest slot of %d bytes: %d", virtual, full.size)
			}
		}
	}
}

func checkLayout(t *testing.T, name string, l *layout) {
	t.Helper()
	spans := []span{{0, mib}, l.log, l.metadata, l.bat, l.payload}
	if l.bitmaps.length > 0 {
		spans = append(spans, l.bitmaps)
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.off, b.off) })
	for i, s := range spans {
		if s.off%mib != 0 || s.length%mib != 0 || s.length < mib || i > 0 && s.off < spans[i-1].end() || s.end() > l.size {
			t.Errorf("%s of %d bytes: spans %v, size %d", name, l.geo.VirtualDiskSize, spans, l.size)
		}
	}
	if l.geo.BATEntries()*8 > l.bat.length || l.geo.Chunks()*mib > l.bitmaps.length && name != "base" {
		t.Errorf("%s of %d bytes: BAT or bitmaps do not fit", name, l.geo.VirtualDiskSize)
	}
}

// The largest change of a boot child fits its log in one entry, with a page to spare.
func TestLogHoldsTheWholeBAT(t *testing.T) {
	for _, virtual := range []int64{mib, 4 * gib, 127 * gib, 256 * gib, 2 << 40} {
		l := bootLayout(virtual, 512)
		e := &vhdx.LogEntry{SequenceNumber: 1, LogGUID: guid.New(), FlushedFileOffset: l.size, LastFileOffset: l.size}
		page := make([]byte, pageSize)
		for range batPages(l.geo)/pageSize + metadataContent/pageSize {
			e.Descriptors = append(e.Descriptors, vhdx.LogDescriptor{FileOffset: l.bat.off, Data: page})
		}
		for chunk := range l.geo.Chunks() {
			e.Descriptors = append(e.Descriptors, vhdx.LogDescriptor{FileOffset: l.bitmapOffset(chunk), ZeroLength: mib})
		}
		b, err := e.Marshal()
		must(t, err)
		if int64(len(b))+pageSize > l.log.length {
			t.Errorf("%d GiB: the entry has %d bytes, the log %d", virtual/gib, len(b), l.log.length)
		}
	}
}

// A disk of several chunks: changes at both sides of every border, in a slot, under a session,
// merged, and read by the naive reader, whose arithmetic is its own.
func TestManyChunks(t *testing.T) {
	for _, c := range []struct {
		virtual int64
		sector  uint32
	}{{9*gib + 3*mib + 4096, 512}, {70*gib + 3*mib + 4096, 4096}} {
		r := newRig(t, c.virtual, c.sector, 64*mib)
		chunk := int64(c.sector) << 23
		var runs []Run
		for at := chunk; at < c.virtual; at += chunk {
			runs = append(runs, Run{Offset: at - 3*pageSize, Length: 2 * pageSize}, Run{Offset: at - pageSize, Length: pageSize},
				Run{Offset: at, Length: mib + pageSize}, Run{Offset: at + 2*mib, Length: mib, Zero: true})
		}
		runs = append(runs, Run{Offset: c.virtual - pageSize, Length: pageSize})
		want := map[int64]byte{} // first byte of pages
		m := open(t, r.disk)
		s, err := m.Stage(ctx, &StageRequest{Image: image, Version: 2, Runs: runs})
		must(t, err)
		for i, run := range runs {
			p := slices.Repeat([]byte{byte(i + 1)}, int(run.Length))
			for at := int64(0); at < run.Length; at += pageSize {
				want[run.Offset+at] = p[0]
				if run.Zero {
					want[run.Offset+at] = 0
				}
			}
			if !run.Zero {
				_, err := s.WriteAt(p, run.Offset)
				must(t, err)
			}
		}
		must(t, s.Finish(ctx))
		must(t, m.Commit(ctx))
		check := func(when string) {
			t.Helper()
			for at, b := range want {
				p := naivePage(t, r, at)
				if p[0] != b || p[pageSize-1] != b {
					t.Fatalf("%s: %d bytes at %d: %#x, want %#x", when, pageSize, at, p[0], b)
				}
			}
		}
		check("committed")
		must(t, mergeAll(m))
		must(t, m.Relink(ctx))
		check("relinked")
		must(t, m.Reset(ctx))
		if w := r.disk.Written(BaseName); w != int64(len(want))*pageSize+baseFormat(c.virtual) {
			t.Errorf("%d bytes were merged, %d changed", w-baseFormat(c.virtual), len(want)*pageSize)
		}
	}
}

// baseFormat is what FormatBase writes.
func baseFormat(virtual int64) int64 {
	return 3*64<<10 + metadataContent + batPages(baseLayout(virtual, 512).geo) + 3*pageSize
}

// naivePage reads one page of the virtual disk with the naive reader.
func naivePage(t *testing.T, r *rig, at int64) []byte {
	t.Helper()
	chain, err := naiveChain(BootName, func(name string) (io.ReaderAt, int64) { f := r.disk.File(name); return f, f.Size() })
	must(t, err)
	ps, err := naivePieces(chain, at, pageSize, nil)
	must(t, err)
	page := make([]byte, pageSize)
	for _, p := range ps {
		if p.file != "" {
			_, err := r.disk.File(p.file).ReadAt(page[p.virtual-at:][:p.length], p.off)
			must(t, err)
		}
	}
	return page
}
