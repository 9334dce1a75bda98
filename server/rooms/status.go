package rooms

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"troy/internal/identity"
	"troy/server/lab"
	"troy/server/protocol"
	"troy/server/state"
)

// Phase sums up a machine in a word.
type Phase string

// Phases.
const (
	PhaseUnknown  Phase = "unknown"  // it has no room and shows a code
	PhaseNever    Phase = "never"    // lab.yaml names it, it never checked in
	PhaseIdle     Phase = "idle"     // nothing is promoted for it
	PhaseCurrent  Phase = "current"  // has its version
	PhaseOutdated Phase = "outdated" // has another one
	PhaseWaiting  Phase = "waiting"  // is up and waits for a start slot
	PhaseWorking  Phase = "working"  // has a start slot
	PhaseSilent   Phase = "silent"   // was at work and nothing is heard of it
	PhasePermit   Phase = "permit"   // waits for a permit, or for lab.yaml; Host.Error names what gives it
	PhaseFailed   Phase = "failed"   // its last attempt at this version failed
	PhaseRefused  Phase = "refused"  // its agent is too old or too new; Host.Attention says for what
	PhaseDown     Phase = "down"     // Windows does not come up in what it has, or could not be started
)

// Host is a machine as the status shows it.
type Host struct {
	ID      string   `json:"id,omitempty"` // "" = never seen
	Name    string   `json:"name"`
	Room    string   `json:"room,omitempty"`
	Code    string   `json:"code,omitempty"`
	Phase   Phase    `json:"phase"`
	MACs    []string `json:"macs,omitempty"`
	UUID    string   `json:"uuid,omitempty"`
	Product string   `json:"product,omitempty"`
	// Line is what it is recognised by without its key.
	Line  identity.Line `json:"line,omitzero"`
	Keyed bool          `json:"keyed,omitempty"` // known by the key on its disk: it counts in waves and gates
	// Pin is the key that is pinned; Confirmed says that the admin has said that it is this
	// machine's.
	Pin       string `json:"pin,omitempty"`
	Confirmed bool   `json:"confirmed,omitempty"`
	Doubt     string `json:"doubt,omitempty"` // why it is unknown although something names it

	Image       string          `json:"image,omitempty"` // on its disk
	Version     int             `json:"version,omitempty"`
	Another     bool            `json:"another,omitempty"` // it has that number, but is none of this store's
	Health      protocol.Health `json:"health,omitempty"`
	HealthWhy   string          `json:"health_why,omitempty"` // what its last starts showed
	Setup       protocol.Setup  `json:"setup,omitempty"`      // of that version
	WantImage   string          `json:"want_image,omitempty"`
	WantVersion int             `json:"want_version,omitempty"`
	Pinned      bool            `json:"pinned,omitempty"`
	Assigned    bool            `json:"assigned,omitempty"` // by an admin; lab.yaml does not name it
	Guest       bool            `json:"guest,omitempty"`    // neither: it joined by "unknown" of lab.yaml

	Seen   time.Time `json:"seen,omitzero"`
	Live   *Live     `json:"live,omitempty"` // while at work
	Reason string    `json:"reason,omitempty"`
	Error  string    `json:"error,omitempty"` // of the last failed attempt
	// Attention says why a person should look after the machine, whatever its phase is: it left
	// Troy, Windows ran without the agent, or nothing was heard of it for too long.
	Attention string `json:"attention,omitempty"`
	Agent     string `json:"agent,omitempty"`
	// Direct is how many starts before its last one were none of the agent, as the room permits.
	Direct int `json:"direct,omitempty"`
	// PCName is its name in Windows, as it says; "" = as published. WantPCName is the one that it is
	// to have; "" = none.
	PCName     string `json:"pc_name,omitempty"`
	WantPCName string `json:"want_pc_name,omitempty"`
	// Unnamed says what it lacks in Windows of what is its own; "" = nothing.
	Unnamed string `json:"unnamed,omitempty"`
	// Trusted is what it remembers of the signed metadata of the store.
	Trusted *protocol.Trusted `json:"trusted,omitempty"`
	// Refuses is what its firmware would not start of what it is to be given, a line for each.
	Refuses []string       `json:"refuses,omitempty"`
	Last    *state.Attempt `json:"last,omitempty"` // the last deployment
	// Verified is what the last comparison of the whole disk found; Verifying says that one is
	// ordered.
	Verified  *state.Verified `json:"verified,omitempty"`
	Verifying bool            `json:"verifying,omitempty"`
}

