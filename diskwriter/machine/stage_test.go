package machine

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"troy/internal/guid"
	"troy/internal/testing/crashdisk"
	"troy/vhdx"
)

func TestStageRefusesBadRuns(t *testing.T) {
	r := newRig(t, 8*mib, 512, 8*mib)
	m := open(t, r.disk)
	r.disk.Start()
	for name, runs := range map[string][]Run{
		"misaligned offset": {{Offset: 512, Length: pageSize}},
		"misaligned length": {{Offset: 0, Length: 100}},
		"empty":             {{Offset: 0, Length: 0}},
		"negative":          {{Offset: -pageSize, Length: pageSize}},
		"past the end":      {{Offset: 8*mib - pageSize, Length: 2 * pageSize}},
		"far past the end":  {{Offset: 1 << 62, Length: 1 << 62}},
		"overlap":           {{Offset: 0, Length: 2 * pageSize}, {Offset: pageSize, Length: pageSize}},
		"unsorted":          {{Offset: mib, Length: pageSize}, {Offset: 0, Length: pageSize}},
	} {
		if _, err := m.Stage(ctx, &StageRequest{Version: 2, Runs: runs}); !errors.Is(err, ErrRuns) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := r.disk.Written(); n != 0 {
		t.Errorf("%d bytes were written", n)
	}
}

func TestStageRefusesWhatDoesNotFit(t *testing.T) {
	r := newRig(t, 32*mib, 512, 4*mib)
	m := open(t, r.disk)
	var runs []Run
	for i := range int64(5) { // five pages in five blocks need five blocks; zeros need none
		runs = append(runs, Run{Offset: 2 * i * mib, Length: pageSize}, Run{Offset: (2*i + 1) * mib, Length: mib, Zero: true})
	}
	r.disk.Start()
	_, err := m.Stage(ctx, &StageRequest{Version: 2, Runs: runs})
	var space *SpaceError
	if !errors.Is(err, ErrTooBig) || !errors.As(err, &space) || space.Need != 5*mib || space.Have != 4*mib || !strings.Contains(err.Error(), "5 MiB") {
		t.Fatalf("%v", err)
	}
	if n := r.disk.Written(); n != 0 {
		t.Errorf("%d bytes were written", n)
	}
	s, err := m.Stage(ctx, &StageRequest{Version: 2, Runs: runs[:8]})
	must(t, err)
	for i := range int64(4) {
		_, err := s.WriteAt(noise(pageSize, uint64(i)), 2*i*mib)
		must(t, err)
	}
	must(t, s.Finish(ctx))
}

func TestStageNeedsAFreeSlot(t *testing.T) {
	r, _ := twoSlots(t, 60, session{})
	m := open(t, r.disk)
	if _, err := m.Stage(ctx, &StageRequest{Version: 4}); !errors.Is(err, ErrNoSlot) {
		t.Errorf("%v", err)
	}
}

// An empty version is a version too.
func TestStageNothing(t *testing.T) {
	r := newRig(t, 8*mib, 512, 8*mib)
	m := open(t, r.disk)
	must(t, (&update{version: 2}).stage(m))
	must(t, m.Commit(ctx))
	shows(t, r.disk, r.now, "empty version")
	if s := m.State(); s.Version != 2 {
		t.Errorf("%+v", s)
	}
}

func TestStagerRefusesWritesOutsideOfRuns(t *testing.T) {
	r := newRig(t, 8*mib, 512, 8*mib)
	s, err := open(t, r.disk).Stage(ctx, &StageRequest{Version: 2, Runs: []Run{
		{Offset: mib - pageSize, Length: 3 * pageSize}, {Offset: 2 * mib, Length: mib, Zero: true}, {Offset: 3 * mib, Length: pageSize}}})
	must(t, err)
	r.disk.Start()
	for name, w := range map[string][2]int64{
		"before": {mib - 2*pageSize, 2 * pageSize}, "after": {mib + pageSize, 2 * pageSize}, "zeros": {2 * mib, pageSize},
		"from zeros on": {3*mib - pageSize, 2 * pageSize}, "part of a page": {mib, 512}, "misaligned": {mib + 512, pageSize},
		"negative": {-pageSize, pageSize}, "past the end": {8 * mib, pageSize}, "nowhere": {5 * mib, 0},
	} {
		if _, err := s.WriteAt(make([]byte, w[1]), w[0]); !errors.Is(err, ErrRuns) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := r.disk.Written(); n != 0 {
		t.Errorf("%d bytes were written", n)
	}
	if err := s.Finish(ctx); !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), "4 of 4") {
		t.Errorf("%v", err)
	}
	_, err = s.WriteAt(noise(3*pageSize, 1), mib-pageSize)
	must(t, err)
	_, err = s.WriteAt(noise(pageSize, 2), 3*mib)
	must(t, err)
	must(t, s.Finish(ctx))
}

