package machine

import (
	"context"
	"errors"
	"fmt"

	"troy/vhdx"
)

// act is something that a start does: what may be shown on the way, and afterwards.
type act struct {
	name  string
	via   []shown
	after shown
	run   func(Files) error
}

// choose draws what is done next. Most of it is possible; the rest has to be refused.
func (w *world) choose(now shown, s State) *act {
	switch {
	case now.broken:
		return w.heal(now)
	case s.Reinstalling:
		return w.reinstall(now)
	}
	plain := w.to(now, now.version)
	switch n := w.rnd.IntN(100); {
	case n < 20:
		return w.stage(now)
	case n < 38:
		return w.commit(now, s)
	case n < 44:
		return w.name(now, s)
	case n < 52:
		plain.staged = now.staged
		return &act{name: "reset", after: plain, run: onMachine(func(m *Machine) error { return m.Reset(ctx) })}
	case n < 58:
		via := w.to(now, s.Previous) // the slot that was rolled back looks staged until it is poisoned
		via.staged = -1
		return &act{name: "rollback", via: []shown{via}, after: w.to(now, s.Previous), run: onMachine(func(m *Machine) error { return m.Rollback(ctx) })}
	case n < 74:
		return w.merge(now)
	case n < 82:
		after := now
		if after.staged = 0; s.Layers == 0 {
			after = now
		}
		return &act{name: "relink", after: after, run: onMachine(func(m *Machine) error { return m.Relink(ctx) })}
	case n < 86:
		return &act{name: "recover", after: now, run: onMachine(func(*Machine) error { return nil })}
	case n < 88:
		l := Label{Image: image, Version: now.version, Manifest: fmt.Sprint(now.version)}
		return &act{name: "identify", after: now, run: onMachine(func(m *Machine) error { return m.Identify(ctx, l) })}
	case n < 93:
		return w.note(now)
	case n < 97:
		return &act{name: "mend", after: now, run: onMachine(mendTo(plain.data))}
	}
	w.order = 0
	return w.reinstall(now)
}

// to is a version without a session; without one, it is what there is.
func (w *world) to(now shown, version int) shown {
	if version == 0 {
		return now
	}
	return shown{version: version, data: w.versions[version], memo: now.memo}
}

// onMachine is how each start begins.
func onMachine(f func(m *Machine) error) func(Files) error {
	return func(files Files) error {
		m, err := Open(files)
		if err == nil {
			err = m.Recover(ctx)
		}
		if err == nil {
			err = f(m)
		}
		return err
	}
}

// stage begins a version, or goes on with one, and may leave it in the middle.
func (w *world) stage(now shown) *act {
	if w.begun == nil || w.on != now.version || w.calm || w.chance(40) {
		w.rig.now = w.versions[now.version]
		if w.begun = w.rig.smallUpdate(w.next, w.rnd.Uint64()); w.chance(30) {
			w.begun = w.rig.randomUpdate(w.next, w.rnd.Uint64(), 4)
		}
		w.on, w.versions[w.next] = now.version, w.begun.data
		w.next++
	}
	u, share, manifest := w.begun, 100, ""
	if w.chance(35) && !w.calm {
		share = w.rnd.IntN(100)
	}
	if w.chance(80) {
		manifest = fmt.Sprint(u.version)
	}
	after, via := now, now
	via.staged = -1
	if after.staged = u.version; share < 100 {
		after = via
	}
	return &act{name: fmt.Sprintf("stage %d %% of version %d", share, u.version), via: []shown{via}, after: after, run: onMachine(func(m *Machine) error {
		s, err := m.Stage(ctx, &StageRequest{Image: image, Version: u.version, Runs: u.runs, Manifest: manifest})
		if err != nil {
			return err
		}
		all := u.pieces(7)
		for i, p := range all {
			if i*100 > len(all)*share {
				return s.Note()
			}
			if s.Have(p.Offset, p.Length) {
				continue
			}
			if _, err := s.WriteAt(u.data[p.Offset:p.Offset+p.Length], p.Offset); err != nil {
				return err
			}
		}
		if share < 100 {
			return s.Note()
		}
		return s.Finish(ctx)
	})}
}

// commit may bring back a slot that was staged on a version before that was rolled back.
func (w *world) commit(now shown, s State) *act {
	after := w.to(now, s.Staged)
	after.staged = -1
	return &act{name: "commit", after: after, run: onMachine(func(m *Machine) error { return m.Commit(ctx) })}
}