// Room is a room as the status shows it.
type Room struct {
	Name   string        `json:"name"`
	Image  string        `json:"image,omitempty"` // that it should have
	Want   int           `json:"version,omitempty"`
	Note   string        `json:"note,omitempty"`   // what that version says of itself
	Pinned bool          `json:"pinned,omitempty"` // by lab.yaml
	Target *state.Target `json:"target,omitempty"` // the promotion in force
	// Stopped says why an admin stopped it; "" = nobody did.
	Stopped string `json:"stopped,omitempty"`
	Why     string `json:"why,omitempty"` // why no machine begins; "" = they may

	Open   bool      `json:"open"`           // machines may be worked on now
	Opens  time.Time `json:"opens,omitzero"` // the window, or the next one; zero = at any time, or never
	Closes time.Time `json:"closes,omitzero"`

	Machines int           `json:"machines"`
	Counts   map[Phase]int `json:"counts"`
	Healthy  int           `json:"healthy"`          // of those that have the version
	Alarms   int           `json:"alarms,omitempty"` // machines that need attention
	// Unnamed have a version, but not yet in it all that is their own, such as their names.
	Unnamed int `json:"unnamed,omitempty"`
	// Unconfirmed are known by their keys and wait to be confirmed.
	Unconfirmed int `json:"unconfirmed"`
	// Compared tells of orders to verify.
	Compared Compared `json:"compared,omitzero"`
	Rate     int64    `json:"rate"` // bytes per second that its machines fetch
	Left     float64  `json:"left"` // seconds until the wave is through, roughly; 0 = not known, or nothing to do
}

// Status is the whole lab.
type Status struct {
	Time     time.Time `json:"time"`
	Zone     string    `json:"zone"`                // IANA name, of lab.yaml: people are shown its times
	LabError string    `json:"lab_error,omitempty"` // lab.yaml on the disk is not valid; an older state of it is in force
	Rooms    []Room    `json:"rooms"`
	Unknown  []Host    `json:"unknown"` // machines without a room
}

// entry is a machine of a room: known to lab.yaml, or seen, or both.
type entry struct {
	member
	m    *state.Machine // nil = never seen
	sure bool           // it is vouched for
}

// shown is a machine of a room as the status shows it, and what it has to do.
type shown struct {
	Host
	entry
	goal    *Goal // nil = nothing
	unnamed bool  // it lacks its name, or what a person has to see to
	lacking bool  // and that alone calls for a person
}

// hosts lists the machines of a room, by name.
func (k *Keeper) hosts(l *lab.Lab, room string) []entry {
	listed := l.HostsOf(room)
	all := k.entries(l, room)
	seen := make(map[*lab.Host]bool, len(listed))
	for i := range all {
		seen[all[i].host] = true
	}
	for _, h := range listed {
		if !seen[h] {
			all = append(all, entry{member: member{name: string(h.Name), room: room, host: h}})
		}
	}
	slices.SortFunc(all, func(a, b entry) int { return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.id(), b.id())) })
	return all
}

// entries are those machines of a room that were seen, in no order.
func (k *Keeper) entries(l *lab.Lab, room string) []entry {
	k.mu.Lock()
	defer k.mu.Unlock()
	machines := k.o.State.Those(k.members[room])
	all := make([]entry, len(machines), max(len(machines), len(l.HostsOf(room))))
	for i, m := range machines {
		known := k.register.Get(m.ID)
		all[i] = entry{k.memberOf(l, &known, &m.CheckIn.Machine), m, vouches(&known)}
	}
	return all
}

