package machine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"

	"troy/internal/testing/crashdisk"
)

// request is an update that can be gone on with.
func (u *update) request() *StageRequest {
	return &StageRequest{Image: image, Version: u.version, Runs: u.runs, Manifest: fmt.Sprintf("version %d", u.version)}
}

// data yields the data of an update in pieces of up to n pages.
func (u *update) pieces(pages int64) (out []Run) {
	for _, r := range u.runs {
		for at := r.Offset; at < r.Offset+r.Length && !r.Zero; at += pages * pageSize {
			out = append(out, Run{Offset: at, Length: min(pages*pageSize, r.Offset+r.Length-at)})
		}
	}
	return out
}

// fetch writes what the stager does not have, as the client does, and returns how much that was.
func (u *update) fetch(s *Stager, pages int64) (written int64, err error) {
	for _, r := range u.pieces(pages) {
		if s.Have(r.Offset, r.Length) {
			continue
		}
		if _, err := s.WriteAt(u.data[r.Offset:r.Offset+r.Length], r.Offset); err != nil {
			return written, err
		}
		written += r.Length
	}
	return written, nil
}

// resume stages what is not there yet, whatever was there before, with small notes and many
// flushes.
func (u *update) resume(m *Machine, check checkNote) error {
	s, err := m.stage(ctx, u.request(), check)
	if err != nil {
		return err
	}
	s.log.noteBytes, s.log.flushBytes = 24<<10, 64<<10
	if _, err := u.fetch(s, 3); err != nil {
		return err
	}
	return s.Finish(ctx)
}

// resumeAndCommit is a whole update up to the switch.
func (u *update) resumeAndCommit(m *Machine, check checkNote) error {
	if err := m.Recover(ctx); err != nil {
		return err
	}
	if s := m.State(); s.Version == u.version {
		return nil
	} else if s.Staged == u.version {
		return m.Commit(ctx)
	}
	if err := u.resume(m, check); err != nil {
		return err
	}
	return m.Commit(ctx)
}

// cut stages a random part of an update and drops it.
func (u *update) cut(t testing.TB, r *rig, rnd *rand.Rand) (have []Run, s *Stager) {
	t.Helper()
	s, err := open(t, r.disk).Stage(ctx, u.request())
	must(t, err)
	all := u.pieces(1 + rnd.Int64N(300))
	rnd.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
	have = all[:rnd.IntN(len(all)+1)]
	for _, p := range have {
		_, err := s.WriteAt(u.data[p.Offset:p.Offset+p.Length], p.Offset)
		must(t, err)
	}
	return have, s
}

// What was written and noted is there after the process was killed, nothing else is, and the rest
// completes it.
func TestResume(t *testing.T) {
	for seed := range uint64(12) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		r := newRig(t, 8*mib, []uint32{512, 4096}[seed%2], 8*mib)
		u := r.randomUpdate(2, seed, 12)
		written := map[int64]bool{}
		for range 3 {
			have, s := u.cut(t, r, rnd)
			must(t, s.Note())
			for _, p := range have {
				for at := p.Offset; at < p.Offset+p.Length; at += pageSize {
					written[at] = true
				}
			}
		}
		m := open(t, r.disk)
		s, err := m.Stage(ctx, u.request())
		must(t, err)
		for _, p := range u.pieces(1) {
			if s.Have(p.Offset, pageSize) != written[p.Offset] {
				t.Fatalf("seed %d: page at %d: written %v, have %v", seed, p.Offset, written[p.Offset], !written[p.Offset])
			}
		}
		if s.Held() != int64(len(written))*pageSize {
			t.Errorf("seed %d: %d bytes held, %d pages written", seed, s.Held(), len(written))
		}
		sent, _ := u.changed()
		n, err := u.fetch(s, 1)
		must(t, err)
		if n != sent-s.Held() {
			t.Errorf("seed %d: %d bytes written, %d of %d were there", seed, n, s.Held(), sent)
		}
		must(t, s.Finish(ctx))
		must(t, m.Commit(ctx))
		shows(t, r.disk, u.data, fmt.Sprintf("seed %d", seed))
	}
}