// merge goes some way, or to the end, or is called off.
func (w *world) merge(now shown) *act {
	o := MergeOptions{Policy: Now, sliceBytes: int64(1+w.rnd.IntN(64)) * pageSize, depth: 1}
	if w.chance(50) {
		o.MaxBytes = int64(1+w.rnd.IntN(200)) * pageSize
	}
	stopped, cancel := context.WithCancel(ctx)
	if w.chance(15) {
		o.Progress = cancelAfter{new(int64), w.rnd.Int64N(mib), cancel}
	}
	return &act{name: fmt.Sprintf("merge %d bytes", o.MaxBytes), after: now, run: onMachine(func(m *Machine) error {
		defer cancel()
		_, err := m.Merge(stopped, &o)
		return err
	})}
}

// cancelAfter calls something off after so many bytes.
type cancelAfter struct {
	done   *int64
	after  int64
	cancel func()
}

func (c cancelAfter) Add(n int64) {
	if *c.done += n; *c.done > c.after {
		c.cancel()
	}
}

// note writes the agent's record.
func (w *world) note(now shown) *act {
	after := now
	after.memo = fmt.Sprint("note ", w.rnd.Uint64())
	return &act{name: "note", after: after, run: func(f Files) error {
		j, err := OpenJournal(f.Journal)
		if err != nil {
			return err
		}
		return j.Put(RecordAgent, []byte(after.memo))
	}}
}

// heal brings a parent back that was opened elsewhere.
func (w *world) heal(now shown) *act {
	before := w.before
	before.memo = now.memo
	return &act{name: "heal", after: before, run: func(f Files) error {
		h, err := OpenForHeal(f)
		if errors.Is(err, ErrNothingToHeal) { // an earlier one came so far
			return nil
		}
		if err != nil {
			return err
		}
		l, known := h.Label()
		if !known || w.versions[l.Version] == nil {
			return fmt.Errorf("the parent held %+v, known %v", l, known)
		}
		return healTo(w.versions[l.Version])(f)
	}}
}

// reinstall begins, or goes on with, writing a version over the parent.
func (w *world) reinstall(now shown) *act {
	if w.order == 0 || w.chance(10) {
		w.order = w.next
		w.versions[w.order] = noise(int(w.rig.virtual), w.rnd.Uint64())
		w.next++
	}
	want, order := w.versions[w.order], w.order
	nothing, done := shown{memo: now.memo}, shown{version: order, data: want, memo: now.memo}
	to := w.rig.virtual
	a := &act{name: fmt.Sprintf("reinstall version %d", order), via: []shown{nothing}, after: done}
	if w.chance(60) && !w.calm {
		to = w.rnd.Int64N(w.rig.virtual/mib) * mib
		a.name, a.after = fmt.Sprintf("%s up to %d", a.name, to), nothing
	}
	a.run = func(f Files) error {
		in, err := Reinstall(ctx, f, &ReinstallRequest{Image: image, Version: order, Manifest: fmt.Sprint(order), VirtualSize: w.rig.virtual, LogicalSectorSize: w.rig.sector})
		if err != nil {
			return err
		}
		if err := writeHalves(in, want, to); err != nil || to < w.rig.virtual {
			return err
		}
		return in.Finish(ctx)
	}
	return a
}

// name notes an identity and writes it, or writes the one that the journal has.
func (w *world) name(now shown, s State) *act {
	after, edits, kept := now, w.edits[s.IdentityWanted], s.IdentityPending && w.edits[s.IdentityWanted] != nil && w.chance(60)
	if !kept {
		edits = randomEdits(w.versions[now.version], w.rnd.Uint64())
		for i := range edits {
			edits[i].Secret = false
		}
		w.edits[SumEdits(edits)] = edits
	}
	if !now.session && now.named == "" {
		after.data, after.named = with(now.data, edits), SumEdits(edits)
	}
	return &act{name: fmt.Sprintf("name, of the journal %v", kept), after: after, run: onMachine(func(m *Machine) error {
		if kept {
			return m.Personalise(ctx, m.Wanted().Edits)
		}
		if err := m.Want(ctx, identityOf(m.State(), edits)); err != nil {
			return err
		}
		return m.Personalise(ctx, edits)
	})}
}