// id is that of its record; "" = it was never seen.
func (e *entry) id() string {
	if e.m == nil {
		return ""
	}
	return e.m.ID
}

// census lists the machines of a room as they are now, by name; of no room, the unknown ones.
func (k *Keeper) census(l *lab.Lab, room string) []shown { return k.shown(l, room, k.hosts(l, room)) }

// shown is the census of machines that are listed already. What they have in common is found out
// once.
func (k *Keeper) shown(l *lab.Lab, room string, entries []entry) []shown {
	p, known := l.Room(room)
	r := k.o.State.Room(room)
	var whole *Goal
	if known {
		whole = roomGoal(&p, r)
	}
	store, names := k.contents(), k.namers(l)
	all := make([]shown, len(entries))
	now := k.o.Now()
	for i := range all {
		all[i].entry = entries[i]
		all[i].goal = pinned(whole, &p, all[i].host, r)
		k.show(&all[i], l, &p, store, now)
		k.showNamed(&all[i], l, names)
	}
	return all
}

// Status is the state of all rooms.
func (k *Keeper) Status() *Status {
	s, _ := k.overview()
	return s
}

// Overview is the state of all rooms with the machines of each, by name.
func (k *Keeper) Overview() (*Status, [][]Host) {
	s, rooms := k.overview()
	hosts := make([][]Host, len(rooms))
	for i, all := range rooms {
		hosts[i] = appendHosts([]Host{}, all)
	}
	return s, hosts
}

func (k *Keeper) overview() (*Status, [][]shown) {
	k.heedClock()
	l := k.Lab()
	s := &Status{Time: k.o.Now(), Zone: l.Location().String(), Rooms: []Room{}, Unknown: []Host{}}
	if err := k.LabError(); err != nil {
		s.LabError = err.Error()
	}
	names, there := l.RoomNames(), map[string][]entry{}
	for _, name := range names {
		there[name] = k.hosts(l, name)
	}
	rooms := make([][]shown, len(names))
	for i, name := range names {
		rooms[i] = k.shown(l, name, there[name])
		s.Rooms = append(s.Rooms, k.room(l, name, rooms[i], there))
	}
	s.Unknown = appendHosts(s.Unknown, k.census(l, ""))
	slices.SortFunc(s.Unknown, func(a, b Host) int { return b.Seen.Compare(a.Seen) })
	return s, rooms
}

func appendHosts(hosts []Host, all []shown) []Host {
	hosts = slices.Grow(hosts, len(all))
	for i := range all {
		hosts = append(hosts, all[i].Host)
	}
	return hosts
}

// Hosts lists the machines of a room, by name; "" = of all rooms, and unknown machines.
func (k *Keeper) Hosts(room string) []Host {
	l := k.Lab()
	names := []string{room}
	if room == "" {
		names = append(l.RoomNames(), "")
	}
	all := []Host{}
	for _, name := range names {
		all = appendHosts(all, k.census(l, name))
	}
	return all
}

// Host finds one machine by its name, id, code, or by a MAC address or UUID in any notation.
func (k *Keeper) Host(id string) (*Host, *state.Machine, error) {
	folded, address := identity.Fold(id)
	all := k.Hosts("")
	for _, is := range []func(h *Host) bool{
		func(h *Host) bool { return h.Name == id || h.ID == id || strings.EqualFold(h.Code, id) },
		func(h *Host) bool { return address && h.has(folded) },
	} {
		if i := slices.IndexFunc(all, func(h Host) bool { return id != "" && is(&h) }); i >= 0 {
			return &all[i], k.o.State.Get(all[i].ID), nil
		}
	}
	return nil, nil, fmt.Errorf("%w: machine %q", ErrNotFound, id)
}

