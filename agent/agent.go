package agent

import (
	"cmp"
	"context"
	"errors"
	"io"
	"time"

	"troy/agent/decide"
	"troy/chainload"
	"troy/image"
	"troy/internal/version"
	"troy/internal/wait"
	"troy/server/protocol"
)

// agent is one start of the machine: it gathers facts, has package decide say what is done next,
// and does it.
type agent struct {
	o     *Options
	con   *console
	disk  *disk
	rec   *records
	net   *network
	store *store
	site  *site
	win   *windows
	boot  *bootFiles
	own   *ownCopy
	work  *writer
	front *front
	names *naming

	facts  decide.Facts
	steps  []protocol.Step
	last   string // what became of the last hand-off
	alone  string // why Windows was, or may have been, started without this agent
	direct int    // starts of Windows by GRUB since the last hand-off
	ended  bool   // how the work ended was said
	sleep  sleeper
}

func newAgent(o *Options, out io.Writer) *agent {
	con := &console{out: out}
	d := &disk{o: o, con: con}
	rec := &records{con: con, disk: d}
	net := &network{o: o, con: con}
	win := newWindows(o, con, d)
	boot := newBootFiles(con, d, rec)
	s := &store{o: o, con: con, net: net, disk: d, rec: rec, boot: boot}
	known := &site{o: o, con: con, rec: rec, net: net, store: s}
	s.site, net.site = known, known
	win.own = &ownCopy{con: con, rec: rec, win: win, store: s}
	w := &writer{o: o, con: con, disk: d, rec: rec, store: s, boot: boot, meter: &meters{con, net}}
	w.clock = func() time.Time { t, _ := net.clock.now(); return t }
	a := &agent{o: o, con: con, disk: d, rec: rec, net: net, store: s, site: known, win: win, boot: boot, own: win.own, work: w, sleep: wait.For}
	a.names = &naming{con: con, disk: d, rec: rec, store: s, facts: &a.facts}
	w.names = a.names
	a.front = &front{o: o, con: con, disk: d, net: net, names: a.names, facts: &a.facts}
	return a
}

// run does everything and returns the exit code, unless the machine was handed over.
func (a *agent) run(ctx context.Context) int {
	a.con.say("%s", version.Get())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer a.disk.close()
	defer a.front.openScreen(ctx)()
	a.begin(ctx)
	for {
		steps := decide.Decide(a.facts)
		s := steps[0]
		a.front.showStep(steps)
		if ends(s) {
			a.sayEnd(s)
		}
		if s.Final() {
			return a.end(ctx, s)
		}
		a.do(ctx, s)
	}
}

// begin gathers what does not change.
func (a *agent) begin(ctx context.Context) {
	m, err := readMedia(cmp.Or(a.o.media, mediaDir))
	if err != nil {
		a.con.say("boot media: %v; continuing without them", err)
	}
	a.net.setMedia(m)
	if !a.o.Running {
		if err := loadDrivers(ctx, a.con); err != nil {
			a.con.say("drivers: %v", err)
		}
	}
	a.net.id = identity(a.o.hardware())
	a.win.readFirmware()
	a.boot.readFirmware()
	a.facts.Unsupported, a.facts.InUse = a.win.unsupported(), a.o.NoHandOff
	a.facts.Woken, a.facts.LinkPatience = woken(), a.o.Net.Patience
	a.look()
}

// look brings the facts up to date.
func (a *agent) look() {
	now, sure := a.net.clock.now()
	a.facts.Now, a.facts.ClockUnsure = now, !sure
	a.facts.OnTrial = a.own.trial
	a.facts.Installed = a.own.inside && a.rec.Agent.Trial == nil && a.win.leaves == ""
	if a.rec.read {
		a.facts.Memo = a.rec.Memo
	}
	if a.disk.machine != nil {
		a.facts.Disk.State = a.disk.machine.State()
	}
	a.rec.markSetup(&a.facts)
	a.front.showFacts()
}

