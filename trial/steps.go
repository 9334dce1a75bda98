package trial

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"troy/internal/durable"
	"troy/internal/progress"
	"troy/trial/inside"
	"troy/trial/prepare"
)

// imageName is the name of the image in the trial's store.
const imageName = "trial"

// Rooms of the trial: PC A is alone in the first, which keeps what Windows wrote.
const (
	roomA = "first"
	roomB = "second"
)

// step is one of the trial. It may be begun again after it was cut off.
type step struct {
	name, title string
	do          func(*Trial, context.Context) error
}

var steps = []step{
	{"store", "a store with keys of its own", (*Trial).makeStore},
	{"import", "the image becomes version 1", (*Trial).importImage},
	{"media", "boot media, and the agent's release", (*Trial).makeMedia},
	{"provision", "PC A has a bare disk: it is started from the stick, twice cut off, and Windows comes up", (*Trial).provision},
	{"capture", "what PC A holds becomes version 2", (*Trial).capture},
	{"change", "Windows changes its disk, and what changed becomes version 3", (*Trial).change},
	{"update", "PC B has a bare disk: it is made with version 2, then gets what changed", (*Trial).update},
	{"reset", "both PCs are reset", (*Trial).reset},
	{"cuts", "the power is cut", (*Trial).cutPower},
	{"dirty", "the power is cut in Windows, which then starts without the agent", (*Trial).dirtyLog},
	{"broken", "a version that cannot boot", (*Trial).brokenVersion},
	{"full", "Windows fills its drive", (*Trial).fillDrive},
	{"clock", "the clock is wrong", (*Trial).wrongClock},
	{"gates", "Windows tries the test disks", (*Trial).testDisks},
}

func (t *Trial) makeStore(ctx context.Context) error {
	for _, left := range []string{t.troy.store(), t.troy.keys()} { // by a step that was cut off
		if err := os.RemoveAll(left); err != nil {
			return err
		}
	}
	if _, err := t.troy.run(ctx, "init", "--yes", "--url", serverURL, t.troy.store()); err != nil {
		return err
	}
	why := []byte("The images of this store hold a program of troy try, which shuts Windows down.\n")
	if err := durable.WriteFile(filepath.Join(t.troy.store(), markFile), why, 0o644); err != nil {
		return err
	}
	return durable.WriteFile(t.lab(), []byte(t.labText()), 0o600)
}

// markFile marks a store whose images are for a trial alone.
const markFile = "trial-only"

// Owns reports whether a store is that of a trial: what is in it must not get to PCs.
func Owns(store string) bool {
	_, err := os.Stat(filepath.Join(store, markFile))
	return err == nil
}

func (t *Trial) lab() string { return filepath.Join(t.o.Dir, "lab.yaml") }

// labText has PCs whose power is cut, or that fail, keep nobody waiting.
func (t *Trial) labText() string {
	const common = "always: true, wave: 1000, failures: 1000, merge: lazy, provision: {allow: true}"
	a, b := t.pcs()
	return fmt.Sprintf("format: 1\nzone: UTC\nrooms:\n  %s: {%s, reset: update}\n  %s: {%s, reset: boot}\nhosts:\n  - {name: %s, room: %s, uuid: %s}\n  - {name: %s, room: %s, uuid: %s}\n",
		roomA, common, roomB, common, a.Name, roomA, a.UUID, b.Name, roomB, b.UUID)
}

// importImage publishes version 1. A medium gets the trial's answer file; an image the trial's
// program, in a child of its own.
func (t *Trial) importImage(ctx context.Context) error {
	if !t.has(ctx, 1) {
		args, err := t.importArguments(ctx)
		if err != nil {
			return err
		}
		if _, err := t.troy.run(ctx, args...); err != nil {
			return err
		}
	}
	if err := prepare.Clear(t.o.Dir); err != nil {
		return err
	}
	out, err := t.troy.run(ctx, "image", "show", "--store", t.troy.store(), "--json", imageName, "1")
	if err != nil {
		return err
	}
	var shown struct {
		Size int64 `json:"virtual_size"`
	}
	if err := json.Unmarshal([]byte(out), &shown); err != nil || shown.Size <= 0 {
		return fmt.Errorf("%w: troy image show says no size: %.200s", ErrCommand, out)
	}
	t.state.Size, t.state.Version, t.state.Good = shown.Size, 1, 1
	return nil
}

// has reports whether the store has a version.
func (t *Trial) has(ctx context.Context, version int) bool {
	return t.troy.command(ctx, "image", "show", "--store", t.troy.store(), imageName, strconv.Itoa(version)).Run() == nil
}

