package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"troy/internal/testing/crashdisk"
	"troy/vhdx"
)

// A random machine does everything that a machine can do, start after start, while its disk fails
// in every way: errors and unreadable pages, short writes, failing flushes, power cuts, and the rot
// of one copy of what stands twice. The model knows what may be read: the versions byte by byte, the
// session on top, what the journal keeps for the agent, and when nothing may boot.
//
// TROY_SEED=n plays one machine, TROY_RANDOM=15m as many as fit into that time; TROY_SOAK an hour.
func TestRandomMachine(t *testing.T) {
	if s := os.Getenv("TROY_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		must(t, err)
		w := newWorld(t, seed)
		err = w.play()
		t.Log(strings.Join(w.trace, "\n"))
		must(t, err)
		return
	}
	first, sum := rand.Uint64(), counts{}
	done := func(n uint64) bool { return n == 6 }
	if d := randomTime(t); d > 0 {
		end := time.Now().Add(d)
		done = func(uint64) bool { return time.Now().After(end) }
	}
	t.Logf("seeds from %d", first)
	n := uint64(0)
	for ; !done(n); n++ {
		w := newWorld(t, first+n)
		if err := w.play(); err != nil {
			t.Fatalf("TROY_SEED=%d: %v\n%s", first+n, err, strings.Join(w.trace, "\n"))
		}
		sum.add(w.counts)
	}
	t.Logf("%d machines: %+v", n, sum)
	if sum.Ops == 0 || sum.Cuts == 0 || sum.Faults == 0 || sum.Rots == 0 || sum.Named == 0 {
		t.Error("something was not tried")
	}
}

// randomTime is how long to go on; 0: a few machines.
func randomTime(t *testing.T) time.Duration {
	if s := os.Getenv("TROY_RANDOM"); s != "" {
		d, err := time.ParseDuration(s)
		must(t, err)
		return d
	}
	if soak() > 1 {
		return time.Hour
	}
	return 0
}

// counts says what was done.
type counts struct{ Starts, Ops, Refused, Faults, Stopped, Cuts, Rots, Sessions, Named int }

func (c *counts) add(d counts) {
	c.Starts, c.Ops, c.Refused, c.Faults = c.Starts+d.Starts, c.Ops+d.Ops, c.Refused+d.Refused, c.Faults+d.Faults
	c.Stopped, c.Cuts, c.Rots, c.Sessions = c.Stopped+d.Stopped, c.Cuts+d.Cuts, c.Rots+d.Rots, c.Sessions+d.Sessions
	c.Named += d.Named
}

// shown is what a machine may boot; version 0: nothing, for a reinstall is not finished, or broken.
type shown struct {
	version int
	broken  bool   // the parent was opened elsewhere
	data    []byte // with the session
	session bool   // Windows wrote to it
	named   string // SumEdits of what is over the version
	staged  int    // version that waits for Commit; -1: that is open
	memo    string // what the journal keeps for the agent
}

// world is a machine and its model.
type world struct {
	counts
	t        *testing.T
	rnd      *rand.Rand
	rig      *rig
	versions map[int][]byte    // without a session
	next     int               // number of the next version
	can      []shown           // what the disk holds, one of these
	past     []segment         // since the recording began
	begun    *update           // version whose stage was begun
	on       int               // version that begun was made for
	order    int               // version of the reinstall that was begun
	before   shown             // the parent was opened elsewhere
	edits    map[string][]Edit // identities, by SumEdits
	sure     bool              // what was read is in both copies
	calm     bool              // nothing fails
	trace    []string
}

// segment is one act in the recording, up to a call: what a power cut in it may leave, and one right
// after it.
type segment struct {
	end         int // calls in the log
	during, can []shown
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 77)), next: 2, versions: map[int][]byte{}, edits: map[string][]Edit{}}
	virtual := []int64{6 * mib, 8 * mib}[w.rnd.IntN(2)]
	payload := []int64{virtual, virtual, 3 * mib}[w.rnd.IntN(3)]
	w.rig = newRig(t, virtual, []uint32{512, 4096}[w.rnd.IntN(2)], payload)
	must(t, open(t, w.rig.disk).Reset(ctx)) // from here on sessions are known
	w.versions[1] = w.rig.now
	w.can = []shown{{version: 1, data: w.rig.now}}
	w.restart(w.rig.disk)
	return w
}