// do does a step and notes its result.
func (a *agent) do(ctx context.Context, s decide.Step) {
	if s.Kind == decide.HandOff && a.front.pressedR() {
		return
	}
	a.work.fetched = 0
	begin := time.Now()
	written, sent := a.disk.written()
	err := a.execute(ctx, s)
	nowWritten, nowSent := a.disk.written()
	a.facts.Done = append(a.facts.Done, decide.Result{Step: s, Err: err, Wrote: nowWritten != written, Check: damagedByDisk(err)})
	a.note(s, err, protocol.Step{Seconds: time.Since(begin).Seconds(), Fetched: a.work.fetched, Written: max(0, nowSent-sent)})
	a.look()
}

// note keeps a step for the report.
func (a *agent) note(s decide.Step, err error, p protocol.Step) {
	if s.Kind == decide.Wait || s.Kind == decide.CheckIn {
		a.steps = without(a.steps, string(s.Kind)) // waiting may be long: the last one is enough
	}
	p.Kind, p.Reason = string(s.Kind), protocol.Clean(s.Reason, protocol.MaxText)
	if err != nil {
		p.Error = protocol.Clean(err.Error(), protocol.MaxText)
	}
	a.steps = append(a.steps, p)
}

// damagedByDisk tells a disk that does not give back what was written from everything else.
func damagedByDisk(err error) bool {
	var object *image.ObjectError
	return errors.Is(err, image.ErrCorrupt) && !errors.As(err, &object) // then it is the store's fault
}

// execute does a step.
func (a *agent) execute(ctx context.Context, s decide.Step) error {
	switch s.Kind {
	case decide.Open:
		a.facts.Disk = a.disk.open(ctx)
		a.rec.recall()
		a.direct = max(a.direct, a.win.withdraw(a.rec.Memo.Direct, &a.facts))
		a.net.clock.kept = a.rec.Clock
		a.site.learn(a.facts.Unsupported == "")
		return nil
	case decide.Judge:
		return a.judge(ctx)
	case decide.Connect:
		return a.o.nameCards(a.net.connect(ctx, s.Patience, s.Hurry))
	case decide.CheckIn:
		return a.checkIn(ctx)
	case decide.Plan:
		p, err := a.store.ask(ctx, a.facts.Order, s)
		if err == nil {
			a.facts.Planned = p
			if p.Foreign {
				a.facts.Foreign = a.disk.machine.State().Manifest
			}
		}
		return err
	case decide.Verify:
		c, err := a.work.verify(ctx, a.facts.Order)
		a.facts.Compared = c
		return err
	case decide.Note, decide.TryAgain:
		a.con.say("%s", s.Reason)
		return a.rec.keepDecided(s.Memo)
	case decide.Wait, decide.Pause:
		a.con.say("%s %.0f s: %s; press W to start Windows now", s.Kind, s.Pause.Seconds(), s.Reason)
		waiting, stop := a.con.wait(ctx, s.Pause, s.Kind == decide.Pause)
		defer stop()
		return a.sleep(waiting, s.Pause)
	}
	if work := a.works(s); work != nil {
		return work(ctx)
	}
	return a.finish(ctx, s)
}

// works returns how a step is done that changes the disk; nil if it does not.
func (a *agent) works(s decide.Step) func(context.Context) error {
	m, o := a.disk.machine, a.facts.Order
	switch s.Kind {
	case decide.Recover:
		return a.disk.recover
	case decide.Merge:
		return func(ctx context.Context) error { return a.work.merge(ctx, s.Until) }
	case decide.Heal:
		return func(ctx context.Context) error { return a.work.heal(ctx, o) }
	case decide.Stage:
		return func(ctx context.Context) error { return a.work.stage(ctx) }
	case decide.Adopt:
		return func(ctx context.Context) error { return a.work.adopt(ctx, s) }
	case decide.Commit:
		return a.work.said(m.Commit, "version %d is committed", s.Version)
	case decide.Rollback:
		a.rec.noteHeld()
		return a.work.said(m.Rollback, "rolled back to version %d, which was still on the disk", s.Version)
	case decide.EndSetup, decide.LeaveSetup:
		return a.work.said(func(ctx context.Context) error { return a.endSetup(ctx, s) }, "setup: %s", s.Reason)
	case decide.Reset:
		return a.work.said(m.Reset, "the machine is reset to version %d", m.State().Version)
	case decide.Want:
		return func(ctx context.Context) error { return a.names.want(ctx, s) }
	case decide.Personalise:
		return a.names.personalise
	case decide.Reinstall:
		return func(ctx context.Context) error { return a.work.reinstall(ctx, s) }
	case decide.Provision:
		return a.work.provision
	case decide.BootFiles:
		return a.boot.follow
	}
	return nil
}