func (t *Trial) makeMedia(ctx context.Context) error {
	out := filepath.Join(t.o.Dir, "media")
	if _, err := t.troy.run(ctx, "media", "--bundle", t.o.Bundle, "--store", t.troy.store(), "--append", "console=tty0 console=ttyS0", "--out", out); err != nil {
		return err
	}
	const release = "try"
	list, err := t.troy.run(ctx, "agent", "list", "--store", t.troy.store())
	if err != nil || slices.Contains(strings.Fields(list), release) { // by a step that was cut off
		return err
	}
	_, err = t.troy.run(ctx, "agent", "publish", "--yes", "--version", release, "--store", t.troy.store(), filepath.Join(out, "agent"))
	return err
}

func (t *Trial) stick() string { return filepath.Join(t.o.Dir, "media", "usb.img") }

// serving has the server run: it is started when it is needed first, which in a trial that goes on
// may be in any step.
func (t *Trial) serving(ctx context.Context) (err error) {
	if t.server != nil {
		return t.server.alive()
	}
	t.server, err = t.troy.serve(ctx, t.lab())
	return err
}

// promote gives a room a version.
func (t *Trial) promote(ctx context.Context, room string, version int) error {
	if err := t.serving(ctx); err != nil {
		return err
	}
	_, err := t.troy.run(ctx, "promote", "--yes", "--store", t.troy.store(), "--room", room, fmt.Sprintf("%s@%d", imageName, version))
	return err
}

// diskSize is that of a PC's disk: what the files take in the worst case. It is sparse.
func (t *Trial) diskSize() int64 { return 3*t.state.Size + 2<<30 }

func (t *Trial) provision(ctx context.Context) error {
	a, _ := t.pcs()
	if err := t.promote(ctx, roomA, 1); err != nil {
		return err
	}
	if err := t.bare(ctx, a); err != nil {
		return err
	}
	for _, m := range making {
		if err := t.cutMaking(ctx, a, m); err != nil {
			return err
		}
	}
	_, v, err := t.up(ctx, a, power{stick: true, setup: t.source.Setup, order: inside.Order{Stamp: firstStamp}}, 1, expect{ballast: anyBallast, outside: firstStamp})
	if err != nil {
		return err
	}
	t.find("provision", true, "PC A was made by the agent from a bare disk, and its power was cut %d times meanwhile", len(making))
	t.state.Seen.Setup = t.source.Setup && v.Record.Phase == inside.Desktop
	return nil
}

// capture publishes what PC A holds: the image, and what setup and the first logon made of it.
func (t *Trial) capture(ctx context.Context) error {
	a, _ := t.pcs()
	out := t.golden(2)
	if err := os.MkdirAll(filepath.Dir(out), 0o700); err != nil {
		return err
	}
	if err := t.flatten(ctx, "reading what PC A holds", a, out, ""); err != nil {
		return err
	}
	return t.publish(ctx, 2, true, "--compare")
}

func (t *Trial) change(ctx context.Context) error {
	a, _ := t.pcs()
	if err := t.promote(ctx, roomA, 1); err != nil {
		return err
	}
	before, err := Look(a.disk(), 0)
	if err != nil {
		return err
	}
	_, v, err := t.up(ctx, a, power{order: inside.Order{Do: []inside.Action{inside.Fill, inside.Retrim}, Stamp: 3}}, 1, expect{ballast: anyBallast, outside: 3})
	if err != nil {
		return err
	}
	kept := v.Boot == before.Boot && v.Places == before.Places && len(v.Faults) == 0
	t.find("change", kept, "boot.vhdx: %d bytes, blocks at %08x; before Windows ran: %d, %08x", v.Boot, v.Places, before.Boot, before.Places)
	t.state.Seen.Trimmed = slices.Contains(v.Record.Did, inside.Retrim)
	t.state.Seen.Anchored = kept
	if err := t.flatten(ctx, "reading what Windows changed", a, t.golden(3), t.golden(2)); err != nil {
		return err
	}
	return t.publish(ctx, 3, true)
}

// flatten is the function of that name for the disk of a PC, with progress.
func (t *Trial) flatten(ctx context.Context, what string, p *pc, out, parent string) error {
	meter := progress.New(&indented{w: t.o.Out}, what, t.state.Size)
	defer meter.Done()
	return flatten(ctx, p.disk(), out, parent, meter.Add)
}

