package rooms

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"troy/internal/identity"
	"troy/server/lab"
	"troy/server/limit"
	"troy/server/protocol"
	"troy/server/state"
)

// Sizes tells what a machine fetches and writes. have is 0 for a machine that holds nothing of the
// image. The error is ErrNotFound, and no other, for what the store does not have. It is asked
// often.
type Sizes interface {
	Size(ctx context.Context, image string, have, want int) (Size, error)
}

// Waker sends wake-up calls.
type Waker interface {
	Wake(ctx context.Context, calls []Call) error
}

// Programs tells what of the store a machine would refuse to start, a line for each: of what every
// machine is given, and of a version; number 0 is none. It is asked often.
type Programs interface {
	Refused(ctx context.Context, in *protocol.CheckIn, image string, number int) []string
	// Undriven names the devices of a machine for which the Windows of a version has no driver.
	Undriven(ctx context.Context, in *protocol.CheckIn, image string, number int) []string
}

// Options of a Keeper. Lab, State and Sizes are needed.
type Options struct {
	Lab   *lab.File
	State *state.Store
	Sizes Sizes
	Waker Waker // nil = no machine is woken
	// Programs looks ahead; nil = nobody does.
	Programs Programs
	// Permitted tells whether the admin has signed a permit, and whether that could be read at all;
	// nil = it is not known.
	Permitted func(Need) (signed, known bool)
	// Agent tells the release of the agent that the store has now; nil = none. It is asked often.
	Agent func() string
	// Images tells the images of the store, for a lab.yaml that lists none; nil = none.
	Images func() []string
	// Now is the time; nil = time.Now.
	Now func() time.Time
	// OnNote, if set, is told in a line what the admin should know: a lab.yaml that is not valid, a
	// wave that stopped.
	OnNote func(line string)
}

// Keeper knows the machines of a lab and what they should do. It implements server.Orders.
type Keeper struct {
	o Options

	live    live
	changed broadcast

	mu       sync.Mutex
	register identity.Register
	against  map[string]string          // newcomer in doubt → the machine that it has an address of
	ghosts   []string                   // out of the register, to be forgotten
	members  map[string]map[string]bool // room → ids of its machines
	marks    map[string]map[string]bool // room → ids of those that are at work or may have failed
	placed   map[string]string          // id → room
	pending  map[string]begun           // id → orders to begin that are decided, not yet durable
	woken    map[string]wakes           // by the first MAC address
	alarmed  map[string]time.Time       // id → last sign of a machine that was said to be silent
	unsent   map[string]string          // id → why its last order lacks a secret
	unnamed  map[string]string          // id → what the admin was told that it lacks in Windows
	labErr   error
	latest   time.Time // that the clock showed

	caller caller

	strangers strangers
	told      *limit.Limiter // of machines in doubt: a line for each
	admitted  uint64         // strangers so far
	most      int            // strangers at a time

	waves   sync.Mutex      // taken before mu
	stopped map[string]wave // room → the wave of which the admin knows that failures stopped it
}

// New makes a Keeper; Run does what needs a clock.
func New(o *Options) (*Keeper, error) {
	if o.Lab == nil || o.State == nil || o.Sizes == nil {
		return nil, errors.New("rooms: Lab, State and Sizes are needed")
	}
	k := &Keeper{o: *o, against: map[string]string{}, members: map[string]map[string]bool{}, marks: map[string]map[string]bool{}, placed: map[string]string{},
		strangers: strangers{}, pending: map[string]begun{}, woken: map[string]wakes{}, alarmed: map[string]time.Time{}, unsent: map[string]string{}, unnamed: map[string]string{}, most: strangersMost, told: limit.New(toldPerMinute/60.0, toldAtOnce)}
	if k.o.Now == nil {
		k.o.Now = time.Now
	}
	if k.o.OnNote == nil {
		k.o.OnNote = func(string) {}
	}
	k.caller.send = k.send
	k.live.since = k.o.Now()
	k.latest = k.live.since.Round(0)
	k.readAll()
	k.placeAll()
	k.knowStops()
	return k, nil
}

// Lab returns the lab.yaml that is in force.
func (k *Keeper) Lab() *lab.Lab { return k.o.Lab.Lab() }

