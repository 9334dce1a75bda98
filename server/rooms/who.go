package rooms

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"

	"troy/internal/identity"
	"troy/server/lab"
	"troy/server/protocol"
	"troy/server/state"
)

// who is the machine that checks in, as package identity judges it.
type who struct {
	id      string
	at      member
	from    netip.Addr // the party of its connection
	doubt   string
	hint    string   // why lab.yaml may not name it as it should
	note    string   // what changed about it
	dropped []string // records that it makes superfluous
	pushed  []string // strangers that made room for it
}

// claimsOf is what a check-in says of its machine. A key lasts once the agent has read what the
// disk holds: it lies beside that.
func claimsOf(key string, in *protocol.CheckIn) identity.Claims {
	return in.Machine.Claims(key, in.Image != "" && in.Version > 0)
}

// knownOf makes the record for package identity of what is kept.
func knownOf(m *state.Machine) identity.Known {
	return identity.Known{ID: m.ID, Claims: claimsOf(m.Start, &m.CheckIn), Pin: m.Pin, Line: m.Line, Assigned: m.Room != "", Doubt: m.Doubt}
}

// errForgotten is returned for a machine that was forgotten while it spoke. It may ask again.
var errForgotten = errors.New("the machine was forgotten meanwhile")

// keep writes what the register knows of a machine into its record, and cuts that of a stranger.
// The register is asked only now: another check-in may have gone on since.
func (k *Keeper) keep(m *state.Machine) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.register.Get(m.ID)
	if now.ID == "" {
		return errForgotten
	}
	m.Pin, m.Start, m.Line, m.Doubt, m.Against = now.Pin, now.Claims.Key, now.Line, now.Doubt, k.against[m.ID]
	if !now.Assigned {
		m.Name, m.Room = "", ""
	}
	k.shorten(m)
	return nil
}

// identify judges which machine checks in, and takes it into the register and its room. A stranger
// that is new takes the place of another one when there are too many.
func (k *Keeper) identify(l *lab.Lab, peer protocol.Peer, in *protocol.CheckIn) *who {
	c, from := claimsOf(peer.Key, in), partyOf(peer)
	k.mu.Lock()
	defer k.mu.Unlock()
	v := k.register.Judge(c, l.Listing())
	var pushed []string
	for v.ID == "" && v.Line.Name == "" && len(k.strangers) >= k.most {
		id := k.strangers.yields(from)
		k.register.Drop(id)
		k.leave(id)
		pushed = append(pushed, id)
	}
	note := ""
	if v.Against != "" && k.released(v.Against, in) {
		old := k.register.Get(v.Against)
		old.Pin = "" // the next key that lasts is pinned: that of the start which finishes the disk
		k.register.Put(old)
		note = "it has another key, as your permit to wipe its disk lets it"
	}
	known, v := k.register.Admit(c, l.Listing(), rand.Text())
	for _, id := range v.Drop {
		k.leave(id)
	}
	if k.against[known.ID] = v.Against; v.Against == "" {
		delete(k.against, known.ID)
	}
	w := &who{id: known.ID, at: k.memberOf(l, &known, &in.Machine), from: from, doubt: v.Doubt, note: cmp.Or(note, v.Note), dropped: v.Drop, pushed: pushed}
	if name := l.Listing().Adapter(&c); name != "" && w.at.host == nil {
		w.hint = "lab.yaml lists its USB adapter as " + name + ", but adapters tell no machine from another: list its UUID"
	}
	k.place(w.id, w.at)
	k.admit(w.id, w.at, from, k.o.Now())
	return w
}

// restore takes back what identify did to records that could not be kept.
func (k *Keeper) restore(l *lab.Lab, ids []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range ids {
		m := k.o.State.Get(id)
		if m == nil {
			k.register.Drop(id)
			k.leave(id)
			continue
		}
		k.register.Put(knownOf(m))
		k.placeKept(l, m)
	}
}

// speaks returns the id of the machine that goes on with a start at which it checked in, by the
// same key; "" for everybody else, so that nobody speaks for another one.
func (k *Keeper) speaks(peer protocol.Peer, m *protocol.Machine, finished bool) string {
	l := k.Lab()
	k.mu.Lock()
	defer k.mu.Unlock()
	known := k.register.Whose(m.Claims(peer.Key, finished), l.Listing())
	if known.ID == "" || k.o.State.Get(known.ID) == nil {
		return ""
	}
	if finished && known.Pin == "" && known.Line.Name != "" && known.Doubt == "" {
		known.Pin = peer.Key
		k.register.Put(known)
	}
	return known.ID
}

// member is a machine's place in the lab.
type member struct {
	name, room string
	host       *lab.Host // nil = assigned by an admin, a guest, or unknown
	guest      bool      // it is in the room of "unknown" of lab.yaml
}