// has tells whether an address, spelled as identity.Fold does, is one of the machine.
func (h *Host) has(folded string) bool {
	return slices.ContainsFunc(append([]string{h.UUID}, h.MACs...), func(s string) bool {
		f, ok := identity.Fold(s)
		return ok && f == folded
	})
}

// show makes the Host of a machine of a room with a policy.
func (k *Keeper) show(x *shown, l *lab.Lab, p *lab.Policy, store *contents, now time.Time) {
	h := &x.Host
	h.Name, h.Room, h.Guest, h.Phase = x.name, x.room, x.guest, PhaseNever
	if x.host != nil {
		h.UUID, h.Pinned = string(x.host.UUID), x.host.Version > 0
	}
	if x.goal != nil {
		h.WantImage, h.WantVersion = x.goal.Image, x.goal.Version
	}
	if x.m != nil {
		h.Assigned = x.host == nil && x.room != "" && !x.guest
		k.seen(x, store, now)
		h.Attention = k.attention(h, x.m, l, p, now)
	} else if x.host.MAC != "" {
		h.MACs = []string{string(x.host.MAC)}
	}
}

// seen fills what a machine itself has told.
func (k *Keeper) seen(x *shown, store *contents, now time.Time) {
	h, m, in := &x.Host, x.m, &x.m.CheckIn
	h.ID, h.Code, h.Doubt, h.MACs, h.UUID, h.Product = m.ID, m.Code, m.Doubt, in.Machine.MACs(), in.Machine.UUID, strings.TrimSpace(in.Machine.Vendor+" "+in.Machine.Product)
	h.Line, h.Keyed, h.Pin, h.Confirmed = m.Line, x.sure, m.Pin, confirmed(m)
	h.Image, h.Version = holds(m)
	h.Another, h.Verified, h.Verifying = store.another(h.Image, h.Version, manifestOf(m)), m.Verified, m.Verify != nil
	if h.Image == m.CheckIn.Image && h.Version == m.CheckIn.Version {
		h.Setup = m.CheckIn.Setup
	}
	if h.Image == in.Image && h.Version == in.Version { // else it is of the version before
		h.Health, h.HealthWhy = in.Health, in.LastStart
	}
	h.Seen = k.live.past(m.Seen, now)
	h.Reason, h.Agent, h.Direct, h.Last, h.Trusted = m.Order.Reason, in.Agent, in.Direct, m.Attempt, in.Trusted
	if m.Attempt != nil && m.Attempt.Result == state.ResultFailed {
		h.Error = m.Attempt.Message
	} else if m.Report != nil && (m.Report.Outcome == protocol.OutcomeFailed || m.Report.Outcome == protocol.OutcomeWaiting) {
		h.Error = protocol.Clean(m.Report.Message, protocol.MaxText)
	}
	h.Refuses = k.refused(context.Background(), m, h.WantImage, h.WantVersion)
	if h.Error == "" && h.Health == protocol.HealthFailing {
		h.Error = protocol.Clean("Windows does not come up: "+in.LastStart, protocol.MaxText)
	}
	if h.Phase = k.phase(h, m, x.goal, now); h.Phase == PhaseWorking {
		if v, ok := k.live.get(m.ID); ok && v.Phase != "" {
			h.Live = &v
		}
	}
}

func (k *Keeper) phase(h *Host, m *state.Machine, g *Goal, now time.Time) Phase {
	a := m.Attempt
	switch {
	case h.Room == "":
		return PhaseUnknown
	case open(m) && !k.fell(m):
		return PhaseWorking
	case open(m):
		return PhaseSilent
	case h.Health == protocol.HealthFailing, unstarted(m):
		return PhaseDown
	case refused(m) != "":
		return PhaseRefused
	case g == nil:
		return PhaseIdle
	case h.Image == g.Image && h.Version == g.Version && !h.Another:
		return PhaseCurrent
	case m.Order.Wait > 0 && h.Seen.Equal(m.Seen) && h.Seen.Add(2*waitMost+waitLeast).After(now):
		return PhaseWaiting
	case g.Fits(a) && a.Result == state.ResultFailed:
		return PhaseFailed
	case m.Report != nil && m.Report.Outcome == protocol.OutcomeWaiting && same(m.Order.Want, &protocol.Want{Image: g.Image, Version: g.Version}):
		return PhasePermit
	}
	return PhaseOutdated
}

