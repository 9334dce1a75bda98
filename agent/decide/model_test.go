package decide

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"troy/chainload"
	"troy/diskwriter/machine"
	"troy/server/protocol"
)

// model is a machine of which only so much is there as Decide can spoil.
type model struct {
	r      *rand.Rand
	faults int // of a hundred steps so many fail

	cond    Condition
	state   machine.State
	half    bool // a change of what boots is half carried out
	memo    Memo // what the journal holds
	refused bool // the store refuses what the server wants

	outgrown bool // it was made for a smaller disk than those of the store
	healthy  chainload.Verdict
	order    *protocol.Order
	identity string // what its identity comes to
	errs     []string
}

func (m *model) chance(percent int) bool { return m.r.IntN(100) < percent }

func (m *model) complain(format string, a ...any) {
	m.errs = append(m.errs, fmt.Sprintf(format, a...))
}

// newModel draws a machine, its journal, a server.
func newModel(r *rand.Rand) (*model, Facts) {
	m := &model{r: r, faults: []int{0, 5, 30, 100}[r.IntN(4)], cond: Opened}
	if m.chance(40) {
		m.cond = []Condition{Missing, Unsuitable, Damaged, ParentChanged}[r.IntN(4)]
	}
	m.state = machine.State{Image: []string{"lab", "lab", "lab", "old", ""}[r.IntN(5)], Version: r.IntN(4), SlotFree: m.chance(70),
		Previous: r.IntN(3), Layers: r.IntN(3), SessionWritten: m.chance(50), LogPending: m.chance(30), Merging: m.chance(10), Staged: r.IntN(4), StagedImage: "lab"}
	m.state.Manifest, m.state.PreviousManifest, m.state.StagedManifest = m.hash(m.state.Version), m.hash(m.state.Previous), m.hash(m.state.Staged)
	if m.state.Layers == 0 || m.state.Merging {
		m.state.Previous = 0
	}
	if m.chance(15) {
		m.state = machine.State{Reinstalling: true, ReinstallImage: []string{"lab", ""}[r.IntN(2)], ReinstallVersion: r.IntN(4)}
	}
	if m.chance(50) {
		m.drawIdentity()
	}
	m.half = m.state.LogPending && !m.state.SessionWritten
	m.memo = Memo{Reset: []protocol.Reset{"", protocol.ResetBoot, protocol.ResetUpdate, protocol.ResetKey}[r.IntN(4)]}
	m.memo.Health.Starts, m.memo.Health.Wrote, m.memo.Health.Proven = r.IntN(20), r.IntN(5), m.chance(30)
	m.memo.Health.Version = []string{named(1), named(2), Name(m.state.Image, m.state.Version, m.state.Manifest)}[r.IntN(3)]
	for v := range 4 {
		if m.chance(15) {
			m.memo.Health = m.memo.Health.GivenUp(named(v))
		}
	}
	if m.chance(20) {
		m.memo.Marks = Marks{Golden: m.chance(50), Setup: m.chance(50)}
	}
	if m.chance(20) {
		m.memo.Marks.Hold = noon.Add(time.Duration(r.IntN(3)-1) * time.Hour)
		m.memo.Marks.Held = m.memo.Marks.Hold.Add(-time.Hour)
	}
	m.healthy = []chainload.Verdict{chainload.Unknown, chainload.Good, chainload.Failing}[r.IntN(3)]
	m.refused, m.outgrown = m.chance(30), m.chance(20)
	if m.chance(10) {
		m.calm()
	}
	m.order = m.draw()
	f := Facts{Now: noon, ClockUnsure: m.chance(10), InUse: m.chance(5), Discard: m.chance(50), Installed: m.chance(70)}
	if m.chance(5) {
		f.Unsupported = "BIOS"
	}
	return m, f
}

// calm has the machine hold a version that is good, and nothing else: as most do.
func (m *model) calm() {
	m.cond, m.half, m.healthy = Opened, false, chainload.Good
	m.state = on(1 + m.r.IntN(3))
	if m.chance(50) {
		m.drawIdentity()
	}
	m.memo.Marks, m.memo.Reset = Marks{}, ""
	m.memo.Health = chainload.Health{Version: named(m.state.Version), Proven: true}
}

// hash is mostly that of the store's version of that number.
func (m *model) hash(version int) string {
	switch {
	case version == 0 || m.chance(10):
		return ""
	case m.chance(15):
		return "another"
	}
	return manifest(version)
}

