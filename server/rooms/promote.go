package rooms

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"troy/server/lab"
	"troy/server/state"
)

var (
	// ErrNotFound is returned for a room, machine or code that is not there.
	ErrNotFound = errors.New("not found")
	// ErrInvalid is returned for a request that can never be right.
	ErrInvalid = errors.New("invalid request")
)

// Promotion is what an admin asks for: a room gets a version.
type Promotion struct {
	Room    string `json:"room"`
	Image   string `json:"image"`           // "" = the room's
	Version int    `json:"version"`         // for a rollback 0 = the one that the room had before
	At      string `json:"at,omitempty"`    // FROM-TO, in place of the room's windows
	After   string `json:"after,omitempty"` // room that must have it healthy before; "" = as lab.yaml says; "none" = none
	By      string `json:"by,omitempty"`    // who asks
	Retry   bool   `json:"retry,omitempty"` // machines try again what they gave up
}

// Estimate says what a promotion will take, before it starts.
type Estimate struct {
	Room     string `json:"room"`
	Image    string `json:"image"`
	Version  int    `json:"version"`
	Machines int    `json:"machines"` // of the room
	Current  int    `json:"current"`  // that have the version already
	Never    int    `json:"never"`    // listed in lab.yaml but never seen; counted as to be written whole
	Fetch    int64  `json:"fetch"`    // bytes, all machines together
	Write    int64  `json:"write"`    // bytes, all machines together
	Rate     int64  `json:"rate"`     // bytes per second for all together
	Wave     int    `json:"wave"`     // machines at the same time

	Takes    float64   `json:"takes"`           // seconds, from the first machine to the last
	Opens    time.Time `json:"opens,omitzero"`  // the window in which it begins; zero = at any time
	Closes   time.Time `json:"closes,omitzero"` // and when that closes
	Zone     string    `json:"zone"`            // of lab.yaml, in which both are given
	Fits     bool      `json:"fits"`            // all of it in that window
	Gate     string    `json:"gate,omitempty"`  // what it waits for
	Warnings []string  `json:"warnings,omitempty"`
}

// Estimate computes what a promotion would take. Nothing is changed. Errors: ErrNotFound,
// ErrInvalid, those of Sizes.
func (k *Keeper) Estimate(ctx context.Context, p Promotion) (*Estimate, error) {
	l := k.Lab()
	t, err := k.target(ctx, l, &p)
	if err != nil {
		return nil, err
	}
	room, _ := l.Room(p.Room)
	e := &Estimate{Room: p.Room, Image: t.Image, Version: t.Version, Wave: int(room.Wave), Rate: l.Rate(&room), Zone: l.Location().String()}
	if err := k.sum(ctx, l, e); err != nil {
		return nil, err
	}
	g := k.promoted(l, t)
	e.Gate = g.Gate
	c := &Case{Now: k.o.Now(), Lab: l, Room: &room, Goal: g}
	e.span(c.hours(), c.Now, c.always())
	if room.Version > 0 {
		e.Warnings = append(e.Warnings, fmt.Sprintf("lab.yaml pins room %s to version %d: the promotion changes nothing", p.Room, room.Version))
	}
	return e, nil
}

// sum adds up the machines of the room.
func (k *Keeper) sum(ctx context.Context, l *lab.Lab, e *Estimate) error {
	bare, newer, refused := 0, 0, map[string]int{}
	for _, h := range k.hosts(l, e.Room) {
		if h.host != nil && h.host.Version > 0 {
			continue
		}
		e.Machines++
		for _, line := range k.refused(ctx, h.m, e.Image, e.Version) {
			refused[line]++
		}
		have := 0
		if h.m == nil {
			e.Never++
		} else if now := k.host(l, h); now.Image == e.Image {
			have = now.Version
		}
		if have == e.Version {
			e.Current++
			continue
		}
		if have > e.Version {
			newer++
		}
		s, whole, err := k.between(ctx, e.Image, have, e.Version)
		if err != nil {
			return err
		}
		if whole {
			bare++
		}
		e.Fetch, e.Write = e.Fetch+s.Fetch, e.Write+s.Write
	}
	if bare > 0 {
		e.Warnings = append(e.Warnings, fmt.Sprintf("%d machines hold no recorded version of the image and would be rewritten completely", bare))
	}
	if newer > 0 {
		e.Warnings = append(e.Warnings, fmt.Sprintf("%d machines have a newer version: they go back only with your signature, 'troy rollback --room %s %s@%d'", newer, e.Room, e.Image, e.Version))
	}
	for _, line := range slices.Sorted(maps.Keys(refused)) {
		e.Warnings = append(e.Warnings, fmt.Sprintf("the firmware of %d machines would not start %s", refused[line], line))
	}
	return nil
}

// refused asks what a machine would not start of what it is to be given.
func (k *Keeper) refused(ctx context.Context, m *state.Machine, image string, version int) []string {
	if k.o.Programs == nil || m == nil {
		return nil
	}
	return k.o.Programs.Refused(ctx, &m.CheckIn, image, version)
}

