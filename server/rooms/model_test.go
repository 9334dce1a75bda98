package rooms

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"troy/server/protocol"
	"troy/server/state"
)

// TestRandomLab lives through random histories: starts, reports, machines that die, promotions,
// rollbacks, stops, pins, versions that are removed, machines that are forgotten, restarts, and a
// clock that jumps; and compares what the Keeper says with what may never be. TROY_SEED=n plays one
// history, TROY_RANDOM=15m as many as fit into that time; TROY_SOAK an hour.
func TestRandomLab(t *testing.T) {
	if s := os.Getenv("TROY_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		playLab(t, seed)
		return
	}
	begun, n, first := 0, 0, rand.Uint64()
	for end := time.Now().Add(randomTime(t)); time.Now().Before(end) && !t.Failed(); n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) { begun += playLab(t, first+uint64(n)) })
	}
	t.Logf("%d histories, %d starts of work", n, begun)
	if begun == 0 {
		t.Error("no machine began: the test looks at nothing")
	}
}

// randomTime is how long random histories are played.
func randomTime(t *testing.T) time.Duration {
	t.Helper()
	if s := os.Getenv("TROY_RANDOM"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if os.Getenv("TROY_SOAK") == "1" {
		return time.Hour
	}
	return 3 * time.Second
}

// playLab plays one history, and returns how often a machine began to work in it.
func playLab(t *testing.T, seed uint64) int {
	t.Helper()
	m := newRandomLab(t, seed)
	defer m.w.state.Close()
	for range 150 {
		if m.step(); t.Failed() {
			t.Fatalf("TROY_SEED=%d\n%s", seed, strings.Join(m.story, "\n"))
		}
	}
	return m.begun
}

// simulated is a machine as it really is.
type simulated struct {
	n       int
	host    string
	room    string
	version int
	known   bool      // by its key
	order   time.Time // when it was told to begin; zero = it does not work
	shown   int       // version in which it checked in healthy, as it was ordered, since it has it
	tries   int       // begun at the goal, without a report or failed
	goal    wave
	last    time.Time // of those tries
}

// randomLab is a lab in which anything happens.
type randomLab struct {
	t        *testing.T
	r        *rand.Rand
	w        *world
	machines []*simulated
	store    map[int]bool // versions of win11
	bad      map[int]bool // of which Windows does not come up
	pins     map[string]int
	opened   map[uint64]bool // promotions whose gate was seen open
	begun    int
	story    []string
}

// Size implements Sizes.
func (m *randomLab) Size(_ context.Context, name string, have, want int) (Size, error) {
	if name != "win11" || !m.store[want] || have != 0 && !m.store[have] {
		return Size{}, ErrNotFound
	}
	return Size{Fetch: 1 << 20, Write: 2 << 20, Manifest: fmt.Sprintf("%064x", want)}, nil
}

func newRandomLab(t *testing.T, seed uint64) *randomLab {
	m := &randomLab{t: t, r: rand.New(rand.NewPCG(seed, 3)), store: map[int]bool{}, bad: map[int]bool{}, pins: map[string]int{}, opened: map[uint64]bool{}}
	for v := 1; v <= 6; v++ {
		m.store[v], m.bad[v] = true, m.r.IntN(4) == 0
	}
	for _, x := range []struct {
		n    int
		host string
		room string
	}{{1, "test-1", "test"}, {2, "test-2", "test"}, {201, "b204-1", "B204"}, {202, "b204-2", "B204"}, {203, "b204-3", "B204"}, {204, "b204-4", "B204"}, {205, "b204-5", "B204"}} {
		m.machines = append(m.machines, &simulated{n: x.n, host: x.host, room: x.room, version: 1 + m.r.IntN(3)})
	}
	m.w = &world{t: t, dir: t.TempDir(), now: at(t, "22 21:00")}
	m.w.putLab(m.lab())
	m.start()
	return m
}

// lab is lab.yaml with the pins of now.
func (m *randomLab) lab() string {
	text := strings.ReplaceAll(labText, ", version: 3}", "}")
	for name, v := range m.pins {
		if s := m.named(name); s != nil {
			mac := fmt.Sprintf("%q}", machine(s.n).Ports[0].MAC)
			text = strings.Replace(text, mac, strings.TrimSuffix(mac, "}")+fmt.Sprintf(", version: %d}", v), 1)
		} else {
			text = strings.Replace(text, "  "+name+": {", fmt.Sprintf("  %s: {version: %d, ", name, v), 1)
		}
	}
	return text
}

func (m *randomLab) named(host string) *simulated {
	i := slices.IndexFunc(m.machines, func(s *simulated) bool { return s.host == host })
	if i < 0 {
		return nil
	}
	return m.machines[i]
}

func (m *randomLab) start() {
	m.w.start()
	m.w.k.o.Sizes = m
}

func (m *randomLab) tell(format string, args ...any) {
	m.story = append(m.story, m.w.now.Format("Jan _2 15:04:05 ")+fmt.Sprintf(format, args...))
}

// step lets one thing happen, and checks what has to hold.
func (m *randomLab) step() {
	s := m.machines[m.r.IntN(len(m.machines))]
	room := []string{"test", "B204"}[m.r.IntN(2)]
	version := 1 + m.r.IntN(6)
	switch m.r.IntN(20) {
	case 0, 1:
		m.promote(room, version)
	case 2:
		m.rollback(room)
	case 3:
		why := []string{"", "stopped"}[m.r.IntN(2)]
		m.tell("stop %s %q: %v", room, why, m.w.k.Stop(room, why))
	case 4:
		m.store[version] = m.r.IntN(3) > 0
		m.tell("version %d in the store: %v", version, m.store[version])
	case 5:
		m.pin([]string{s.host, "test", "B204"}[m.r.IntN(3)], version)
	case 6:
		m.restart()
	case 7:
		m.forget(s)
	case 8:
		m.jump()
	case 9, 10, 11:
		m.w.now = m.w.now.Add(time.Duration(m.r.IntN(40)) * time.Minute)
	case 12, 13, 14:
		m.tick()
	default:
		m.live(s)
	}
	m.check()
}

func (m *randomLab) promote(room string, version int) {
	after := []string{"none", "test", "B204"}[m.r.IntN(3)]
	retry := m.r.IntN(2) == 0
	_, err := m.w.k.Promote(m.t.Context(), Promotion{Room: room, Version: version, After: after, Retry: retry})
	m.tell("promote %s %d after %s: %v", room, version, after, err)
	if err == nil && !m.store[version] {
		m.t.Error("a version that is not in the store was promoted")
	}
}

func (m *randomLab) rollback(room string) {
	before := m.w.state.Room(room).Current()
	got, err := m.w.k.Rollback(m.t.Context(), Promotion{Room: room})
	m.tell("rollback of %s: %v", room, err)
	if err == nil && (!m.store[got.Version] || got.Version == before.Version) {
		m.t.Errorf("%+v was rolled back to %+v", before, got)
	}
}

// pin pins a host or room by lab.yaml, or frees it again.
func (m *randomLab) pin(name string, version int) {
	if _, pinned := m.pins[name]; pinned {
		delete(m.pins, name)
	} else {
		m.pins[name] = version
	}
	m.w.putLab(m.lab())
	m.w.k.Reload(true)
	m.tell("pins: %v %v", m.pins, m.w.k.LabError())
	if err := m.w.k.LabError(); err != nil {
		m.t.Fatal(err)
	}
}

// restart is a server that is killed and starts again: it knows what it knew.
func (m *randomLab) restart() {
	before := m.w.k.Status()
	m.tell("restart")
	m.w.state.Close()
	m.start()
	after := m.w.k.Status()
	for i, r := range before.Rooms {
		a := after.Rooms[i]
		if r.Counts[PhaseSilent] > 0 {
			continue // silence counts anew, and what it stops goes on
		}
		if !maps.Equal(r.Counts, a.Counts) || r.Healthy != a.Healthy || r.Want != a.Want || r.Stopped != a.Stopped || r.Why != a.Why && before.Rooms[1-i%2].Counts[PhaseSilent] == 0 && m.quiet(before) {
			m.t.Errorf("before the restart %+v, after it %+v", r, a)
		}
	}
}

// quiet tells whether no machine is silent.
func (m *randomLab) quiet(s *Status) bool {
	return !slices.ContainsFunc(s.Rooms, func(r Room) bool { return r.Counts[PhaseSilent] > 0 })
}

func (m *randomLab) forget(s *simulated) {
	id := m.w.id(s.n)
	if id == "" || m.r.IntN(2) > 0 {
		return
	}
	m.tell("forget %s: %v", s.host, m.w.k.Forget(id))
	s.known, s.shown, s.tries, s.order = false, 0, 0, time.Time{}
}

// jump sets the clock, forward or back. Machines at work are past their time by a clock that jumped
// forward, and have it once more by one that was set back.
func (m *randomLab) jump() {
	d := []time.Duration{-25 * time.Hour, -40 * time.Minute, 24 * time.Hour, 23 * time.Hour}[m.r.IntN(4)]
	m.w.now = m.w.now.Add(d)
	m.tell("the clock jumps by %s", d)
	for _, s := range m.machines {
		if s.order = s.order.Add(min(d, 0)); d > 0 {
			s.order = time.Time{}
		}
		if d < 0 {
			s.tries = 0 // pauses between its starts are not known
		}
	}
}

func (m *randomLab) tick() {
	woken := strings.Fields(m.w.tick(0))
	m.tell("tick: %v", woken)
	calls := map[string]int{}
	for _, host := range woken {
		calls[m.named(host).room]++
	}
	for room, n := range calls {
		if p, _ := m.w.k.Lab().Room(room); n > int(p.Wave) || !*p.Wake {
			m.t.Errorf("room %s: %d machines are called", room, n)
		}
	}
}

// live starts a machine and lets it do what it is told, more or less.
func (m *randomLab) live(s *simulated) {
	before := m.w.room(s.room)
	goal := m.goalOf(s)
	o := m.w.checkIn(s.n, s.version, func(c *protocol.CheckIn) {
		if c.Health = protocol.HealthGood; m.bad[s.version] {
			c.Health = protocol.HealthFailing
		} else if m.r.IntN(3) == 0 {
			c.Health = protocol.HealthUnknown
		}
		if s.shown = 0; c.Health == protocol.HealthGood {
			s.shown = s.version // if it is ordered: see below
		}
	})
	s.known = m.w.state.Get(m.w.id(s.n)).Pin != ""
	if version(&o) != s.version {
		s.shown = 0
	}
	m.tell("%s starts with %d: %d %q", s.host, s.version, version(&o), o.Reason)
	s.order = time.Time{}
	if !begins(&o) {
		return
	}
	m.began(s, goal, &before, &o)
	switch m.r.IntN(5) {
	case 0:
		m.w.report(s.n, s.version, protocol.OutcomeFailed, "bad disk")
		s.order = time.Time{}
	case 1: // dies, or works on
	default:
		s.version, s.shown, s.tries, s.order = version(&o), 0, 0, time.Time{}
		m.w.report(s.n, s.version, protocol.OutcomeDone, "")
	}
	m.tell("  has %d", s.version)
}

// goalOf is what the machine should have.
func (m *randomLab) goalOf(s *simulated) wave {
	l := m.w.k.Lab()
	if g := m.w.k.goal(l, s.room, l.HostNamed(s.host)); g != nil {
		return g.key()
	}
	return wave{}
}

// began checks that a machine may begin, as it was told.
func (m *randomLab) began(s *simulated, goal wave, r *Room, o *protocol.Order) {
	m.begun++
	if s.goal != goal {
		s.goal, s.tries = goal, 0
	}
	if s.tries == 0 || m.w.now.Sub(s.last) >= againTime {
		s.tries, s.last = s.tries+1, m.w.now
	}
	s.order = m.w.now
	working := 0
	for _, x := range m.machines {
		if x.room == s.room && x.known && !x.order.IsZero() && m.w.now.Sub(x.order) <= staleTime {
			working++
		}
	}
	p, _ := m.w.k.Lab().Room(s.room)
	t := r.Target
	byPromotion := m.pins[s.host] == 0 && m.pins[s.room] == 0
	switch {
	case version(o) != goal.version:
		m.t.Errorf("%s is told %d, its goal is %+v", s.host, version(o), goal)
	case !m.store[version(o)]:
		m.t.Errorf("%s begins with %d, which the store does not have", s.host, version(o))
	case !m.store[s.version]:
		m.t.Errorf("%s is updated from %d, which the store does not have", s.host, s.version)
	case s.known && working > int(p.Wave):
		m.t.Errorf("%s begins, and %d machines of the room work", s.host, working)
	case r.Stopped != "":
		m.t.Errorf("%s begins, and the room is stopped: %s", s.host, r.Stopped)
	case byPromotion && t.After != "" && !m.opened[t.ID] && !m.proven(t):
		m.t.Errorf("%s begins without proof of %+v", s.host, t)
	case s.tries > triesMost:
		m.t.Errorf("%s begins for the %d. time at %+v", s.host, s.tries, goal)
	}
}

// proven tells whether enough machines of the room before are healthy in a version.
func (m *randomLab) proven(t *state.Target) bool {
	p, _ := m.w.k.Lab().Room(t.After)
	all, good := 0, 0
	for _, s := range m.machines {
		if s.room != t.After || !s.known || m.goalOf(s).version != t.Version {
			continue
		}
		all++
		if s.shown == t.Version && s.version == t.Version {
			good++
		}
	}
	return good > 0 && good*100 >= int(p.Healthy)*all
}

// check looks at what has to hold at any time.
func (m *randomLab) check() {
	k := m.w.k
	if len(k.pending) != 0 {
		m.t.Errorf("slots are lost: %v", k.pending)
	}
	for _, r := range k.Status().Rooms {
		n := 0
		for _, c := range r.Counts {
			n += c
		}
		if n != r.Machines || r.Healthy > r.Counts[PhaseCurrent] {
			m.t.Errorf("%+v", r)
		}
		if t := r.Target; t != nil && t.Open && !m.opened[t.ID] {
			if m.opened[t.ID] = true; !m.proven(t) {
				m.t.Errorf("room %s: the gate of %+v is open without proof", r.Name, t)
			}
		}
	}
	k.mu.Lock()
	for room, ids := range k.members {
		for id := range ids {
			if x := k.o.State.Get(id); x == nil || k.marks[room][id] != (open(x) || suspect(x)) || k.placed[id] != room {
				m.t.Errorf("%s in room %s is marked: %v, %+v", id, room, k.marks[room][id], x)
			}
		}
	}
	k.mu.Unlock()
	nights, err := k.Nights(time.Time{})
	for _, n := range nights {
		hosts := len(k.Lab().HostsOf(n.Room))
		if n.Done+n.Failed+n.Missing > hosts || n.Begin.After(m.w.now) {
			m.t.Errorf("a night of %d machines: %+v", hosts, n)
		}
	}
	if err != nil {
		m.t.Error(err)
	}
}