// memberOf finds the place of a machine: in lab.yaml, else where an admin assigned it, else where
// lab.yaml wants unknown machines. room is "" if it has none and shows a code. k.mu is held.
func (k *Keeper) memberOf(l *lab.Lab, known *identity.Known, claims *protocol.Machine) member {
	if known.Doubt != "" {
		return member{}
	}
	if h := l.HostNamed(known.Line.Name); h != nil && !known.Assigned {
		return member{name: string(h.Name), room: string(h.Room), host: h}
	}
	if m := k.o.State.Get(known.ID); known.Assigned && m != nil && l.Rooms[lab.Name(m.Room)] != nil {
		return member{name: m.Name, room: m.Room}
	}
	if room := l.Guests(); room != "" {
		return member{name: claims.String(), room: room, guest: true}
	}
	return member{}
}

// placeOf is memberOf for a machine that is kept.
func (k *Keeper) placeOf(l *lab.Lab, m *state.Machine) member {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keptAt(l, m)
}

// keptAt is placeOf while k.mu is held.
func (k *Keeper) keptAt(l *lab.Lab, m *state.Machine) member {
	known := k.register.Get(m.ID)
	return k.memberOf(l, &known, &m.CheckIn.Machine)
}

// vouched tells whether a machine is known by its key, in a place that lab.yaml or an admin gave
// it. What others say marks nobody: they count in no gate, stop no wave, and take no start slot
// from those that are. k.mu is held.
func (k *Keeper) vouched(id string) bool {
	known := k.register.Get(id)
	return vouches(&known)
}

func vouches(known *identity.Known) bool { return known.Pin != "" && known.Line.Name != "" }

func (k *Keeper) isVouched(id string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.vouched(id)
}

// readAll fills the register with what is kept.
func (k *Keeper) readAll() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, m := range k.o.State.All() {
		k.register.Put(knownOf(m))
		if m.Against != "" {
			k.against[m.ID] = m.Against
		}
	}
}

// placeAll sorts all machines into rooms: at the start, and when lab.yaml or an assignment changed.
func (k *Keeper) placeAll() {
	l := k.Lab()
	k.mu.Lock()
	defer k.mu.Unlock()
	_, dropped := k.register.Relist(l.Listing())
	k.ghosts = append(k.ghosts, dropped...)
	clear(k.members)
	clear(k.marks)
	clear(k.placed)
	clear(k.strangers)
	for _, m := range k.o.State.All() {
		if k.register.Get(m.ID).ID != "" {
			k.placeKept(l, m)
		}
	}
}

// placeKept notes where a machine is of which no more is known than what is kept. k.mu is held.
func (k *Keeper) placeKept(l *lab.Lab, m *state.Machine) {
	at := k.keptAt(l, m)
	k.place(m.ID, at)
	k.admit(m.ID, at, m.From, m.Seen)
}

// place notes in which room a machine is. k.mu is held.
func (k *Keeper) place(id string, at member) {
	k.leave(id)
	k.placed[id] = at.room
	add(k.members, at.room, id)
	k.mark(id)
}

// leave takes a machine out of its room. k.mu is held.
func (k *Keeper) leave(id string) {
	delete(k.strangers, id)
	delete(k.members[k.placed[id]], id)
	delete(k.marks[k.placed[id]], id)
	delete(k.placed, id)
}

// bury forgets the records of machines that have a successor.
func (k *Keeper) bury(ids []string) {
	for _, id := range ids {
		m := k.o.State.Get(id)
		if m == nil {
			continue
		}
		if err := k.remove([]string{id}); err != nil {
			k.o.OnNote(fmt.Sprintf("%s, which has a successor, could not be forgotten: %v", m.CheckIn.Machine.String(), err))
		} else if m.Line.Name != "" {
			k.o.OnNote(fmt.Sprintf("%s: the machine %s was forgotten, lab.yaml names its successor", m.Line.Name, m.CheckIn.Machine.String()))
		}
	}
}

// buryGhosts forgets those that a change of lab.yaml has left.
func (k *Keeper) buryGhosts() {
	k.mu.Lock()
	ids := k.ghosts
	k.ghosts = nil
	k.mu.Unlock()
	k.bury(ids)
}

// Machines in doubt of one party that the admin is told of, by a line for each. Whoever makes them
// up must not fill the journal: the page and "troy status" show them all the same.
const (
	toldPerMinute = 6
	toldAtOnce    = 60
)

// tellOf tells the admin what is new about who a machine is, once.
func (k *Keeper) tellOf(before, now *state.Machine, w *who) {
	name := w.at.name
	if name == "" {
		name = now.CheckIn.Machine.String()
	}
	if w.doubt != "" && (before == nil || before.Doubt != w.doubt) && k.told.Take(w.from, now.Seen) == 0 {
		k.o.OnNote(fmt.Sprintf("unknown machine %s, code %s: %s", name, now.Code, w.doubt))
	}
	if w.note != "" {
		k.o.OnNote(fmt.Sprintf("%s: %s", name, w.note))
	}
}