// exitCheck is the exit code of an agent that could not start Windows, or found that the disk does
// not give back what was written.
const exitCheck = 5

// unstarted says whether the last start of a machine ended so that Windows cannot be relied on.
func unstarted(m *state.Machine) bool {
	r := m.Report
	return r != nil && r.At.Equal(m.Seen) && r.Outcome == protocol.OutcomeFailed && r.ExitCode == exitCheck
}

// room is a room with its machines.
func (k *Keeper) room(l *lab.Lab, name string, all []shown, there map[string][]entry) Room {
	p, _ := l.Room(name)
	kept := k.o.State.Room(name)
	r := Room{Name: name, Target: kept.Current(), Pinned: p.Version > 0, Machines: len(all), Counts: map[Phase]int{}}
	if kept != nil {
		r.Stopped = kept.Stopped
	}
	c := &Case{Now: k.o.Now(), Lab: l, Room: &p, Goal: roomGoal(&p, kept)}
	r.hours(c)
	if g := c.Goal; g != nil {
		r.Image, r.Want = g.Image, g.Version
		if s, err := k.o.Sizes.Size(context.Background(), g.Image, 0, g.Version); err == nil { // else the rule says so
			r.Note = s.Note
		}
		c.Failed = len(k.failures(name, g))
		g.Gate = k.gate(l, g, there)
		for _, rule := range []func() string{c.stopped, c.gated, c.closed} {
			if r.Why == "" {
				r.Why = rule()
			}
		}
	}
	r.tally(c, all)
	return r
}

// hours fills when machines of the room may be worked on.
func (r *Room) hours(c *Case) {
	if r.Open = c.always(); r.Open {
		return
	}
	h := c.hours()
	if closes, ok := h.Closes(c.Now); ok {
		r.Open, r.Closes = true, closes
		r.Opens, _ = h.Began(c.Now)
	} else {
		r.Opens, r.Closes, _ = h.Next(c.Now)
	}
}

// tally counts the machines of a room.
func (r *Room) tally(c *Case, all []shown) {
	todo := 0
	for i := range all {
		h := &all[i].Host
		r.Counts[h.Phase]++
		if h.Attention != "" {
			r.Alarms++
		}
		if all[i].unnamed {
			r.Unnamed++
		}
		if h.Phase == PhaseCurrent && h.Health == protocol.HealthGood {
			r.Healthy++
		}
		if h.Keyed && !h.Confirmed {
			r.Unconfirmed++
		}
		r.Compared.count(h)
		if h.Live.fetches() {
			r.Rate += h.Live.Rate
			c.Size.Fetch = max(c.Size.Fetch, h.Live.Total)
		}
		if h.Phase == PhaseWorking || h.Phase == PhaseWaiting || lacks(h) && !h.Seen.IsZero() {
			todo++
		}
	}
	if r.Counts[PhaseWorking] > 0 {
		// As if each that is not through still had all to do: rather too long than too short.
		waves := (todo + int(c.Room.Wave) - 1) / int(c.Room.Wave)
		r.Left = (time.Duration(waves) * c.takes(min(todo, int(c.Room.Wave))-1)).Seconds()
	}
}

// LabError returns why the lab.yaml on the disk is not in force, nil if it is.
func (k *Keeper) LabError() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.labErr
}

// Log returns the log tail of a machine's last report, and of its last failed one.
func (k *Keeper) Log(id string) (last, failed string, err error) { return k.o.State.Log(id) }
