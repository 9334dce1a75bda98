package rooms

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"troy/internal/identity"
	"troy/server/lab"
	"troy/server/protocol"
	"troy/server/state"
)

// Sizes tells what a machine fetches and writes. have is 0 for a machine that holds nothing of the
// image. It is asked often.
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
	placed   map[string]string          // id → room
	pending  map[string]netip.Addr      // id → party of a machine that has a start slot which is not yet durable
	woken    map[string]wakes           // by the first MAC address
	alarmed  map[string]time.Time       // id → last sign of a machine that was said to be silent
	labErr   error

	strangers strangers
	admitted  uint64 // strangers so far
	most      int    // strangers at a time

	waves   sync.Mutex      // taken before mu
	stopped map[string]wave // room → the wave of which the admin knows that failures stopped it
}

// New makes a Keeper; Run does what needs a clock.
func New(o *Options) (*Keeper, error) {
	if o.Lab == nil || o.State == nil || o.Sizes == nil {
		return nil, errors.New("rooms: Lab, State and Sizes are needed")
	}
	k := &Keeper{o: *o, against: map[string]string{}, pending: map[string]netip.Addr{}, woken: map[string]wakes{}, alarmed: map[string]time.Time{}, most: strangersMost}
	if k.o.Now == nil {
		k.o.Now = time.Now
	}
	if k.o.OnNote == nil {
		k.o.OnNote = func(string) {}
	}
	k.live.since = k.o.Now()
	k.readAll()
	k.placeAll()
	k.knowStops()
	return k, nil
}

// Lab returns the lab.yaml that is in force.
func (k *Keeper) Lab() *lab.Lab { return k.o.Lab.Lab() }

// machines returns what is known of the machines of a room.
func (k *Keeper) machines(room string) []*state.Machine {
	k.mu.Lock()
	ids := slices.Collect(maps.Keys(k.members[room]))
	k.mu.Unlock()
	var all []*state.Machine
	for _, id := range ids {
		if m := k.o.State.Get(id); m != nil {
			all = append(all, m)
		}
	}
	return all
}

// Order implements server.Orders. The order is on the disk before it is returned.
func (k *Keeper) Order(ctx context.Context, peer protocol.Peer, in protocol.CheckIn) (o protocol.Order, err error) {
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
	defer k.settle(w.id)
	before := k.o.State.Get(w.id)
	m, err := k.o.State.Update(w.id, func(m *state.Machine) error {
		m.From = w.from
		record(m, c, &d)
		if w.note != "" {
			m.Remember(c.Now, "changed", w.note)
		}
		return k.keep(m)
	})
	if err != nil {
		return protocol.Order{}, fmt.Errorf("the order could not be saved: %w", err)
	}
	k.bury(w.dropped)
	k.tellOf(before, m, w)
	k.noteStop(before, m)
	k.noteAlarm(before, m)
	k.changed.tell()
	return d.Order, nil
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
	c.Key, c.Permitted = m.Pin, k.o.Permitted
	if c.Room, c.Guest = &p, w.at.guest; !c.Guest {
		c.Name = w.at.name
	}
	if c.Goal = k.goal(l, w.at.room, w.at.host); c.Goal == nil {
		return c, nil
	}
	c.Attempt = c.judged(m.Attempt)
	var err error
	if c.Size, err = k.size(ctx, in, c.Goal); err != nil {
		// The store lacks the version. Machines start what they have; trying again would only delay
		// that.
		c.Goal.Stopped = "the store cannot provide it: " + err.Error()
	}
	return c, ctx.Err()
}

// size asks for the bytes between what a machine has and its goal.
func (k *Keeper) size(ctx context.Context, in *protocol.CheckIn, g *Goal) (Size, error) {
	have := 0
	if in.Image == g.Image {
		have = in.Version
	}
	if have == g.Version {
		return Size{}, nil
	}
	s, _, err := k.between(ctx, g.Image, have, g.Version)
	return s, err
}

// between asks for the bytes from one version of an image to another. whole says that the machine
// is to be written completely, if that is allowed: it holds nothing, or a version that the store
// lost.
func (k *Keeper) between(ctx context.Context, image string, have, want int) (s Size, whole bool, err error) {
	if have != 0 {
		if s, err = k.o.Sizes.Size(ctx, image, have, want); err == nil {
			return s, false, nil
		}
	}
	s, err = k.o.Sizes.Size(ctx, image, 0, want)
	return s, true, err
}

// decide counts the others and decides in one act, so that no slot is given twice.
func (k *Keeper) decide(c *Case, w *who) Decision {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c.Room != nil && c.Goal != nil {
		for other := range k.members[k.placed[w.id]] {
			if other != w.id {
				k.count(c, other, w)
			}
		}
	}
	d := Decide(c)
	if d.Start {
		k.pending[w.id] = w.from
	}
	return d
}

// count adds another machine of the room to the case of w: for one that is vouched for, only others
// that are. k.mu is held.
func (k *Keeper) count(c *Case, id string, w *who) {
	sure, m, known := k.vouched(id), k.o.State.Get(id), k.vouched(w.id)
	from, pending := k.pending[id]
	if !pending && m != nil {
		from = m.From
	}
	switch {
	case pending || m != nil && k.holdsSlot(m, c.Now):
		if sure || !known {
			c.Active++
		}
		if !sure && !known && from == w.from && from.IsValid() && !from.IsLoopback() {
			c.Same++
		}
	case sure && m != nil && c.Goal.failed(m):
		c.Failed++
	}
}

// holdsSlot tells whether a machine is at work. One that nothing vouches for has to get on: its
// words alone hold no slot. k.mu is held.
func (k *Keeper) holdsSlot(m *state.Machine, now time.Time) bool {
	switch {
	case m.Attempt == nil || m.Attempt.Result != state.ResultOpen:
		return false
	case k.vouched(m.ID):
		return !m.Attempt.Stale(now.Add(-staleTime), k.live.heard(m.ID))
	}
	return !m.Attempt.Stale(now.Add(-stallTime), k.live.moved(m.ID))
}

func (k *Keeper) settle(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.pending, id)
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
	m.Seen, m.CheckIn, m.Order = c.Now, heard(&m.CheckIn, c.CheckIn), d.Order
	if d.Start {
		m.Attempt = attempt(m.Attempt, c, d.Work)
	} else if a := m.Attempt; a != nil && a.Result == state.ResultOpen {
		end(a, c, m)
	}
}

// end closes an attempt whose report never came, when the machine asks and need not go on.
func end(a *state.Attempt, c *Case, m *state.Machine) {
	a.Ended, a.Result, a.Message = c.Now, state.ResultLate, "the machine came back without a report"
	if m.CheckIn.Image == a.Image && m.CheckIn.Version == a.Version {
		a.Result, a.Message = state.ResultDone, ""
	}
}

// attempt begins a try. One that was cut off and goes on is the same try.
func attempt(old *state.Attempt, c *Case, work state.Work) *state.Attempt {
	a := &state.Attempt{Target: c.Goal.ID, Image: c.Goal.Image, Version: c.Goal.Version, Work: work, Started: c.Now, Tries: 1}
	if c.Goal.Fits(old) {
		a.Tries = old.Tries
		if old.Result == state.ResultFailed && !old.Refused {
			a.Tries++
		}
		if c.Key == "" && old.Result == state.ResultOpen {
			a.Started = old.Started // by asking again alone it would hold its slot for ever
		}
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
	if o.Reason != "" {
		text += ": " + o.Reason
	}
	return text
}