func (w *world) chance(percent int) bool { return w.rnd.IntN(100) < percent }

func (w *world) say(format string, a ...any) { w.trace = append(w.trace, fmt.Sprintf(format, a...)) }

// restart begins a recording of a disk on which everything is durable.
func (w *world) restart(d *crashdisk.Disk) {
	w.rig.disk = d
	d.Start()
	w.past = []segment{{during: w.can, can: w.can}}
}

// play lets a machine live for a while.
func (w *world) play() error {
	for range 24 {
		w.Starts++
		if err := w.start(); err != nil {
			return err
		}
	}
	return w.rest()
}

// start is one start: look at what is there, do something, and let the power go, or Windows run.
func (w *world) start() error {
	if w.sure && w.chance(50) {
		w.rot()
	}
	for range 1 + w.rnd.IntN(3) {
		now, s, err := w.observe()
		if err != nil {
			return err
		}
		if err := w.act(now, w.choose(now, s)); err != nil {
			return err
		}
	}
	now, s, err := w.observe()
	switch {
	case err != nil:
		return err
	case w.chance(45):
		w.cut()
	case w.chance(40):
		return w.windows(now)
	case w.chance(25):
		w.elsewhere(now, s)
	}
	return nil
}

// observe wants both readers to see one of what the disk may hold, and Open to say the same.
func (w *world) observe() (now shown, s State, err error) {
	d := w.rig.disk
	var data [][]byte
	for _, c := range w.can {
		if data = append(data, c.data); c.version == 0 {
			data[len(data)-1] = w.versions[1]
		}
	}
	c := newChecker(d, data...)
	c.states = w.rnd.IntN(64)
	seen, dead := c.match(d)
	m, opened := Open(filesOf(d))
	broken := errors.Is(opened, ErrParentChanged)
	if opened == nil {
		s = m.State()
	} else if !broken {
		return now, s, fmt.Errorf("the machine does not open: %w", opened)
	}
	j, err := OpenJournal(filesOf(d).Journal)
	must(w.t, err)
	memo, err := j.Get(RecordAgent)
	must(w.t, err)
	var left []shown
	for i, c := range w.can {
		boots := dead == nil && seen&(1<<i) != 0 && c.version != 0 && c.version == s.Version && c.session == s.SessionWritten && w.isNamed(c, s) && opened == nil && !s.Reinstalling && (c.staged < 0 || c.staged == s.Staged)
		nothing := dead != nil && c.version == 0 && c.broken == broken && s.Reinstalling == !broken
		if (boots || nothing) && c.memo == string(memo) {
			left = append(left, c)
		}
	}
	if len(left) == 0 {
		return now, s, fmt.Errorf("readers see %b (%v) of %v, the machine says %+v (%v), the agent's record is %q", seen, dead, w.can, s, opened, memo)
	}
	if len(d.Log()) == 0 { // all of it is durable
		w.can = left
		w.past = []segment{{during: left, can: left}}
		w.sure = false
	}
	if opened == nil && !s.Reinstalling {
		err = w.labels(m, s)
	}
	if left[0].named != "" {
		w.Named++
	}
	return left[0], s, err
}

// isNamed wants the machine to know what it is called, and to have to be named only while it is as it
// was published.
func (w *world) isNamed(c shown, s State) bool {
	return c.named == s.IdentityApplied && !s.IdentityUnknown && !(s.IdentityPending && (c.session || c.named != ""))
}

// labels wants each version that State names to be what it is called.
func (w *world) labels(m *Machine, s State) error {
	for what, version := range map[string]int{"staged": s.Staged, "previous": s.Previous} {
		if version != 0 && w.versions[version] == nil {
			return fmt.Errorf("the %s version is called %d, which was never made", what, version)
		}
	}
	for _, l := range []Label{{Version: s.Version, Manifest: s.Manifest}, {Version: s.Staged, Manifest: s.StagedManifest}, {Version: s.Previous, Manifest: s.PreviousManifest}} {
		if l.Manifest != "" && l.Manifest != fmt.Sprint(l.Version) {
			return fmt.Errorf("version %d has the manifest of %s", l.Version, l.Manifest)
		}
	}
	if s.BaseVersion == 0 || !w.chance(30) {
		return nil
	}
	base, err := vhdx.NewChain(m.base.v)
	must(w.t, err)
	got, err := readDiskOf(base, w.rig.virtual)
	if err != nil || !bytes.Equal(got, w.versions[s.BaseVersion]) {
		return fmt.Errorf("the parent alone is not version %d (%v)", s.BaseVersion, err)
	}
	return nil
}

