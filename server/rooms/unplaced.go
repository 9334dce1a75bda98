package rooms

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"troy/image"
	"troy/image/fields"
	"troy/server/lab"
	"troy/server/protocol"
	"troy/server/state"
)

// missing are machines for whose own things a version has no place, by what is missing.
type missing map[string]*without

func (all missing) add(key, why, name string) {
	if all[key] == nil {
		all[key] = &without{why: why}
	}
	all[key].names = append(all[key].names, name)
}

// without are the machines that one reason keeps from something.
type without struct {
	why   string // of the first one
	names []string
}

// unplaced finds the machines of a room that would not get all that is their own in a version with
// these fields.
func (k *Keeper) unplaced(l *lab.Lab, room, image string, list []image.Field) missing {
	all, names := missing{}, k.namers(l)
	for _, h := range k.hosts(l, room) {
		if !follows(h.host, image) {
			continue
		}
		own, _ := k.owns(l, h.id(), &h.member, names)
		if own == nil {
			continue
		}
		if err := fields.Check(list, valuesOf(whole(own), h.name, room, list)); err != nil {
			all.add(kindOf(err), err.Error(), h.name)
		}
	}
	return all
}

// whole is an identity with all of its secrets. One whose file cannot be read is empty here: that is
// told elsewhere, and it needs a place all the same.
func whole(own *lab.Own) *protocol.Identity {
	id := own.Identity
	id.Values = slices.Clone(id.Values)
	for _, s := range own.Secrets {
		v, err := s.Read()
		if err != nil {
			v = protocol.Value{Key: s.Key, Secret: true}
		}
		id.Values = append(id.Values, v)
	}
	return &id
}

// kindOf is what an error has in common for machines whose values differ in length.
func kindOf(err error) string {
	var room *fields.RoomError
	if errors.As(err, &room) {
		return room.Name + " " + room.Where
	}
	return err.Error()
}

// valuesOf makes of an identity what the agent writes into these fields: machine.json in a version
// that has a place for it, or if something is to be in it.
func valuesOf(id *protocol.Identity, host, room string, list []image.Field) *fields.Values {
	v := &fields.Values{Name: id.Name, Settings: map[string]uint32{}, Answers: map[string]string{}}
	for _, s := range id.Settings {
		v.Settings[s.Field] = s.Number
	}
	own := map[string]string{}
	for _, x := range id.Values {
		place, into := x.Key, v.Answers
		if !protocol.IsAnswer(x.Key) {
			place, into = fields.MachineFile, own
		}
		if into[x.Key] = x.Text; x.Secret {
			v.Secret = append(v.Secret, place)
		}
	}
	if len(own) > 0 || fields.HasMachineFile(list) {
		v.Machine = fields.MachineJSON(id.Name, host, room, own)
	}
	return v
}

// warnings are lines for the estimate of a promotion.
func (all missing) warnings(p *lab.Policy) (lines []string) {
	for _, key := range slices.Sorted(maps.Keys(all)) {
		end := ""
		if p.Identity == lab.IdentityRequired {
			end = "; identity: required of the room refuses the version"
		}
		lines = append(lines, fmt.Sprintf("%d machines would lack something of their own in Windows: %s (%s)%s", len(all[key].names), all[key].why, some(all[key].names), end))
	}
	return lines
}

// unsentTo are lines for the estimate of a promotion: the machines of a room that would get the version
// without their secrets. A Windows that is set up without them stays so until the next version.
func (k *Keeper) unsentTo(l *lab.Lab, room, image string) (lines []string) {
	unconfirmed, unread, names := []string(nil), missing{}, k.namers(l)
	for _, h := range k.hosts(l, room) {
		own, _ := k.owns(l, h.id(), &h.member, names)
		if !follows(h.host, image) || own == nil || len(own.Secrets) == 0 {
			continue
		}
		if h.m == nil || !confirmed(h.m) {
			unconfirmed = append(unconfirmed, h.name)
		}
		for i := range own.Secrets {
			if _, err := own.Secrets[i].Read(); err != nil {
				unread.add(err.Error(), err.Error(), h.name)
			}
		}
	}
	if len(unconfirmed) > 0 {
		lines = append(lines, fmt.Sprintf("%d machines are not confirmed, so they get no secrets ('troy hosts confirm' once they have checked in): %s", len(unconfirmed), some(unconfirmed)))
	}
	for _, key := range slices.Sorted(maps.Keys(unread)) {
		lines = append(lines, fmt.Sprintf("%d machines would lack a secret: %s (%s)", len(unread[key].names), unread[key].why, some(unread[key].names)))
	}
	return lines
}

// takesAll refuses a version for a room with "identity: required" if it has no place for what is a
// machine's own there: no machine of them would install it.
func (k *Keeper) takesAll(ctx context.Context, l *lab.Lab, p *Promotion, t *state.Target) error {
	room, _ := l.Room(p.Room)
	if room.Identity != lab.IdentityRequired {
		return nil
	}
	s, err := k.o.Sizes.Size(ctx, t.Image, 0, t.Version)
	if err != nil {
		return err
	}
	all := k.unplaced(l, p.Room, t.Image, s.Fields)
	for _, key := range slices.Sorted(maps.Keys(all))[:min(len(all), 1)] {
		return fmt.Errorf("%w: room %s has identity: required, and %d of its machines would not install %s version %d (%s): %s; publish a version with that place, or set identity: wanted",
			ErrInvalid, p.Room, len(all[key].names), t.Image, t.Version, some(all[key].names), all[key].why)
	}
	return nil
}