// span computes how long it takes, and whether that fits into the window. Waves write while others
// fetch.
func (e *Estimate) span(h lab.Hours, now time.Time, always bool) {
	n := e.Machines - e.Current
	if n > 0 {
		waves := math.Ceil(float64(n) / float64(e.Wave))
		e.Takes = float64(e.Fetch)/float64(e.Rate) + waves*(overhead.Seconds()+float64(e.Write)/float64(n)/diskRate)
	}
	from := now
	switch closes, open := h.Closes(now); {
	case always:
		e.Fits = true
		return
	case open:
		e.Opens, e.Closes = now.In(closes.Location()), closes
	default:
		e.Opens, e.Closes, _ = h.Next(now)
		from = e.Opens
	}
	e.Fits = !e.Closes.IsZero() && !from.Add(seconds(e.Takes)).After(e.Closes)
}

// target checks a request and makes a target of it.
func (k *Keeper) target(ctx context.Context, l *lab.Lab, p *Promotion) (*state.Target, error) {
	room, ok := l.Room(p.Room)
	if !ok {
		return nil, fmt.Errorf("%w: room %q is not in lab.yaml (it has %s)", ErrNotFound, p.Room, strings.Join(l.RoomNames(), ", "))
	}
	t := &state.Target{Image: p.Image, Version: p.Version, At: p.At, After: p.After, By: p.By, Retry: p.Retry, Time: k.o.Now()}
	if t.Image == "" {
		t.Image = string(room.Image)
	}
	if now := k.o.State.Room(p.Room).Current(); t.Image == "" && now != nil {
		t.Image = now.Image
	}
	if t.Image == "" {
		return nil, fmt.Errorf("%w: room %s has no image yet: name one", ErrInvalid, p.Room)
	}
	if len(l.Images) > 0 && !slices.Contains(l.Images, lab.Name(t.Image)) {
		return nil, fmt.Errorf("%w: image %q is not in lab.yaml", ErrInvalid, t.Image)
	}
	switch t.After {
	case "":
		t.After = string(room.After)
	case "none":
		t.After = ""
	}
	if _, ok := l.Room(t.After); t.After != "" && (!ok || t.After == p.Room) {
		return nil, fmt.Errorf("%w: room %q cannot come after %q", ErrInvalid, p.Room, t.After)
	}
	if t.At != "" {
		if _, err := lab.ParseWindow(t.At); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	if t.Version < 1 {
		return nil, fmt.Errorf("%w: version %d", ErrInvalid, t.Version)
	}
	if _, err := k.o.Sizes.Size(ctx, t.Image, 0, t.Version); err != nil {
		return nil, fmt.Errorf("%s version %d: %w", t.Image, t.Version, err)
	}
	return t, nil
}

// Promote gives a room a version: machines follow in the next window. It is on the disk when nil is
// returned.
func (k *Keeper) Promote(ctx context.Context, p Promotion) (*state.Target, error) {
	t, err := k.target(ctx, k.Lab(), &p)
	if err != nil {
		return nil, err
	}
	return k.put(p.Room, *t)
}

func (k *Keeper) put(room string, t state.Target) (*state.Target, error) {
	t, err := k.o.State.Promote(room, t)
	if err != nil {
		return nil, err
	}
	k.changed.tell()
	return &t, nil
}

// Previous returns the target that a rollback of a room would bring back: the newest before the
// current one that is another version of the same image. ErrNotFound if there is none.
func (k *Keeper) Previous(room string) (*state.Target, error) {
	r := k.o.State.Room(room)
	now := r.Current()
	if now == nil {
		return nil, fmt.Errorf("%w: nothing was promoted to room %q", ErrNotFound, room)
	}
	bad := left(r.Targets)
	for i := len(r.Targets) - 2; i >= 0; i-- {
		if t := r.Targets[i]; t.Image == now.Image && t.Version != now.Version && !bad[t.Version] {
			return &t, nil
		}
	}
	return nil, fmt.Errorf("%w: room %q had no other version of %s before", ErrNotFound, room, now.Image)
}

// left gives the versions that a rollback has left: going back twice does not come back to what was
// bad.
func left(targets []state.Target) map[int]bool {
	bad := map[int]bool{}
	for i, t := range targets {
		if i > 0 && t.Rollback {
			bad[targets[i-1].Version] = true
		}
	}
	return bad
}

// Rollback gives a room back the version it had before, or the one of p. Machines go back at any
// time that their window is open; the admin's signature under that step is for the caller to see
// to.
func (k *Keeper) Rollback(ctx context.Context, p Promotion) (*state.Target, error) {
	before, err := k.Previous(p.Room)
	if p.Version == 0 {
		if err != nil {
			return nil, err
		}
		p.Image, p.Version = before.Image, before.Version
	}
	if p.After == "" {
		p.After = "none"
	}
	t, err := k.target(ctx, k.Lab(), &p)
	if err != nil {
		return nil, err
	}
	now, had := k.o.State.Room(p.Room).Current(), before != nil && before.Version == t.Version
	if now != nil && now.Image == t.Image && t.Version > now.Version && !had {
		return nil, fmt.Errorf("%w: version %d is newer than version %d, which room %s has: that is a promotion", ErrInvalid, t.Version, now.Version, p.Room)
	}
	t.Rollback = true
	return k.put(p.Room, *t)
}

// Stop keeps machines of a room from beginning; those at work go on. why "" lets them begin again.
func (k *Keeper) Stop(room, why string) error {
	t := k.o.State.Room(room).Current()
	if t == nil {
		return fmt.Errorf("%w: nothing was promoted to room %q", ErrNotFound, room)
	}
	defer k.changed.tell()
	return k.o.State.ChangeTarget(room, t.ID, func(t *state.Target) { t.Stopped = why })
}