// Order implements server.Orders. The order is on the disk before it is returned.
func (k *Keeper) Order(ctx context.Context, peer protocol.Peer, in protocol.CheckIn) (o protocol.Order, err error) {
	k.heedClock()
	l := k.Lab()
	w := k.identify(l, peer, &in)
	defer k.push(w)
	defer func() {
		if err != nil {
			k.restore(l, append(w.dropped, w.id))
		}
	}()
	c, err := k.gather(ctx, l, w, &in)
	if err != nil {
		return protocol.Order{}, err
	}
	d := k.decide(c, w)
	before := k.o.State.Get(w.id)
	m, err := k.o.State.Update(w.id, func(m *state.Machine) error {
		m.From = w.from
		record(m, c, &d)
		if w.note != "" {
			m.Remember(c.Now, "changed", w.note)
		}
		return k.keep(m)
	})
	k.settle(w.id, d.Start)
	if err != nil {
		return protocol.Order{}, fmt.Errorf("the order could not be saved: %w", err)
	}
	k.live.end(w.id) // what it told was of the start before
	k.bury(w.dropped)
	k.live.again(w.id)
	k.tellOf(before, m, w)
	k.noteFailure(before, m)
	k.noteAlarm(before, m)
	o = d.Order
	o.Identity = k.withSecrets(c, peer, m)
	k.noteUnnamed(l, m)
	k.changed.tell()
	return o, nil
}

// Images lists the images that rooms can get: those of lab.yaml, else all of the store.
func (k *Keeper) Images() []string {
	var names []string
	for _, name := range k.Lab().Images {
		names = append(names, string(name))
	}
	if len(names) == 0 && k.o.Images != nil {
		names = k.o.Images()
	}
	return names
}

// gather collects what the order depends on, but for the other machines.
func (k *Keeper) gather(ctx context.Context, l *lab.Lab, w *who, in *protocol.CheckIn) (*Case, error) {
	m := k.o.State.Get(w.id)
	if m == nil {
		m = &state.Machine{}
	}
	c := &Case{Now: k.o.Now(), Lab: l, CheckIn: in, Attempt: m.Attempt, Doubt: cmp.Or(w.doubt, w.hint)}
	if w.at.room == "" {
		if c.Code = m.Code; c.Code == "" {
			c.Code = k.o.State.NewCode()
		}
		return c, nil
	}
	if k.o.Agent != nil {
		c.Agent = k.o.Agent()
	}
	p, _ := l.Room(w.at.room)
	c.Key, c.Permitted, c.Where = m.Pin, k.o.Permitted, w.at.room
	if c.Room, c.Guest = &p, w.at.guest; !c.Guest {
		c.Name = w.at.name
	}
	c.Own, c.Unnamed = k.owns(l, w.id, &w.at, k.namers(l))
	c.EndSetup, c.Verify = m.EndSetup, m.Verify
	c.Another = k.contents().another(in.Image, in.Version, in.Manifest)
	if c.Goal = k.goal(l, w.at.room, w.at.host); c.Goal == nil {
		k.compared(ctx, c)
		return c, ctx.Err()
	}
	c.Goal.Gate = k.gate(l, c.Goal, nil)
	c.Attempt = c.judged(m.Attempt)
	var err error
	if c.Size, c.Lost, err = k.size(ctx, in, c.Goal, c.Another); err != nil {
		// The store lacks the version. Machines start what they have; trying again would only delay
		// that.
		c.Goal.Stopped = "the store cannot provide it: " + err.Error()
	}
	k.compared(ctx, c)
	return c, ctx.Err()
}

// compared finds what a machine that is to be compared has its counterpart in, and how long that
// takes. What is not known now is asked for at its next check-in: the order holds.
func (k *Keeper) compared(ctx context.Context, c *Case) {
	if c.Verify == nil || c.CheckIn.Version == 0 {
		return
	}
	s, err := k.o.Sizes.Size(ctx, c.CheckIn.Image, 0, c.CheckIn.Version)
	c.Known = err == nil
	if !c.Known && c.Goal != nil {
		s, err = k.o.Sizes.Size(ctx, c.Goal.Image, 0, c.Goal.Version)
	}
	if c.Whole = s.Write; err != nil {
		c.Verify = nil
	}
}

// size asks for the bytes between what a machine has and its goal. lost says that the store does
// not have the version that the machine has: it comes to no other by what changed.
func (k *Keeper) size(ctx context.Context, in *protocol.CheckIn, g *Goal, another bool) (s Size, lost bool, err error) {
	have := 0
	if in.Image == g.Image {
		have = in.Version
	}
	if another && have != 0 {
		s, _, err = k.between(ctx, g.Image, 0, g.Version)
		return s, true, err
	}
	return k.between(ctx, g.Image, have, g.Version)
}