func TestHave(t *testing.T) {
	r := newRig(t, 8*mib, 512, 8*mib)
	s, err := open(t, r.disk).Stage(ctx, &StageRequest{Version: 2, Manifest: "x", Runs: []Run{
		{Offset: mib - pageSize, Length: 3 * pageSize}, {Offset: 2 * mib, Length: mib, Zero: true}, {Offset: 3 * mib, Length: pageSize}}})
	must(t, err)
	_, err = s.WriteAt(noise(2*pageSize, 1), mib)
	must(t, err)
	for _, c := range []struct {
		off, length int64
		want        bool
	}{
		{mib, 2 * pageSize, true}, {mib, pageSize, true}, {mib - pageSize, 2 * pageSize, false}, {mib, 3 * pageSize, false},
		{2 * mib, mib, true}, {2*mib - pageSize, 2 * pageSize, false}, {3*mib - pageSize, 2 * pageSize, false},
		{mib, 512, false}, {mib + 512, pageSize, false}, {-pageSize, pageSize, false}, {mib, -pageSize, false}, {1 << 62, pageSize, false},
	} {
		if s.Have(c.off, c.length) != c.want {
			t.Errorf("%d bytes at %d: not %v", c.length, c.off, c.want)
		}
	}
}

// A kill costs no more than what was not noted and what was on its way.
func TestKillCostsLittle(t *testing.T) {
	const seed = 400
	rnd := rand.New(rand.NewPCG(seed, 0))
	r := newRig(t, 64*mib, 512, 64*mib)
	u := r.randomUpdate(2, seed, 500)
	var wg sync.WaitGroup
	done := make([]int64, 8) // bytes of the streams
	s, err := open(t, r.disk).Stage(ctx, u.request())
	must(t, err)
	sent, _ := u.changed()
	r.disk.Start()
	dead := 150 + rnd.IntN(250)
	r.disk.SetHook(func(c crashdisk.Call) (int, error) {
		if c.N > dead {
			return 0, syscall.EIO
		}
		return 0, nil
	})
	for w := range done {
		wg.Go(func() {
			for i, p := range u.pieces(64) {
				if i%len(done) != w {
					continue
				}
				if _, err := s.WriteAt(u.data[p.Offset:p.Offset+p.Length], p.Offset); err != nil {
					return
				}
				done[w] += p.Length
			}
		})
	}
	wg.Wait()
	r.disk.SetHook(nil)
	var all int64
	for _, n := range done {
		all += n
	}
	s, err = open(t, r.disk).Stage(ctx, u.request())
	must(t, err)
	t.Logf("seed %d: killed after %d calls, %d of %d bytes written, %d found again", seed, dead, all, sent, s.Held())
	if lost := all - s.Held(); all < 4*mib || all == sent || lost > defaultNoteBytes {
		t.Errorf("%d bytes of %d were lost", lost, all)
	}
}