// draw draws an order.
func (m *model) draw() *protocol.Order {
	o := &protocol.Order{}
	if m.chance(80) {
		*o = wants(1 + m.r.IntN(3))
	}
	if m.chance(20) {
		o.Verify = &protocol.Verify{ID: "1", Adopt: m.chance(60)}
	}
	o.Rules.Merge = []protocol.Merge{"", protocol.MergeNow}[m.r.IntN(2)]
	o.Rules.Reset = []protocol.Reset{"", protocol.ResetBoot, protocol.ResetKey}[m.r.IntN(3)]
	if m.chance(15) {
		o.Rules.Until = noon.Add(time.Duration(m.r.IntN(3)-1) * time.Hour)
	}
	o.Permits.Reinstall, o.Permits.Retry = m.chance(40), m.chance(30)
	if m.chance(40) {
		o.Permits.Provision = &protocol.Provision{Wipe: m.chance(50)}
	}
	if m.chance(20) {
		o.Wait = 1 + m.r.IntN(protocol.MaxWait)
	}
	if m.chance(20) {
		o.Agent = "5"
	}
	m.identity = ""
	if m.chance(50) {
		o.Room = "r"
	}
	if m.chance(50) {
		o.Identity, m.identity = &protocol.Identity{Required: m.chance(40)}, []string{"a", "b"}[m.r.IntN(2)]
	}
	if m.chance(60) {
		o.Rules.Starts = protocol.StartsDirect
	}
	return o
}

// do carries a step out on the model, or lets it fail, and brings the facts up to date.
func (m *model) do(f *Facts, s Step) {
	m.allowed(f, s)
	res := Result{Step: s}
	if m.chance(m.faults) {
		res.Err, res.Wrote = errIO, s.Kind.works() && m.chance(70)
		if res.Wrote && s.Kind.boots() {
			m.half = true
			m.state.LogPending = true
		}
	}
	if res.Err == nil || res.Wrote && m.chance(50) { // a step that failed may be in force all the same
		m.effect(f, s, res.Err == nil)
	}
	if s.Kind == Open && res.Err != nil {
		f.Disk = Disk{Condition: Unsuitable, Why: "unreadable"}
	}
	f.Done = append(f.Done, res)
	if f.Disk.Condition == Opened && res.Err == nil {
		f.Disk.State = m.state
	}
}

// effect is what a step does to the machine and to the facts.
func (m *model) effect(f *Facts, s Step, known bool) {
	switch s.Kind {
	case Note, TryAgain, Count:
		m.memo = *s.Memo
	case Heal:
		m.cond = Opened
	case Reinstall:
		m.cond, m.half = Opened, false
		m.state = on(s.Version)
	case Provision:
		m.outgrown = false
		m.cond, m.state = Opened, machine.State{Reinstalling: true, ReinstallImage: s.Image, ReinstallVersion: s.Version}
	case Verify:
		if m.state.Manifest == "" && m.state.Version != 0 {
			m.state.Manifest = []string{manifest(m.state.Version), protocol.NoVersion}[m.r.IntN(2)]
		}
	default:
		m.state = assume(Facts{Disk: Disk{State: m.state}, Order: f.Order, Identity: f.Identity, Compared: f.Compared}, s).Disk.State
	}
	if s.Kind == Recover && known {
		m.half, m.state.LogPending = false, false
	}
	if known {
		m.learn(f, s)
	}
}

