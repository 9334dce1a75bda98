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

	"troy/internal/errline"
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
	// Setup allows a version whose Windows has still to be set up, though each of several machines
	// would go through that.
	Setup bool `json:"setup,omitempty"`
}

// Estimate says what a promotion will take, before it starts.
type Estimate struct {
	Room    string `json:"room"`
	Image   string `json:"image"`
	Version int    `json:"version"`
	// Published and Note are what the version says of itself.
	Published time.Time `json:"published,omitzero"`
	Note      string    `json:"note,omitempty"`

	Machines int   `json:"machines"`        // of the room
	Current  int   `json:"current"`         // that have the version already, by number and manifest
	Never    int   `json:"never"`           // listed in lab.yaml but never seen; counted as to be written whole
	Fetch    int64 `json:"fetch"`           // bytes, all machines together
	Write    int64 `json:"write"`           // bytes, all machines together
	Setup    bool  `json:"setup,omitempty"` // the version's Windows has still to be set up
	Disk     int64 `json:"disk"`            // bytes that a PC's disk needs for the image
	Smallest int64 `json:"smallest"`        // bytes of the smallest of the machines' disks; 0 = none is known
	Rate     int64 `json:"rate"`            // bytes per second for all together
	Wave     int   `json:"wave"`            // machines at the same time

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
	whole, err := k.o.Sizes.Size(ctx, t.Image, 0, t.Version)
	if err != nil {
		return nil, err
	}
	e.Setup, e.Disk = whole.Setup, diskFor(&room, &whole)
	e.Published, e.Note = whole.Published, whole.Note
	e.Warnings = append(e.Warnings, k.unplaced(l, p.Room, t.Image, whole.Fields).warnings(&room)...)
	e.Warnings = append(e.Warnings, k.unsentTo(l, p.Room, t.Image)...)
	if err := k.sum(ctx, l, e); err != nil {
		return nil, err
	}
	g := roomGoal(&room, &state.Room{Targets: []state.Target{*t}})
	e.Gate = k.gate(l, g, nil)
	c := &Case{Now: k.o.Now(), Lab: l, Room: &room, Goal: g}
	e.span(c.hours(), c.Now, c.always())
	return e, nil
}

// sum adds up the machines of the room.
func (k *Keeper) sum(ctx context.Context, l *lab.Lab, e *Estimate) error {
	bare, small, refused, undriven, wait := 0, []string(nil), map[string]int{}, map[string]int{}, waiting{}
	store := k.contents()
	room, _ := l.Room(e.Room)
	for _, h := range k.hosts(l, e.Room) {
		if !follows(h.host, e.Image) {
			continue
		}
		e.Machines++
		for _, line := range k.refused(ctx, h.m, e.Image, e.Version) {
			refused[line]++
		}
		if tooSmall(e, h.m) {
			small = append(small, h.name)
		}
		for _, device := range k.undriven(ctx, h.m, e.Image, e.Version) {
			undriven[device]++
		}
		have, another := 0, false
		if h.m == nil {
			e.Never++
		} else if image, version := holds(h.m); image == e.Image {
			if another = store.another(image, version, manifestOf(h.m)); !another {
				have = version
			}
		}
		if have == e.Version {
			e.Current++
			continue
		}
		s, lost, err := k.between(ctx, e.Image, have, e.Version)
		if err != nil {
			return err
		}
		lost = lost || another
		wait.add(k, &room, h.name, h.m, &Goal{Image: e.Image, Version: e.Version}, lost)
		if lost || have == 0 {
			bare++
		}
		e.Fetch, e.Write = e.Fetch+s.Fetch, e.Write+s.Write
	}
	if bare > 0 {
		e.Warnings = append(e.Warnings, fmt.Sprintf("%d machines hold no version of the image that the store has, and would be rewritten completely", bare))
	}
	if len(small) > 0 {
		e.Warnings = append(e.Warnings, fmt.Sprintf("the disks of %d machines are too small: %s", len(small), strings.Join(small, " ")))
	}
	for _, line := range slices.Sorted(maps.Keys(refused)) {
		e.Warnings = append(e.Warnings, fmt.Sprintf("the firmware of %d machines would not start %s", refused[line], line))
	}
	for _, device := range slices.Sorted(maps.Keys(undriven)) {
		e.Warnings = append(e.Warnings, fmt.Sprintf("%s version %d has no driver for %s, which %d machines have", e.Image, e.Version, device, undriven[device]))
	}
	e.Warnings = append(e.Warnings, wait.lines(e)...)
	return nil
}

// refused asks what a machine would not start of what it is to be given.
func (k *Keeper) refused(ctx context.Context, m *state.Machine, image string, version int) []string {
	if k.o.Programs == nil || m == nil {
		return nil
	}
	return k.o.Programs.Refused(ctx, &m.CheckIn, image, version)
}

