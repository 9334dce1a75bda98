package rooms

import (
	"fmt"
	"slices"

	"troy/internal/identity"
	"troy/server/lab"
	"troy/server/state"
)

// Assign names the machine that shows a code (or has an id or address), and gives it a room of
// lab.yaml. A machine that is unknown because it has the address of another one, but not its key,
// can be given that one's name: then it takes its place, and the other one is forgotten.
func (k *Keeper) Assign(code, name, room string) (*state.Machine, error) {
	l := k.Lab()
	m := k.o.State.ByCode(code)
	if m == nil {
		_, m, _ = k.Host(code)
	}
	if m == nil {
		return nil, fmt.Errorf("%w: no machine shows the code %q", ErrNotFound, code)
	}
	old := k.replaced(l, m, name)
	if err := k.assignable(l, m, old, name, room); err != nil {
		return nil, err
	}
	if err := k.vouch(l, m, old, name); err != nil {
		return nil, err
	}
	m, err := k.putAssigned(m.ID, old, name, room)
	k.placeAll()
	k.changed.tell()
	return m, err
}

// replaced is the machine of which the newcomer m takes the name; nil if it takes none.
func (k *Keeper) replaced(l *lab.Lab, m *state.Machine, name string) *state.Machine {
	if m.Doubt == "" || m.Against == "" {
		return nil
	}
	if old := k.o.State.Get(m.Against); old != nil && k.placeOf(l, old).name == name {
		return old
	}
	return nil
}

func (k *Keeper) assignable(l *lab.Lab, m, old *state.Machine, name, room string) error {
	h := l.HostNamed(name)
	switch {
	case l.Rooms[lab.Name(room)] == nil:
		return fmt.Errorf("%w: room %q is not in lab.yaml", ErrNotFound, room)
	case k.placeOf(l, m).host != nil:
		return fmt.Errorf("%w: lab.yaml names this machine: change it there", ErrInvalid)
	case lab.CheckName(name) != nil:
		return fmt.Errorf("%w: %w", ErrInvalid, lab.CheckName(name))
	case old != nil && h != nil && string(h.Room) != room:
		return fmt.Errorf("%w: lab.yaml has %s in room %s", ErrInvalid, name, h.Room)
	case old == nil && (h != nil || k.taken(name, m.ID)):
		return fmt.Errorf("%w: another machine is called %q", ErrInvalid, name)
	}
	at := member{name: name, room: room, host: h}
	if _, why := k.owns(l, m.ID, &at, k.namers(l)); why != "" {
		return fmt.Errorf("%w: with that name %s", ErrInvalid, why)
	}
	return nil
}

func (k *Keeper) taken(name, id string) bool {
	return slices.ContainsFunc(k.o.State.All(), func(m *state.Machine) bool { return m.Name == name && m.ID != id })
}

// vouch writes into the register that an admin knows the machine, in place of old, which may be
// nil. Where it would not be recognised by that at its next start, nothing is changed.
func (k *Keeper) vouch(l *lab.Lab, m, old *state.Machine, name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	was := k.register.Get(m.ID)
	now, c := was, was.Claims
	now.Line, now.Assigned, now.Doubt = identity.Line{Name: name, UUID: c.UUID}, true, ""
	if len(c.MACs) > 0 {
		now.Line.MAC = c.MACs[0]
	}
	if h := l.HostNamed(name); h != nil {
		now.Line, now.Assigned = h.Line(), false
	}
	if c.Lasts {
		now.Pin = c.Key
	} else if len(c.MACs) == 0 && c.UUID == "" {
		return fmt.Errorf("%w: nothing would tell this machine from others at its next start: its UUID is a placeholder, its ports are USB adapters, and no disk of it is finished", ErrInvalid)
	}
	if old != nil {
		k.register.Drop(old.ID)
	}
	k.register.Put(now)
	v := k.register.Judge(c, l.Listing())
	if v.ID == m.ID && v.Doubt == "" {
		delete(k.against, m.ID)
		delete(k.strangers, m.ID)
		return nil
	}
	k.register.Put(was)
	if old != nil {
		k.register.Put(knownOf(old))
	}
	return fmt.Errorf("%w: with that name the machine would still be unknown: %s; change lab.yaml", ErrInvalid, v.Doubt)
}

// putAssigned keeps what vouch did. The other machine is forgotten first: a server that is killed
// in between recognises the newcomer by itself.
func (k *Keeper) putAssigned(id string, old *state.Machine, name, room string) (*state.Machine, error) {
	if old != nil {
		if err := k.o.State.Forget(old.ID); err != nil {
			k.restore(k.Lab(), []string{id, old.ID})
			return nil, err
		}
	}
	m, err := k.o.State.Update(id, func(m *state.Machine) error {
		m.Name, m.Room, m.Code = name, room, ""
		m.Remember(k.o.Now(), "assigned", name+" in room "+room)
		return k.keep(m)
	})
	if err != nil {
		k.restore(k.Lab(), []string{id})
	}
	return m, err
}

// Confirm notes that the admin has confirmed a machine, by its name or as Host takes it, with the
// key that is pinned now.
func (k *Keeper) Confirm(id, key string) error {
	_, m, err := k.Host(id)
	if err != nil {
		return err
	}
	if m == nil || m.Pin == "" || m.Pin != key {
		return fmt.Errorf("%w: the key that is pinned for %s is not the one that you were shown", ErrInvalid, id)
	}
	_, err = k.o.State.Update(m.ID, func(m *state.Machine) error {
		m.Confirmed = key
		m.Remember(k.o.Now(), "confirmed", "key "+key)
		return nil
	})
	k.changed.tell()
	return err
}