// learn brings what a step found out to the facts.
func (m *model) learn(f *Facts, s Step) {
	switch s.Kind {
	case Open:
		f.Disk = Disk{Condition: m.cond, State: m.state, Why: "why"}
		if len(f.Done) > 0 && m.chance(m.faults/2) {
			f.Disk.Condition = Unsuitable
		}
		f.Memo = m.memo
	case Judge:
		f.Verdict, f.Judged = m.healthy, f.current()
		f.OnTrial = m.chance(10)
	case CheckIn:
		f.Order, f.Identity = m.order, m.identity
		m.order = m.draw()
	case Plan:
		f.Planned = &Planned{For: s.For, Image: s.Image, Version: s.Version, Boots: s.Boots, Outgrew: m.outgrown && !s.Begun && m.cond == Opened}
		if f.Planned.Outgrew && s.For != Provision {
			f.Planned.Lacks = "it has grown"
			return
		}
		if m.refused && !s.Begun {
			*[]*string{&f.Planned.Unfit, &f.Planned.Lacks}[m.r.IntN(2)] = "no"
		}
		if s.For == Stage && m.state.Manifest != manifest(m.state.Version) {
			f.Planned.Foreign, f.Foreign = true, m.state.Manifest
		}
	case Verify:
		f.Compared = &Compared{With: protocol.Want{Image: "lab", Version: 1 + m.r.IntN(3)}, Differ: int64(m.r.IntN(2)) << 20}
		if w := f.want(); w != nil && f.Order.Verify != nil && f.Order.Verify.Adopt {
			f.Compared.With = *w
		}
		f.Compared.With.Manifest = manifest(f.Compared.With.Version)
	case OwnAgent:
		f.Renewed = m.chance(50)
	case Confirm:
		f.OnTrial = false
	case Note, TryAgain, Count:
		f.Memo = *s.Memo
	}
}

// failed tells whether a step failed that was not made good.
func (f *Facts) failed() bool {
	for i, r := range f.Done {
		if k := r.Step.Kind; r.Err != nil && k != Connect && k != CheckIn && !mended(f, i) {
			return true
		}
	}
	return false
}

// allowed complains of a step that must not be done now.
func (m *model) allowed(f *Facts, s Step) {
	k := s.Kind
	if len(f.Done) > 0 {
		if last := f.Done[len(f.Done)-1]; last.Err != nil && last.Step.Kind.works() && k != Open {
			m.complain("%s right after %s failed", s, last.Step)
		}
	}
	if f.Unsupported != "" && (k.works() || k == Note || k == TryAgain || k == Count || k == Confirm || k == BootFiles || k == OwnAgent) {
		m.complain("%s on a machine with a BIOS", s)
	}
	if f.marked() != "" && !m.state.Reinstalling {
		switch k {
		case Merge, Heal, Stage, Adopt, Commit, Rollback, Reset, Reinstall:
			m.complain("%s under a mark: %s", s, f.marked())
		}
	}
	m.namesRight(f, s)
	if m.half && k.works() && k != Recover && k != Heal && k != Reinstall && k != Provision {
		m.complain("%s on a disk that was not recovered", s)
	}
	if f.late() && (k == Stage || k == Verify || k == Adopt || k == Provision || k == Reinstall && !m.state.Reinstalling) {
		m.complain("%s after the window closed", s)
	}
	if k == OwnAgent && (f.Disk.Condition == Missing || f.Disk.Condition == Unsuitable) {
		m.complain("%s without a journal", s)
	}
	switch k {
	case Direct:
		d := m.state
		if m.half || m.cond != Opened || d.Reinstalling || d.Layers > 0 || d.Staged > 0 || d.Merging || d.Merged || m.memo.Reset == protocol.ResetBoot || m.memo.Reset == protocol.ResetKey ||
			f.marked() != "" || !f.Installed || f.OnTrial || !m.memo.Health.Proven || m.healthy != chainload.Good || !m.memo.Direct || f.failed() {
			m.complain("%s, and the agent has work to do, or does not know the version: %+v", s, d)
		}
	case Reset:
		d := m.state
		renews := !d.SessionWritten && !d.SessionUnknown && d.IdentityApplied != "" && d.IdentityApplied != d.IdentityWanted
		if rule := f.reset(); !renews && (rule == protocol.ResetUpdate || rule == protocol.ResetKey && !f.Discard || f.Memo.Marks.SetUp) {
			m.complain("%s by the rule %q, R pressed: %v", s, rule, f.Discard)
		}
	case Provision:
		if f.Order == nil || f.Order.Permits.Provision == nil || m.cond != Missing && !(m.outgrown && f.Order.Permits.Provision.Wipe) {
			m.complain("%s without a permit", s)
		}
		if m.cond != Missing && (m.state.Reinstalling || f.marked() != "") {
			m.complain("%s in place of a reinstall that was begun, or under a mark", s)
		}
	case Reinstall:
		if !s.Begun && !m.state.Reinstalling && (f.Order == nil || !f.Order.Permits.Reinstall) {
			m.complain("%s without a permit", s)
		}
		if boots(f) && (f.Planned == nil || !f.Planned.Boots || !f.Planned.allowed()) {
			m.complain("%s over what starts, without the admin's permit", s)
		}
	case Rollback:
		if (f.want() == nil || f.want().Version != s.Version) && !m.memo.Health.Refuses(Name(m.state.Image, m.state.Version, m.state.Manifest)) && !f.Done.failed(Note) {
			m.complain("%s before the journal knows that the version is given up", s)
		}
	}
	if k == Stage && m.state.Manifest != manifest(m.state.Version) {
		m.complain("%s on what is no version of the store: %+v", s, m.state)
	}
	if k == Adopt && !adopts(f) {
		m.complain("%s without an order", s)
	}
	asked := k == Stage || k == Adopt || k == Reinstall || k == Provision || k == Rollback && !f.Memo.Health.Refuses(f.current())
	if p := f.Planned; asked && (p == nil || !p.allowed() || p.Version != s.Version) {
		m.complain("%s, which the store did not allow: %+v", s, p)
	}
	if (k == Stage || k == Adopt || k == Commit || asked && k == Rollback) && f.Memo.Health.Refuses(named(s.Version)) {
		m.complain("%s, which was given up here", s)
	}
}

