package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"troy/chainload"
	"troy/chainload/selfboot"
	"troy/diskwriter/machine"
	"troy/internal/errline"
	"troy/internal/guid"
	"troy/server/protocol"
	"troy/vhdx"
)

// memo is what the agent remembers from one start to the next: machine.RecordAgent, as JSON.
type memo struct {
	Format int              `json:"format"`
	Health chainload.Health `json:"health"`
	// Session names the state of the boot child at the last hand-off: Windows gives it another DataWriteGuid.
	Session guid.GUID      `json:"session"`
	Agent   selfboot.State `json:"agent"`
	// Held is the newest version of each image that the machine ever had: writing another image in between is no way back.
	Held map[string]int `json:"held,omitempty"`
}

// memoFormat is that of the memo. A newer agent may have written another one.
const memoFormat = 1

// recall reads the memo. What cannot be read of it is as good as not there.
func (a *agent) recall() (m memo) {
	j := a.journal()
	if j == nil {
		return m
	}
	b, err := j.Get(machine.RecordAgent)
	if err == nil {
		m, err = parseMemo(b)
	}
	if err != nil {
		a.say("journal: what the agent remembered cannot be read (%v); going on without", err)
	}
	return m
}

// parseMemo reads what keep wrote. The records of health and of updates are checked by their own packages; when one of them
// cannot be read, the rest is returned all the same: a machine that forgets what it held could be taken back.
func parseMemo(b []byte) (memo, error) {
	if len(b) == 0 {
		return memo{}, nil
	}
	var raw struct {
		memo
		Health json.RawMessage `json:"health"`
		Agent  json.RawMessage `json:"agent"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return memo{}, err
	}
	if raw.Format > memoFormat {
		return memo{}, fmt.Errorf("format %d is not known", raw.Format)
	}
	m := raw.memo
	var health, agent error
	m.Health, health = chainload.ParseHealth(raw.Health)
	m.Agent, agent = selfboot.ParseState(raw.Agent)
	return m, errline.Join(health, agent)
}

// keep writes the memo.
func (a *agent) keep() error {
	j := a.journal()
	if j == nil {
		return nil // nothing is counted on a machine without a disk
	}
	a.memo.Format = memoFormat
	b, err := json.Marshal(&a.memo)
	if err != nil {
		return err
	}
	return j.Put(machine.RecordAgent, b)
}

// newest is the newest version of an image that this machine has had, 0 if it never had one.
func (a *agent) newest(image string) int {
	n := a.memo.Held[image]
	if a.machine == nil {
		return n
	}
	if s := a.machine.State(); s.Image == image {
		n = max(n, s.Version)
	}
	return n
}

// noteHeld takes what the machine has now into the memo.
func (a *agent) noteHeld() {
	s := a.machine.State()
	if s.Image == "" || s.Version == 0 {
		return
	}
	if a.memo.Held == nil {
		a.memo.Held = map[string]int{}
	}
	a.memo.Held[s.Image] = a.newest(s.Image)
}

// versionName is how a version is called where starts are counted.
func versionName(image string, version int) string {
	if version == 0 {
		return ""
	}
	return fmt.Sprintf("%s@%d", image, version)
}

// session is the DataWriteGuid of the boot child; ok is false when it cannot be read.
func (a *agent) session() (id guid.GUID, ok bool) {
	f := a.target.Files().Boot
	if f.Storage == nil {
		return guid.GUID{}, false
	}
	h, _, err := vhdx.ReadHeaders(f.Storage)
	if err != nil {
		return guid.GUID{}, false
	}
	return h.DataWriteGUID, true
}

// judge finds out what became of the last hand-off. A version that was started again and again without a sign of health is
// given up for the one below it, if that is still on the disk.
func (a *agent) judge(ctx context.Context) error {
	s := a.machine.State()
	seen := chainload.Seen{Version: versionName(s.Image, s.Version), Previous: versionName(s.Image, previous(s)), Now: a.clock.Now()}
	session, ok := a.session()
	seen.Blind = !ok
	seen.Ran = ok && !a.memo.Session.IsZero() && session != a.memo.Session
	seen.Healthy = seen.Ran && a.healthy()
	if !a.o.NoHandOff && a.uefi() {
		left, err := chainload.Look(a.chainloadOptions())
		if err != nil {
			a.say("start: %v", err)
		}
		seen.Left = left
	}
	a.decision = chainload.Plan(a.memo.Health, seen)
	if a.decision.Action == chainload.RollBack {
		if err := a.phase("rollback", nil, func() error { return a.machine.Rollback(ctx) }); err != nil {
			a.say("rollback: %v", err)
			seen.Previous = ""
			a.decision = chainload.Plan(a.memo.Health, seen)
			if errors.Is(err, machine.ErrReopen) {
				err = a.reopen()
			} else {
				err = nil
			}
			if err != nil {
				return unfinished("rollback", err)
			}
		}
	}
	a.memo.Health = a.decision.Health
	for _, line := range a.decision.Messages {
		a.say("start: %s", line)
	}
	return nil
}

// handed notes that the machine is handed over, before it is.
func (a *agent) handed(m chainload.Method) {
	if a.machine == nil {
		return
	}
	s := a.machine.State()
	a.memo.Health = a.memo.Health.HandedOff(versionName(s.Image, s.Version), m, a.clock.Now())
	a.memo.Session, _ = a.session()
	a.noteHeld()
	if err := a.keep(); err != nil {
		a.say("journal: %v", err)
	}
}

// healthNow is what the server hears of the version on the disk.
func (a *agent) healthNow() protocol.Health {
	h := a.memo.Health
	switch {
	case h.Starts == 0 && h.Proven:
		return protocol.HealthGood
	case h.Starts > 1 || a.decision.Action != chainload.Go && a.decision.Action != "":
		return protocol.HealthFailing
	}
	return protocol.HealthUnknown
}

// lastStart is what became of the last hand-off, in one line.
func (a *agent) lastStart() string {
	return protocol.Clean(strings.Join(a.decision.Messages, "; "), protocol.MaxText)
}

// errGivenUp: the version did not come up on this machine.
var errGivenUp = errors.New("this version was started several times on this machine without a sign of health; order it again to try once more")

// mayDeploy refuses a version that was given up here, unless the order says to try it again.
func (a *agent) mayDeploy(order *protocol.Order) error {
	name := versionName(order.Image, order.Version)
	if order.Retry {
		a.memo.Health = a.memo.Health.Forget(name)
	}
	if a.memo.Health.Refuses(name) {
		return untouched("plan", errGivenUp)
	}
	return nil
}

// errLoop: there is nothing left to try without a person.
var errLoop = errors.New("there is no version to go back to, and Windows does not come up on this machine")