// Only the very same request goes on, and only with pages that are what was written.
func TestResumeOnlyTheSame(t *testing.T) {
	const seed = 410
	slot := func(r *rig) *crashdisk.File { return r.disk.File(LayerAName) }
	same := func(*rig, *StageRequest) {}
	for name, c := range map[string]struct {
		change func(*rig, *StageRequest)
		least  bool // something is there still
		all    bool // everything is
	}{
		"the same":           {same, true, true},
		"another manifest":   {func(_ *rig, q *StageRequest) { q.Manifest = "version 2b" }, false, false},
		"no manifest":        {func(_ *rig, q *StageRequest) { q.Manifest = "" }, false, false},
		"another version":    {func(_ *rig, q *StageRequest) { q.Version = 3 }, false, false},
		"another image":      {func(_ *rig, q *StageRequest) { q.Image = "x" }, false, false},
		"other runs":         {func(_ *rig, q *StageRequest) { q.Runs = q.Runs[:len(q.Runs)-1] }, false, false},
		"journal lost":       {func(r *rig, _ *StageRequest) { loseJournal(t, r.disk) }, false, false},
		"the log was lost":   {func(r *rig, _ *StageRequest) { write(t, r.disk.File(JournalName), stageLogOffset, noise(pageSize, 3)) }, false, false},
		"the slot was lost":  {func(r *rig, _ *StageRequest) { write(t, slot(r), 0, noise(mib, 3)) }, false, false},
		"payload lost":       {func(r *rig, _ *StageRequest) { write(t, slot(r), slot(r).Size()-8*mib, noise(8*mib, 3)) }, false, false},
		"a part of it":       {func(r *rig, _ *StageRequest) { write(t, slot(r), slot(r).Size()-8*mib, noise(2*mib, 3)) }, true, false},
		"another slot GUID":  {func(r *rig, _ *StageRequest) { must(t, poisonFirst(t, r)) }, false, false},
		"another was staged": {func(r *rig, _ *StageRequest) { must(t, r.randomUpdate(5, seed, 3).stage(open(t, r.disk))) }, false, false},
		"a reset between":    {func(r *rig, _ *StageRequest) { must(t, open(t, r.disk).Reset(ctx)) }, true, true},
	} {
		r := newRig(t, 8*mib, 512, 8*mib)
		u := r.randomUpdate(2, seed, 12)
		s, err := open(t, r.disk).Stage(ctx, u.request())
		must(t, err)
		_, err = u.fetch(s, 100)
		must(t, err)
		must(t, s.Note())
		q := u.request()
		c.change(r, q)
		m := open(t, r.disk)
		s, err = m.Stage(ctx, q)
		must(t, err)
		sent, _ := u.changed()
		if s.Held() > 0 != c.least || (s.Held() == sent) != c.all {
			t.Errorf("%s: %d bytes of %d are there", name, s.Held(), sent)
		}
		if q.Runs = u.runs; q.Version == 2 { // whatever was believed, the result is right
			m = open(t, r.disk)
			s, err = m.Stage(ctx, q)
			must(t, err)
			_, err = u.fetch(s, 100)
			must(t, err)
			must(t, s.Finish(ctx))
			must(t, m.Commit(ctx))
			got, err := view(r.disk, r.virtual)
			must(t, err)
			diff(t, got, u.data, name)
		}
	}
}

// poisonFirst gives the first slot a new DataWriteGuid.
func poisonFirst(t *testing.T, r *rig) error {
	t.Helper()
	return open(t, r.disk).poisonSlot(0)
}

// A slot that was finished, but whose label is not there, needs no byte again.
func TestResumeFinishedSlot(t *testing.T) {
	r := newRig(t, 8*mib, 512, 8*mib)
	u := r.randomUpdate(2, 420, 12)
	m := open(t, r.disk)
	before, err := m.journal.Get(RecordMachine)
	must(t, err)
	must(t, u.resume(m, sameSum))
	must(t, m.journal.Put(RecordMachine, before))
	m = open(t, r.disk)
	if m.State().Staged != 0 {
		t.Fatal("it is staged")
	}
	s, err := m.Stage(ctx, u.request())
	must(t, err)
	if again := open(t, r.disk); again.slots[0].v != nil {
		t.Error("the slot looks finished while it is filled")
	}
	if n, err := u.fetch(s, 100); n != 0 || err != nil {
		t.Errorf("%d bytes written again, %v", n, err)
	}
	must(t, s.Finish(ctx))
	must(t, m.Commit(ctx))
	shows(t, r.disk, u.data, "finished twice")
}

// What was begun in one slot is found there although another one is free by now.
func TestResumeInTheOtherSlot(t *testing.T) {
	r, u := prepared(t, 430, nil)
	m := open(t, r.disk)
	must(t, m.Commit(ctx))
	old := r.now
	v3 := &update{version: 3, runs: u.runs, data: u.data}
	_, s := v3.cut(t, r, rand.New(rand.NewPCG(430, 2)))
	must(t, s.Note())
	must(t, open(t, r.disk).Rollback(ctx))
	shows(t, r.disk, old, "rolled back beside an unfinished slot")
	m = open(t, r.disk)
	s, err := m.Stage(ctx, v3.request())
	must(t, err)
	if s.slot.name != LayerBName || s.Held() == 0 {
		t.Errorf("%s, %d bytes", s.slot.name, s.Held())
	}
	must(t, v3.resumeAndCommit(open(t, r.disk), sameSum))
	shows(t, r.disk, u.data, "gone on in the other slot")
}