func TestStageConcurrently(t *testing.T) {
	r := newRig(t, 16*mib, 512, 16*mib)
	u := r.randomUpdate(2, 61, 60)
	m := open(t, r.disk)
	s, err := m.Stage(ctx, &StageRequest{Image: image, Version: 2, Runs: u.runs})
	must(t, err)
	var pages []int64
	for _, run := range u.runs {
		for at := run.Offset; at < run.Offset+run.Length && !run.Zero; at += pageSize {
			pages = append(pages, at)
		}
	}
	rand.New(rand.NewPCG(61, 0)).Shuffle(len(pages), func(i, k int) { pages[i], pages[k] = pages[k], pages[i] })
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < len(pages); i += 8 {
				if _, err := s.WriteAt(u.data[pages[i]:pages[i]+pageSize], pages[i]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	must(t, s.Finish(ctx))
	must(t, m.Commit(ctx))
	shows(t, r.disk, u.data, "pages in any order")
}

// rotten gives back one flipped bit of a file at an offset.
type rotten struct {
	Storage
	at int64
}

func (r rotten) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.Storage.ReadAt(p, off)
	if r.at >= off && r.at < off+int64(n) {
		p[r.at-off] ^= 4
	}
	return n, err
}

// What the disk gives back is compared: payload, zeros, sector bitmaps, BAT, metadata.
func TestStageReadsBack(t *testing.T) {
	r := newRig(t, 8*mib, 512, 8*mib)
	l, err := slotLayout(r.virtual, 512, SlotSize(r.virtual, r.virtual))
	must(t, err)
	runs := []Run{{Offset: pageSize, Length: pageSize}, {Offset: 3 * pageSize, Length: pageSize, Zero: true}}
	for name, at := range map[string]int64{
		"payload": l.payload.off + pageSize + 77, "zeros": l.payload.off + 3*pageSize + 9, "bitmap": l.bitmaps.off + 1, "BAT": l.bat.off + 2,
		"metadata": l.metadata.off + 0x10028 + 60,
	} {
		f := filesOf(r.disk.Fork())
		m, err := Open(f)
		must(t, err)
		m.files.LayerA.Storage = rotten{f.LayerA.Storage, at}
		s, err := m.Stage(ctx, &StageRequest{Version: 2, Runs: runs})
		if err == nil {
			_, err = s.WriteAt(noise(pageSize, 5), pageSize)
			must(t, err)
			err = s.Finish(ctx)
		}
		if !errors.Is(err, ErrVerify) {
			t.Errorf("%s: %v", name, err)
		}
		if again, err := Open(f); err != nil || again.State().Staged != 0 {
			t.Errorf("%s: it counts as staged, %v", name, err)
		}
	}
}

func TestStageGivesUpWhenAsked(t *testing.T) {
	r := newRig(t, 8*mib, 512, 8*mib)
	u := r.randomUpdate(2, 62, 3)
	m := open(t, r.disk)
	stopped, cancel := context.WithCancel(ctx)
	s, err := m.Stage(stopped, &StageRequest{Version: 2, Runs: u.runs})
	must(t, err)
	must(t, u.write(s, 1))
	cancel()
	if err := s.Finish(stopped); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := m.Stage(stopped, &StageRequest{Version: 2}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	shows(t, r.disk, r.now, "given up")
	must(t, u.stage(m))
	if m.State().Staged != 2 {
		t.Error("nothing is staged")
	}
}

// A slot that is no VHDX any more is made again, and one that was put there that does not
// belong is not believed.
func TestStageIntoADamagedSlot(t *testing.T) {
	for name, break_ := range map[string]func(f *crashdisk.File){
		"garbage": func(f *crashdisk.File) { write(t, f, 0, noise(2*mib, 3)) },
		"one header": func(f *crashdisk.File) {
			_, slot, err := vhdx.ReadHeaders(f)
			must(t, err)
			write(t, f, headerOffset(slot), noise(pageSize, 4))
		},
		"metadata": func(f *crashdisk.File) { write(t, f, 2*mib, noise(65536+pageSize, 5)) },
		"a log":    func(f *crashdisk.File) { openLog(t, f) },
	} {
		r := newRig(t, 8*mib, 512, 8*mib)
		for _, slot := range []string{LayerAName, LayerBName} {
			break_(r.disk.File(slot))
		}
		m := open(t, r.disk)
		u := r.randomUpdate(2, 63, 3)
		must(t, u.stage(m))
		must(t, m.Commit(ctx))
		shows(t, r.disk, u.data, name)
	}
}

func write(t *testing.T, f *crashdisk.File, off int64, p []byte) {
	t.Helper()
	_, err := f.WriteAt(p, off)
	must(t, err)
}

// openLog makes a file look as if a writer was cut off.
func openLog(t *testing.T, f *crashdisk.File) {
	t.Helper()
	h, slot, err := vhdx.ReadHeaders(f)
	must(t, err)
	h.SequenceNumber++
	h.LogGUID = guid.New()
	b, err := (&vhdx.LogEntry{SequenceNumber: 9, LogGUID: h.LogGUID, FlushedFileOffset: mib, LastFileOffset: mib}).Marshal()
	must(t, err)
	write(t, f, int64(h.LogOffset), b)
	write(t, f, headerOffset(1-slot), h.Marshal())
}