// undriven asks for which of a machine's devices a version has no driver.
func (k *Keeper) undriven(ctx context.Context, m *state.Machine, image string, version int) []string {
	if k.o.Programs == nil || m == nil {
		return nil
	}
	return k.o.Programs.Undriven(ctx, &m.CheckIn, image, version)
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
	if _, ok := l.Room(t.After); t.After != "" && !ok {
		return nil, fmt.Errorf("%w: room %q, after which %s is to come, is not in lab.yaml", ErrInvalid, t.After, p.Room)
	}
	if at := k.circle(p.Room, t); at != "" {
		return nil, fmt.Errorf("%w: room %s cannot come after room %s, which waits for it: %s", ErrInvalid, p.Room, t.After, at)
	}
	if room.Version > 0 && (t.Image != string(room.Image) || t.Version != int(room.Version)) {
		return nil, fmt.Errorf("%w: lab.yaml pins room %s to %s version %d: change it there", ErrInvalid, p.Room, room.Image, room.Version)
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

// circle shows the way on which the room that a promotion waits for waits for that promotion; "" =
// it does not.
func (k *Keeper) circle(room string, t *state.Target) string {
	way := []string{room}
	for at := t; at != nil && at.After != "" && !at.Open && at.Image == t.Image && at.Version == t.Version; {
		next := at.After
		looped := slices.Contains(way, next)
		if way = append(way, next); looped {
			return strings.Join(way, " after ")
		}
		at = k.o.State.Room(next).Current()
	}
	return ""
}

// Promote gives a room a version: machines follow in the next window. It is on the disk when nil is
// returned.
func (k *Keeper) Promote(ctx context.Context, p Promotion) (*state.Target, error) {
	l := k.Lab()
	t, err := k.target(ctx, l, &p)
	if err != nil {
		return nil, err
	}
	if err := errline.Join(k.setsUp(ctx, l, &p, t), k.takesAll(ctx, l, &p, t)); err != nil {
		return nil, err
	}
	return k.put(p.Room, *t)
}

// setsUp refuses a version whose Windows has still to be set up for more than one machine, unless
// that is meant.
func (k *Keeper) setsUp(ctx context.Context, l *lab.Lab, p *Promotion, t *state.Target) error {
	s, err := k.o.Sizes.Size(ctx, t.Image, 0, t.Version)
	if err != nil || !s.Setup || p.Setup {
		return err
	}
	n := 0
	for _, h := range k.hosts(l, p.Room) {
		if follows(h.host, t.Image) {
			n++
		}
	}
	if n < 2 {
		return nil
	}
	return fmt.Errorf("%w: the Windows of %s version %d has still to be set up, and each of the %d machines of room %s would go through that: promote it to the room of one, or use 'troy promote --yes'",
		ErrInvalid, t.Image, t.Version, n, p.Room)
}

func (k *Keeper) put(room string, t state.Target) (*state.Target, error) {
	k.supersede(k.Lab(), room)
	t, err := k.o.State.Promote(room, t)
	if err != nil {
		return nil, err
	}
	k.changed.tell()
	return &t, nil
}

// Previous returns the target that a rollback of a room would bring back: the newest before the
// current one that is another version of the same image, was not rolled back since, and is still in
// the store. ErrNotFound if there is none.
func (k *Keeper) Previous(room string) (*state.Target, error) {
	r := k.o.State.Room(room)
	now := r.Current()
	if now == nil {
		return nil, fmt.Errorf("%w: nothing was promoted to room %q", ErrNotFound, room)
	}
	bad := left(r.Targets)
	for i := len(r.Targets) - 2; i >= 0; i-- {
		t := r.Targets[i]
		if t.Image != now.Image || t.Version == now.Version || bad[t.Version] {
			continue
		}
		if _, err := k.o.Sizes.Size(context.Background(), t.Image, 0, t.Version); !errors.Is(err, ErrNotFound) {
			return &t, nil
		}
	}
	return nil, fmt.Errorf("%w: room %q had no other version of %s before", ErrNotFound, room, now.Image)
}

// left gives the versions of the image in force that a rollback has left: going back twice does not
// come back to what was bad. One that was promoted again since was not.
func left(targets []state.Target) map[int]bool {
	bad := map[int]bool{}
	image, before := targets[len(targets)-1].Image, 0
	for _, t := range targets {
		switch {
		case t.Image != image:
			before = 0
			continue
		case t.Rollback && before != 0 && before != t.Version:
			bad[before] = true
		}
		delete(bad, t.Version)
		before = t.Version
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
	if err := k.takesAll(ctx, k.Lab(), &p, t); err != nil {
		return nil, err
	}
	t.Rollback = true
	return k.put(p.Room, *t)
}

// Stop keeps machines of a room from beginning, also those that lab.yaml pins; those at work go on.
// why "" lets them begin again.
func (k *Keeper) Stop(room, why string) error {
	l := k.Lab()
	if _, ok := l.Room(room); !ok {
		return fmt.Errorf("%w: room %q is not in lab.yaml", ErrNotFound, room)
	}
	pins := slices.ContainsFunc(l.HostsOf(room), func(h *lab.Host) bool { return h.Version > 0 })
	g, failed, stopped := k.standing(l, room)
	switch {
	case g == nil && !pins:
		return fmt.Errorf("%w: nothing was promoted to room %q", ErrNotFound, room)
	case why == "" && stopped && g.Stopped == "":
		return fmt.Errorf("%w: nobody stopped room %s, %d machines failed there; promote %s@%d once more and let them retry", ErrInvalid, room, len(failed), g.Image, g.Version)
	}
	defer k.changed.tell()
	return k.o.State.StopRoom(room, why)
}