// A log that is full is no error.
func TestStageLogFull(t *testing.T) {
	_, j := newJournal(t)
	key := logKey{1}
	l := newStageLog(j.f, key)
	sums := make([]pageSum, 1)
	const most = stageLogSize / pageSize * notesPerPage
	for i := range uint32(most + 1000) {
		sums[0][0] = byte(i)
		must(t, l.add(2*i, sums)) // no two of them neighbours
	}
	must(t, l.flush())
	notes := newStageLog(j.f, key).load()
	if len(notes) != most {
		t.Fatalf("%d notes, want %d", len(notes), most)
	}
	for i, n := range notes {
		if n.first != 2*uint32(i) || n.count != 1 {
			t.Fatalf("note %d: %+v", i, n)
		}
	}
	l = newStageLog(j.f, key)
	if l.load(); l.at != stageLogSize {
		t.Errorf("goes on at %d", l.at)
	}
	must(t, l.add(7, sums))
	must(t, l.flush())
	if n := len(newStageLog(j.f, logKey{2}).load()); n != 0 {
		t.Errorf("%d notes of another stage", n)
	}
}

// Pages that come in order from several streams make few notes.
func TestNotesJoin(t *testing.T) {
	_, j := newJournal(t)
	l := newStageLog(j.f, logKey{1})
	l.noteBytes = 16 * mib
	sums := make([]pageSum, 5)
	for i := range uint32(100) {
		for stream := range uint32(8) {
			must(t, l.add(stream*10_000+i*5, sums))
		}
	}
	must(t, l.flush())
	notes, pages := newStageLog(j.f, logKey{1}).load(), 0
	for _, n := range notes {
		pages += int(n.count)
	}
	if len(notes) != 16 || pages != 8*500 {
		t.Errorf("%d notes of %d pages", len(notes), pages)
	}
}

// FuzzStageLog reads arbitrary logs: no panic, and no note that is not in them.
func FuzzStageLog(f *testing.F) {
	d := crashdisk.New()
	d.Create(JournalName, JournalSize, nil)
	l := newStageLog(File{d.File(JournalName), JournalSize}, logKey{})
	if err := l.add(5, make([]pageSum, 600)); err != nil {
		f.Fatal(err)
	}
	if err := l.flush(); err != nil {
		f.Fatal(err)
	}
	whole := bytes.Clone(l.page)
	f.Add(whole)
	f.Add(whole[:noteSector])
	f.Add([]byte("troystg1"))
	f.Fuzz(func(t *testing.T, p []byte) {
		r := newRig(t, 4*mib, 512, 4*mib)
		m := open(t, r.disk)
		runs := []Run{{Offset: pageSize, Length: mib}}
		s, err := m.Stage(ctx, &StageRequest{Manifest: "x", Runs: runs})
		must(t, err)
		if len(p) > 8*stageLogStep {
			return
		}
		for len(p)%pageSize != 0 || len(p) == 0 {
			p = append(p, 0)
		}
		for at := 0; at+noteSector <= len(p); at += noteSector { // as if it were of this stage
			copy(p[at+8:], s.log.key[:])
			sum := noteSum(p[at : at+noteSector])
			p[at+28], p[at+29], p[at+30], p[at+31] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
		}
		must(t, writeFull(m.files.Journal, p, stageLogOffset))
		s, err = m.Stage(ctx, &StageRequest{Manifest: "x", Runs: runs})
		must(t, err)
		if s.Held() != 0 {
			t.Fatalf("%d bytes that were never written", s.Held())
		}
	})
}
