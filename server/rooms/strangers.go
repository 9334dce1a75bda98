package rooms

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"troy/internal/format"
	"troy/server/limit"
	"troy/server/protocol"
	"troy/server/state"
)

// Bounds of what machines that nothing vouches for take. Whoever is on the network can make them
// up, so each is short, there are not many, and a new one takes the place of an old one.
const (
	strangersMost = 1000
	strangerTime  = 30 * 24 * time.Hour // without a check-in, then it is forgotten

	// guestBytes bounds each part of the record of a stranger that joined a room: check-in, report,
	// and each of two logs. One that shows a code keeps what Brief leaves of its check-in, and no
	// report.
	guestBytes  = 4 << 10
	guestEvents = 10
)

// stranger is a machine that is neither listed nor assigned, and for which no key is pinned.
type stranger struct {
	party netip.Addr // of package limit, from which it checked in
	seen  time.Time
	order uint64 // of those that were seen at the same time
}

func (s stranger) compare(other stranger) int {
	return cmp.Or(s.seen.Compare(other.seen), cmp.Compare(s.order, other.order))
}

// strangers are held by their ids.
type strangers map[string]stranger

// yields names the one that makes room for another of that party: of the party that has most, the
// one that was not seen for longest. So a laptop that makes up machines pushes out its own, and not
// those that others wait to assign.
func (s strangers) yields(to netip.Addr) (id string) {
	has := map[netip.Addr]int{to: 1}
	for _, x := range s {
		has[x.party]++
	}
	for other, x := range s {
		old, ok := s[id]
		if more := has[x.party] - has[old.party]; !ok || more > 0 || more == 0 && x.compare(old) < 0 {
			id = other
		}
	}
	return id
}

// admit notes a machine as a stranger if it is one. k.mu is held.
func (k *Keeper) admit(id string, at member, from netip.Addr, seen time.Time) {
	delete(k.strangers, id)
	if at.host == nil && (at.room == "" || at.guest) && k.register.Get(id).Pin == "" {
		k.admitted++
		k.strangers[id] = stranger{from, seen, k.admitted}
	}
}

// shorten cuts the record of a stranger to what is needed to show and assign it, or, if it joined a
// room, to guestBytes for each part. k.mu is held.
func (k *Keeper) shorten(m *state.Machine) {
	switch _, strange := k.strangers[m.ID]; {
	case !strange:
		return
	case k.placed[m.ID] == "":
		m.CheckIn, m.Report, m.History = m.CheckIn.Brief(), nil, nil
		return
	}
	if !fits(m.CheckIn) {
		m.CheckIn = m.CheckIn.Brief()
	}
	if r := m.Report; r != nil && !fits(r) {
		short := *r
		short.Machine, short.Steps, short.Message = r.Machine.Brief(), nil, protocol.Clean(r.Message, protocol.MaxText)
		m.Report = &short
	}
	m.History = m.History[max(0, len(m.History)-guestEvents):]
}

// fits tells whether a part of a record is as short as that of a guest has to be.
func fits(v any) bool {
	b, err := format.Marshal(v)
	return err == nil && len(b) <= guestBytes
}

// tail is what is kept of the log of a machine.
func (k *Keeper) tail(id, log string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch _, strange := k.strangers[id]; {
	case !strange:
		return log
	case k.placed[id] == "":
		return ""
	}
	return log[max(0, len(log)-guestBytes):]
}

// push forgets the strangers that made room for w. Where that fails they come back: the bound is
// then kept by those that follow.
func (k *Keeper) push(w *who) {
	if len(w.pushed) == 0 {
		return
	}
	if err := k.remove(w.pushed); err != nil {
		k.restore(k.Lab(), w.pushed)
	}
}

// expire forgets strangers that did not come back.
func (k *Keeper) expire() {
	before := k.o.Now().Add(-strangerTime)
	k.mu.Lock()
	var ids []string
	for id, x := range k.strangers {
		if x.seen.Before(before) {
			ids = append(ids, id)
		}
	}
	k.mu.Unlock()
	if err := k.forget(ids); err != nil {
		k.o.OnNote("unknown machines that were not seen for long could not be forgotten: " + err.Error())
	}
}

// ForgetStrangers drops all machines that are neither listed nor assigned and for which no key is
// pinned, and returns how many these were.
func (k *Keeper) ForgetStrangers() (int, error) {
	k.mu.Lock()
	ids := slices.Collect(maps.Keys(k.strangers))
	k.mu.Unlock()
	return len(ids), k.forget(ids)
}

// Forget drops what is known of a machine: one that is gone, or that was never ours.
func (k *Keeper) Forget(id string) error {
	if k.o.State.Get(id) == nil {
		return state.ErrNotFound
	}
	return k.forget([]string{id})
}

// forget drops machines for good.
func (k *Keeper) forget(ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	k.mu.Lock()
	for _, id := range ids {
		k.register.Drop(id)
		k.leave(id)
	}
	k.mu.Unlock()
	err := k.remove(ids)
	if err != nil {
		k.restore(k.Lab(), ids)
	}
	k.changed.tell()
	return err
}

// remove drops machines that have left the register, from the disk and from memory.
func (k *Keeper) remove(ids []string) error {
	var macs []string
	for _, id := range ids {
		if m := k.o.State.Get(id); m != nil {
			macs = append(macs, m.CheckIn.Machine.MACs()...)
		}
	}
	if err := k.o.State.Forget(ids...); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range ids {
		delete(k.against, id)
		delete(k.alarmed, id)
		delete(k.unsent, id)
		delete(k.unnamed, id)
		k.live.end(id)
	}
	for _, mac := range macs {
		delete(k.woken, mac)
	}
	return nil
}

// partyOf is the party of package limit that a connection belongs to.
func partyOf(peer protocol.Peer) netip.Addr {
	a, err := netip.ParseAddr(peer.Addr)
	if err != nil {
		return netip.Addr{}
	}
	return limit.Party(a)
}
