package rooms

import (
	"net/netip"

	"troy/server/state"
)

// decide counts the others and decides in one act, so that no slot is given twice.
func (k *Keeper) decide(c *Case, w *who) Decision {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c.Room != nil {
		for other := range k.marks[k.placed[w.id]] {
			if other != w.id {
				k.count(c, other, w)
			}
		}
	}
	d := Decide(c)
	if d.Start {
		k.pending[w.id] = begun{k.pending[w.id].orders + 1, w.from}
		k.mark(w.id)
	}
	return d
}

// begun counts the orders to begin of a machine that are decided and not yet durable, and names its
// party.
type begun struct {
	orders int
	from   netip.Addr
}

// count adds another machine of the room to the case of w: for one that is vouched for, only others
// that are. k.mu is held.
func (k *Keeper) count(c *Case, id string, w *who) {
	sure, m, known := k.vouched(id), k.o.State.Get(id), k.vouched(w.id)
	b, pending := k.pending[id]
	if !pending && m != nil {
		b.from = m.From
	}
	switch {
	case pending || m != nil && k.holdsSlot(m):
		if sure || !known {
			c.Active++
		}
		if !sure && !known && b.from == w.from && b.from.IsValid() && !b.from.IsLoopback() {
			c.Same++
		}
	case sure && m != nil && c.Goal != nil && c.Goal.failed(m, k.fell(m)):
		c.Failed++
	}
}

// holdsSlot tells whether a machine is at work. One that nothing vouches for has to get on: its
// words alone hold no slot. k.mu is held.
func (k *Keeper) holdsSlot(m *state.Machine) bool {
	a := atWork(m)
	if a == nil || k.vouched(m.ID) {
		return a != nil && !k.fell(m)
	}
	return !k.quiet(a, k.live.moved(m.ID), stallTime)
}

// settle ends what decide began: what came of it is kept, or nothing did.
func (k *Keeper) settle(id string, began bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if b := k.pending[id]; began && b.orders > 1 {
		k.pending[id] = begun{b.orders - 1, b.from}
	} else if began {
		delete(k.pending, id)
	}
	k.mark(id)
}

// mark notes whether a machine is at work, or may have failed: only those are counted when others
// check in. k.mu is held.
func (k *Keeper) mark(id string) {
	room, placed := k.placed[id]
	if !placed {
		return
	}
	m := k.o.State.Get(id)
	if k.pending[id].orders == 0 && (m == nil || !open(m) && !suspect(m)) {
		delete(k.marks[room], id)
		return
	}
	add(k.marks, room, id)
}

// marked returns what is known of the machines of a room that are at work or may have failed.
func (k *Keeper) marked(room string) []*state.Machine {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.o.State.Those(k.marks[room])
}

// add puts an id into the set of a room.
func add(sets map[string]map[string]bool, room, id string) {
	if sets[room] == nil {
		sets[room] = map[string]bool{}
	}
	sets[room][id] = true
}