// between asks for the bytes from one version of an image to another; 0 is none. lost says that the
// store lacks the first one: the machine is to be written completely, if that is allowed.
func (k *Keeper) between(ctx context.Context, image string, have, want int) (s Size, lost bool, err error) {
	if s, err = k.o.Sizes.Size(ctx, image, have, want); have == 0 || !errors.Is(err, ErrNotFound) {
		return s, false, err
	}
	s, err = k.o.Sizes.Size(ctx, image, 0, want)
	return s, err == nil, err
}

// record writes a check-in and its order into a machine's record.
func record(m *state.Machine, c *Case, d *Decision) {
	if m.First.IsZero() {
		m.First = c.Now
	}
	if c.Room != nil {
		m.Code = ""
	} else if m.Code == "" {
		m.Code = c.Code
	} else {
		d.Order.Code = m.Code // another check-in was first
	}
	// Reasons alone change too often.
	if d.Start || len(m.History) == 0 || !same(m.Order.Want, d.Order.Want) {
		m.Remember(c.Now, "order", describe(&d.Order))
	}
	if a := c.judged(m.Attempt); a != m.Attempt {
		m.Attempt = a
		m.Remember(c.Now, "given up", a.Message)
	}
	if why := c.CheckIn.Without; why != "" {
		m.Remember(c.Now, "alarm", why)
	}
	if n := c.CheckIn.Direct; n > 0 {
		m.Remember(c.Now, "direct", fmt.Sprintf("starts of Windows without the agent, as the room permits: %d", n))
	}
	m.Seen, m.CheckIn, m.Order = c.Now, heard(&m.CheckIn, c.CheckIn), d.Order
	m.Order.Identity = inBrief(d.Order.Identity)
	if e := m.EndSetup; e != nil && (m.CheckIn.Setup != protocol.SetupPending || e.Of.Manifest != m.CheckIn.Manifest) {
		m.EndSetup = nil // it has ended otherwise
	}
	for _, a := range []**state.Attempt{&m.Attempt, &m.Comparison} {
		switch compares := a == &m.Comparison; {
		case d.Start && compares == (d.Work == state.WorkVerify):
			*a = attempt(*a, c, d.Work)
		case *a != nil && (*a).Result == state.ResultOpen:
			end(*a, c, m)
		}
	}
}

// end closes an attempt whose report never came, when the machine asks and is not to go on.
func end(a *state.Attempt, c *Case, m *state.Machine) {
	a.Ended, a.Result, a.Message = c.Now, state.ResultLost, "the machine came back without a report"
	if a.Work != state.WorkVerify && m.CheckIn.Image == a.Image && m.CheckIn.Version == a.Version && !c.Another {
		a.Result, a.Message = state.ResultDone, ""
	}
}

// attempt begins a try, or goes on with one whose answer was lost. A start without a report was a
// try: it may have been the version that ended it.
func attempt(old *state.Attempt, c *Case, work state.Work) *state.Attempt {
	at := c.Goal
	if work == state.WorkVerify {
		at = &Goal{Image: c.CheckIn.Image, Version: c.CheckIn.Version}
	}
	a := &state.Attempt{Target: at.ID, Image: at.Image, Version: at.Version, Work: work, Started: c.Now, Tries: 1}
	if !at.Fits(old) {
		return a
	}
	a.Tries = old.Tries
	again := old.Result == state.ResultOpen
	switch {
	case again && c.repeats(old):
		a.Started = old.Started
	case again, old.Result == state.ResultFailed && !old.Refused, old.Result == state.ResultLost:
		a.Tries++
	}
	if again && c.Key == "" {
		a.Started = old.Started // by asking again alone it would hold its slot for ever
	}
	return a
}

// same says whether two orders want the same version.
func same(a, b *protocol.Want) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Image == b.Image && a.Version == b.Version
}

func describe(o *protocol.Order) string {
	text := "keep what is there"
	if o.Want != nil {
		text = fmt.Sprintf("%s version %d", o.Want.Image, o.Want.Version)
	}
	if o.Verify != nil {
		text += ", compare the disk"
	}
	if o.Reason != "" {
		text += ": " + o.Reason
	}
	return text
}
