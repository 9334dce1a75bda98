package qemutests

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/internal/testing/testlab"
	"troy/server/protocol"
	"troy/server/rooms"
)

// restored is a site whose server died, with two PCs that have seen more than the backup holds.
type restored struct {
	t      *testing.T
	lab    *testlab.Lab
	server *testlab.Server
	// lost had the version that was published after the backup, behind the one before it.
	lost, behind *testlab.PC
}

// TestRestored: the store is restored from last week's backup, and what was lost is published
// again: the same image, keys and number, another content. A PC refuses what is signed below what
// it has seen, and goes on by itself once it is signed above it. The one that has the lost version
// is told that it is another one, and nothing is written; adopted, it has the content of the store.
func TestRestored(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1; TestStoreRestored and TestRestoredFromBackup of package agent try the same without a machine")
		return
	}
	r := newRestored(t)
	again := r.publishAgain()
	another := func() { r.untouched(r.lost, protocol.OutcomeWaiting, "another "+testlab.Image+" version 3", "--adopt") }
	another()
	r.untouched(r.behind, protocol.OutcomeFailed, "older than", "its current version starts")
	inOrder(t, "troy key sign", r.admin("key", "sign", "--at-least", "--yes"), "signed the store's contents above all that PCs have seen")

	r.start(r.behind, "version 3 is committed")
	r.is(r.behind, rooms.PhaseCurrent, false)
	another()
	h := r.is(r.lost, rooms.PhasePermit, true)
	r.admin("verify", "--host", h.Name, "--adopt")
	r.start(r.lost, "what Windows wrote since the last reset is discarded", "version 3 is committed")
	r.is(r.lost, rooms.PhaseCurrent, false)
	for _, pc := range []*testlab.PC{r.lost, r.behind} {
		if _, err := pc.Holds(t.Context(), again); err != nil {
			t.Errorf("%s: %v", filepath.Base(pc.Disk), err)
		}
		r.start(pc, "nothing to do")
	}
}

func newRestored(t *testing.T) *restored {
	t.Helper()
	r := &restored{t: t, lab: small(t)}
	backup := r.lab.Store + ".backup"
	r.must(exec.CommandContext(t.Context(), "cp", "-a", r.lab.Store, backup).Run())
	r.must(r.lab.AddRaw(t.Context(), r.content("lost", 15<<20)))
	for _, scope := range []string{"clear", "wipe"} { // more was signed in that week
		r.admin("permit", scope, "--disk", "S1234567", "--until", "2099-12-31", "--yes")
	}
	r.lost, r.behind = r.pc("lost"), r.pc("behind")
	r.serve(2)
	r.start(r.behind, "version 2 is committed")
	r.serve(3)
	r.start(r.lost, "version 3 is committed")
	r.stop()
	r.must(os.RemoveAll(r.lab.Store))
	r.must(os.Rename(backup, r.lab.Store))
	return r
}

// publishAgain publishes another version 3 and starts the server, and returns its content.
func (r *restored) publishAgain() (raw string) {
	r.t.Helper()
	raw = r.content("again", 18<<20)
	r.must(r.lab.AddRaw(r.t.Context(), raw))
	r.serve(3)
	return raw
}

func (r *restored) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *restored) admin(command string, args ...string) string {
	r.t.Helper()
	out, err := r.lab.Admin(r.t.Context(), command, args...)
	r.must(err)
	return out
}

func (r *restored) pc(name string) *testlab.PC {
	r.t.Helper()
	pc, err := r.lab.NewPC(r.t.Context(), name)
	r.must(err)
	return pc
}

// content is version 2 with something else at a place.
func (r *restored) content(text string, at int) (raw string) {
	r.t.Helper()
	disk, err := os.ReadFile(r.lab.Windows.V2)
	r.must(err)
	copy(disk[at:], bytes.Repeat([]byte(text), 1<<18))
	raw = filepath.Join(filepath.Dir(r.lab.Store), text+".raw")
	r.must(os.WriteFile(raw, disk, 0o644))
	return raw
}

func (r *restored) serve(version int) {
	r.t.Helper()
	r.stop()
	var err error
	r.server, err = r.lab.Serve(r.t.Context(), testlab.Room{Version: version, Keys: "merge: now"})
	r.must(err)
	r.t.Cleanup(r.server.Kill)
}

func (r *restored) stop() {
	r.t.Helper()
	if r.server != nil {
		_, err := r.server.Stop()
		r.must(err)
		r.server = nil
	}
}

// start starts a PC, in which Windows then runs.
func (r *restored) start(pc *testlab.PC, words ...string) {
	r.t.Helper()
	r.boot(pc, words...)
	windowsRan(r.t, pc)
}

// untouched is start for a PC that says why it takes nothing: only what it notes is written.
func (r *restored) untouched(pc *testlab.PC, outcome protocol.Outcome, words ...string) {
	r.t.Helper()
	before := withoutJournal(r.t, pc)
	r.boot(pc, words...)
	if withoutJournal(r.t, pc) != before {
		r.t.Error("the disk was written to")
	}
	windowsRan(r.t, pc)
	reports, err := r.server.Reports()
	r.must(err)
	if last := reports[len(reports)-1]; last.Outcome != outcome {
		r.t.Errorf("report: %+v", last)
	}
}

func (r *restored) boot(pc *testlab.PC, words ...string) {
	r.t.Helper()
	begin := time.Now()
	serial, err := pc.ToWindows(r.t.Context())
	if err != nil {
		r.t.Fatalf("%v\n%s", err, serial)
	}
	inOrder(r.t, "the serial line", serial, append(words, "restarting into Windows")...)
	r.t.Logf("a start: %.0f s", time.Since(begin).Seconds())
}

// is fails unless the server says this of a PC: what it has of the version that is wanted, and
// whether that is another one's.
func (r *restored) is(pc *testlab.PC, phase rooms.Phase, another bool) rooms.Host {
	r.t.Helper()
	var hosts []rooms.Host
	r.must(r.lab.AdminJSON(r.t.Context(), &hosts, "hosts"))
	for _, h := range hosts {
		if strings.EqualFold(h.UUID, pc.UUID) {
			if h.Phase != phase || h.Version != 3 || h.Another != another {
				r.t.Errorf("%s is %s with version %d, another: %t, error %q; want %s, 3, %t", h.Name, h.Phase, h.Version, h.Another, h.Error, phase, another)
			}
			return h
		}
	}
	r.t.Fatalf("the server does not know %s", pc.UUID)
	return rooms.Host{}
}