// windows lets Windows run, and perhaps be cut off.
func (w *world) windows(now shown) error {
	if now.version == 0 {
		return nil
	}
	if err := onMachine(func(*Machine) error { return nil })(filesOf(w.rig.disk)); err != nil {
		return fmt.Errorf("recover before Windows: %w", err)
	}
	w.Sessions++
	w.rig.now = now.data
	s := session{seed: w.rnd.Uint64(), dirty: w.chance(50)}
	if !now.session { // blocks move and paths are added once
		s.odd, s.locator = w.chance(50), w.chance(50)
	}
	s.run(w.t, w.rig)
	now.data, now.session = w.rig.now, true
	w.can = []shown{now}
	w.say("Windows: %+v", s)
	w.restart(w.rig.disk)
	return nil
}

// elsewhere lets another program open the parent read-write.
func (w *world) elsewhere(now shown, s State) {
	if now.version == 0 || s.Reinstalling {
		return
	}
	w.before = now
	f := w.rig.disk.File(BaseName)
	v, err := vhdx.OpenStorage(f, f.Size(), &vhdx.OpenOptions{Writable: true})
	must(w.t, err)
	c, err := vhdx.NewChain(v)
	must(w.t, err)
	for range 1 + w.rnd.IntN(30) {
		_, err = c.WriteAt(noise(pageSize, w.rnd.Uint64()), w.rnd.Int64N(w.rig.virtual/pageSize)*pageSize)
		must(w.t, err)
	}
	must(w.t, c.Close())
	w.can = []shown{{broken: true, memo: now.memo}}
	w.say("the parent is opened elsewhere")
	w.restart(w.rig.disk)
}

// rot damages one copy of something that stands twice, as long as the other one is whole.
func (w *world) rot() {
	places := twice()
	places[LayerBName] = places[LayerAName]
	name := names[w.rnd.IntN(len(names))]
	if w.chance(30) {
		name = JournalName
	}
	k := w.rnd.IntN(len(places[name]))
	off, other := places[name][k], places[name][k^1]
	d := w.rig.disk
	if d.Spoiled() > 0 || !wholeCopy(filesOf(d), name, other) {
		return
	}
	w.Rots++
	if w.chance(50) {
		d.Spoil(name, off)
		w.say("rot: %s at %d cannot be read", name, off)
		return
	}
	_, err := d.File(name).WriteAt(noise(pageSize, w.rnd.Uint64()), off)
	must(w.t, err)
	w.say("rot: %s at %d is garbage", name, off)
	w.restart(d)
}

// wholeCopy tells whether a copy can be used.
func wholeCopy(f Files, name string, off int64) bool {
	if name == JournalName {
		j, err := OpenJournal(f.Journal)
		p, _, _ := j.readSlot(Record(off/recordSlot/2), int(off/recordSlot%2))
		return err == nil && p != nil
	}
	file := map[string]File{BaseName: f.Base, LayerAName: f.LayerA, LayerBName: f.LayerB, BootName: f.Boot}[name]
	b := make([]byte, 64<<10)
	if _, err := file.ReadAt(b, off); err != nil {
		return false
	}
	if off < vhdx.RegionTable1Offset {
		_, err := vhdx.ParseHeader(b)
		return err == nil
	}
	_, err := vhdx.ParseRegionTable(b)
	return err == nil
}

// rest wants the machine to come to rest: whatever happened, starts without a fault boot a version,
// and take and merge the next one.
func (w *world) rest() error {
	w.calm = true
	w.say("from here on nothing fails")
	do := func(choose func(now shown, s State) *act) (s State, err error) {
		now, s, err := w.observe()
		if err == nil {
			err = w.act(now, choose(now, s))
		}
		if err == nil {
			_, s, err = w.observe()
		}
		return s, err
	}
	simply := func(name string, f func(m *Machine) error) func(shown, State) *act {
		return func(now shown, _ State) *act {
			now.staged = -1
			return &act{name: name, after: now, run: onMachine(f)}
		}
	}
	merge := simply("merge to the end", func(m *Machine) error {
		if _, err := m.Merge(ctx, &MergeOptions{Policy: Now}); err != nil {
			return err
		}
		return m.Relink(ctx)
	})
	for _, choose := range []func(shown, State) *act{
		func(now shown, s State) *act {
			if now.version == 0 {
				return w.choose(now, s)
			}
			return merge(now, s)
		},
		merge,
		func(now shown, _ State) *act { return w.stage(now) },
		w.commit,
		merge,
	} {
		if _, err := do(choose); err != nil {
			return err
		}
	}
	_, s, err := w.observe()
	if err == nil && (s.Layers != 0 || s.BaseVersion != s.Version || !s.SlotFree || s.Version != w.begun.version && w.Refused == 0) {
		err = fmt.Errorf("at rest: %+v", s)
	}
	return err
}