// finish does the steps of the end.
func (a *agent) finish(ctx context.Context, s decide.Step) (err error) {
	switch s.Kind {
	case decide.OwnAgent:
		a.facts.Renewed, err = a.own.bring(ctx, a.facts.Order)
	case decide.HandOff:
		if a.facts.Method, err = a.win.handOff(ctx); err != nil {
			a.con.say("hand-off: %v", err)
		}
	case decide.Report:
		if err = a.net.report(ctx, a.describeEnd()); err != nil {
			a.con.say("report: %v", err)
		}
	case decide.Confirm:
		return a.own.confirm(ctx)
	case decide.Direct:
		if err = a.win.allow(); err != nil {
			a.con.say("starts: %v", err)
			break
		}
		a.con.say("starts: the next %d may go straight to Windows", chainload.MaxDirect)
	case decide.Count:
		a.rec.raise(a.own.settled(a.facts.Order))
		a.disk.leave(a.facts.Order)
		a.rec.Session, _ = a.disk.session()
		a.rec.noteHeld()
		if err = a.rec.keepDecided(s.Memo); err != nil {
			a.con.say("journal: %v", err)
		}
	}
	return err
}

// judge finds out what became of the last hand-off, and of an agent on trial.
func (a *agent) judge(ctx context.Context) error {
	a.own.judge(ctx)
	m := a.disk.machine
	if m == nil || m.State().Reinstalling {
		return nil
	}
	a.rec.judgeSetup(&a.facts)
	s := m.State()
	seen := chainload.Seen{Version: decide.Name(s.Image, s.Version, s.Manifest), Now: a.facts.Now, Left: a.win.left(), Direct: a.direct}
	if a.facts.ClockUnsure {
		seen.Now = time.Time{}
	}
	session, ok := a.disk.session()
	seen.Blind = !ok
	seen.Ran = ok && s.SessionWritten && session != a.rec.Session
	if seen.Ran {
		closed, known := a.disk.closedInOrder()
		seen.Healthy, seen.Untold = closed, !known
	}
	handed := a.rec.Health.Method != ""
	if !handed {
		seen.Direct = 0 // they were judged by a start that was cut off
	}
	j := chainload.Judge(a.rec.Health, seen)
	a.rec.Health, a.win.methods, a.alone = j.Health, j.Methods, j.Without
	if handed && ok {
		a.rec.judged(session)
	}
	a.facts.Verdict, a.facts.Judged = j.Verdict, seen.Version
	for _, line := range j.Messages {
		a.con.say("start: %s", line)
	}
	a.last = joinLines(j.Messages)
	if s.Layers > 0 && !s.Merging && !s.Merged && !j.Health.Proven {
		a.con.say("version %d was not seen healthy yet and stays in its slot", s.Version)
	}
	return nil
}

// checkIn tells the server what this machine is and has, and takes the order.
func (a *agent) checkIn(ctx context.Context) error {
	waiting, stop := a.con.wait(ctx, orderPatience(a.net), false)
	defer stop()
	waiting, cancel := a.net.hurried(waiting)
	defer cancel()
	o, err := a.site.checkIn(waiting, a.describe())
	if err != nil {
		return err
	}
	a.facts.Order, a.facts.Identity, a.rec.Clock = o, identityOf(o), a.net.clock.kept
	a.own.ahead(o)
	if o.Code != "" {
		a.con.say("this machine is not assigned yet; its code is %s", o.Code)
	}
	if o.Wait == 0 && o.Verify == nil && decide.Satisfied(&a.facts) {
		a.con.say("nothing to do%s", because(o))
	}
	return nil
}

func because(o *protocol.Order) string {
	if o.Reason == "" {
		return ""
	}
	return ": " + o.Reason
}