// play lets a start run to its end.
func (m *model) play(f *Facts) (end Step, steps int) {
	for steps = range 400 {
		list := Decide(*f)
		s := list[0]
		if s.Reason == "" || len(list) == maxSteps {
			m.complain("%s: reason %q, a list of %d", s, s.Reason, len(list))
		}
		if s.Final() {
			return s, steps
		}
		m.do(f, s)
	}
	m.complain("no end: %s", list(Decide(*f)))
	return Step{}, steps
}

// ended complains of a wrong end.
func (m *model) ended(f *Facts, end Step) {
	switch {
	case f.Unsupported != "" || f.InUse:
		if end.Kind != Stay {
			m.complain("ends with %s", end)
		}
		return
	case end.Kind == Windows && m.half && (f.Disk.Condition == Opened || f.Done.touched()):
		m.complain("Windows is started on a change that is half carried out")
	case end.Kind == Windows && f.Disk.Condition == Opened && f.Disk.State.LogPending && !f.Disk.State.Reinstalling && f.Done.failed(Recover) && !f.recovered():
		m.complain("Windows is started on a log that was not replayed")
	}
	boots := m.cond == Opened && !m.state.Reinstalling && !m.half && f.Disk.Condition == Opened && f.recovered()
	if boots && !f.Renewed && !f.Done.failed(HandOff) && end.Kind != Windows {
		m.complain("a version is on the disk, and the start ends with %s: %s", end, end.Reason)
	}
	if boots && end.Kind == Windows && !f.Done.did(BootFiles) {
		m.complain("Windows is started, and the boot files were not looked at")
	}
	if end.Kind == Windows && m.state.Reinstalling && f.Disk.Condition == Opened {
		m.complain("Windows is started from a disk without one")
	}
	if o := Judged(f); o.Outcome == protocol.OutcomeFailed && o.Message == "" || o.Outcome == protocol.OutcomeWaiting && o.Message == "" {
		m.complain("%+v says nothing", o)
	}
}

func check(seed1, seed2 uint64) (History, error) {
	m, f := newModel(rand.New(rand.NewPCG(seed1, seed2)))
	end, _ := m.play(&f)
	m.ended(&f, end)
	if len(m.errs) == 0 {
		return f.Done, nil
	}
	text := fmt.Sprintf("seeds %d %d:", seed1, seed2)
	for _, e := range m.errs {
		text += "\n  " + e
	}
	for _, r := range f.Done {
		text += fmt.Sprintf("\n    %s: %v", r.Step, r.Err)
	}
	return nil, errors.New(text + fmt.Sprintf("\n    %s\n    %+v", end, f.Disk))
}

// Whatever the machine is like, and whatever fails: see the promises of the package.
func TestRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	direct, named := 0, 0
	for i := range uint64(20_000) {
		done, err := check(seed, i)
		if err != nil {
			t.Fatal(err)
		}
		if done.did(Direct) {
			direct++
		}
		if done.succeeded(Personalise) {
			named++
		}
	}
	if direct < 5 || named < 500 {
		t.Errorf("%d starts allow direct ones, %d name the machine: that is hardly tested", direct, named)
	}
}

func FuzzDecide(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) {
		if _, err := check(a, b); err != nil {
			t.Fatal(err)
		}
	})
}