// String leaves the bytes out.
func (s shown) String() string {
	return fmt.Sprintf("{%d broken %v session %v named %.4s staged %d %q}", s.version, s.broken, s.session, s.named, s.staged, s.memo)
}

// act does something under a random fault.
func (w *world) act(now shown, a *act) error {
	w.Ops++
	d := w.rig.disk
	hook, hit, what := w.fault()
	d.SetHook(hook)
	err := a.run(filesOf(d))
	d.SetHook(nil)
	during := together(w.can, a.via, []shown{a.after})
	switch {
	case hit():
		w.Faults++
		w.can = []shown{a.after}
		if err != nil {
			w.Stopped++
			w.can = during
		}
	case err == nil:
		w.can = []shown{a.after}
	case mayRefuse(err):
		w.Refused++
		w.can = []shown{now}
	default:
		return fmt.Errorf("%s: %w", a.name, err)
	}
	w.sure = w.sure || err == nil || len(d.Log()) > 0
	w.past = append(w.past, segment{end: len(d.Log()), during: during, can: w.can})
	w.say("%s, %s, hit %v: %v; %v", a.name, what, hit(), err, w.can)
	return nil
}

// together joins sets.
func together(sets ...[]shown) (all []shown) {
	for _, c := range slices.Concat(sets...) {
		if !slices.ContainsFunc(all, func(d shown) bool { return d.String() == c.String() && bytes.Equal(d.data, c.data) }) {
			all = append(all, c)
		}
	}
	return all
}

// fault draws what fails. Concurrent reads come in any order, so that a read fails by its place.
func (w *world) fault() (hook crashdisk.Hook, hit func() bool, what string) {
	kind, n, seed := w.rnd.IntN(100), 1+w.rnd.IntN(1+w.rnd.IntN(60)), w.rnd.Uint64()
	switch {
	case kind < 50 || w.calm:
		return nil, func() bool { return false }, "no fault"
	case kind < 65:
		failed, happened := map[string]bool{}, false
		dead := kind < 55
		return func(c crashdisk.Call) (int, error) {
			place := fmt.Sprint(c.File, c.Off)
			if c.Kind != crashdisk.Read || failed[place] && !dead || rand.New(rand.NewPCG(seed, hash(place))).IntN(40) != 0 {
				return 0, nil
			}
			failed[place], happened = true, true
			return 0, syscall.EIO
		}, func() bool { return happened }, fmt.Sprintf("EIO of reads, for good %v", dead)
	}
	f, dead := crashdisk.Fault(w.rnd.IntN(4)), kind < 75
	inner, hit := crashdisk.FailAt(n, f, dead)
	written := 0
	return func(c crashdisk.Call) (int, error) {
		if c.Kind != crashdisk.Read {
			written++
		}
		c.N = written
		if c.Kind == crashdisk.Read && !(dead && hit()) {
			return 0, nil
		}
		return inner(c)
	}, hit, fmt.Sprintf("%v of write %d, for good %v", f, n, dead)
}

func hash(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64()
}

// mayRefuse tells what may be refused on a sound disk.
func mayRefuse(err error) bool {
	for _, e := range []error{ErrTooBig, ErrNoSlot, ErrNothingStaged, ErrNotMerged, ErrNotHealthy, ErrMergeStarted, ErrNoRollback, ErrSession, context.Canceled} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// cut lets the power go at some instant of the recording.
func (w *world) cut() {
	w.Cuts++
	s := w.rig.disk.Random(w.rnd.Uint64())
	for _, p := range w.past {
		if w.can = p.during; s.Op == p.end {
			w.can = p.can
		}
		if s.Op <= p.end {
			break
		}
	}
	w.sure = true
	w.say("power cut: %v of %d calls: %v", s, len(w.rig.disk.Log()), w.can)
	w.restart(s.Disk)
}