// golden is the file of a version after 1.
func (t *Trial) golden(version int) string {
	return filepath.Join(t.o.Dir, "golden", fmt.Sprintf("v%d.vhdx", version))
}

// publish publishes the file of the next version.
func (t *Trial) publish(ctx context.Context, version int, good bool, flags ...string) error {
	if !t.has(ctx, version) {
		args := slices.Concat([]string{"image", "add", "--yes", "--store", t.troy.store()}, flags, t.force(), []string{imageName, t.golden(version)})
		if _, err := t.troy.run(ctx, args...); err != nil {
			return err
		}
	}
	t.state.Version = version
	if good {
		t.state.Good = version
	}
	return t.save()
}

func (t *Trial) force() []string {
	if t.o.Force {
		return []string{"--force-unbootable"}
	}
	return nil
}

// next publishes a version that differs from the last in the ballast, and gives it to PC B.
func (t *Trial) next(ctx context.Context) (version int, err error) {
	version = t.state.Version + 1
	if err := child(t.golden(version-1), t.golden(version), withBallast(uint32(version))); err != nil {
		return 0, err
	}
	if err := t.publish(ctx, version, true); err != nil {
		return 0, err
	}
	return version, t.promote(ctx, roomB, version)
}

// anyBallast is for a start at which the ballast may be made only now.
const anyBallast = -1

// expect says what the ballast has to show at a start, and after it; 0 is the version's own stamp.
type expect struct{ ballast, outside int }

// agentSays begins what the agent says on the serial line.
const agentSays = "deploy: "

// up starts a PC that has to bring up Windows with a version, and looks at everything. If it does
// not come up the error is ErrStopped.
func (t *Trial) up(ctx context.Context, p *pc, how power, version int, want expect) (*outcome, *View, error) {
	o, err := t.start(ctx, p, how)
	if err != nil {
		return nil, nil, err
	}
	if !o.said(agentSays) { // a cut came between the agent's order to the firmware and its reset
		t.say("    note: the firmware started Windows without the agent, as that had ordered before the cut")
		if o, err = t.start(ctx, p, how); err != nil {
			return nil, nil, err
		}
	}
	v, err := Look(p.disk(), o.order)
	if err != nil {
		return nil, nil, err
	}
	r := v.Record
	step := p.Name
	if r == nil {
		why := "the PC was off before Windows left its record"
		if o.late {
			why = fmt.Sprintf("nothing came in %s", o.took.Round(time.Second))
		}
		if o.picture != "" {
			why += "; the screen: " + o.picture
		}
		t.find(step, false, "Windows did not come up with version %d: %s; %s", version, why, v)
		return o, v, fmt.Errorf("%w: Windows did not come up on %s", ErrStopped, p.Name)
	}
	t.find(step, v.State.Version == version && len(v.Faults) == 0, "Windows came up in %.0f s: %s", o.took.Seconds(), v)
	if !how.setup {
		t.state.Longest = max(t.state.Longest, o.took)
	}
	t.judge(step, r, v, version, want)
	t.state.Seen.start(v)
	t.state.Seen.record(r, v)
	return o, v, t.save()
}

// noDump are what a Windows that was booted natively from a VHDX says at each start: it cannot write
// a crash dump to where it runs.
var noDump = regexp.MustCompile(`^(\d+ times: )?volmgr (46|161) `)

// serious reports whether an entry of the event log is an error of a disk or a volume.
func serious(event string) bool {
	return !noDump.MatchString(event) && !strings.Contains(event, "(warning)")
}

// judge looks at what Windows and the disk say of a start.
func (t *Trial) judge(step string, r *inside.Record, v *View, version int, want expect) {
	stamp := uint32(orDefault(want.ballast, version))
	if want.ballast != anyBallast && !r.Ballast.One(stamp) {
		t.find(step, false, "Windows found a ballast of %s, want stamp %d", r.Ballast, stamp)
	}
	after := uint32(orDefault(want.outside, version))
	if !v.Ballast.One(after) {
		t.find(step, false, "the ballast on the disk: %s, want stamp %d", v.Ballast, after)
	}
	if !v.Closed {
		t.find(step, false, "Windows did not close its volume in order: %s", v.Unclean)
	}
	for _, e := range r.Events {
		if serious(e) {
			t.find(step, false, "the event log of Windows has an error: %s", e)
		} else {
			t.say("    note: the event log of Windows: %s", e)
		}
	}
	for _, f := range r.Failed {
		t.say("    note: %s", f)
	}
	if r.NotTold != "" {
		t.say("    note: it could not tell over the network: %s", r.NotTold)
	}
}
