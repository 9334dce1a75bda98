package state

import (
	"net/netip"
	"time"

	"troy/internal/format"
	"troy/internal/identity"
	"troy/server/protocol"
)

// Bounds of what is kept.
const (
	historyMost = 50
	nightsMost  = 5_000
	targetsMost = 50
)

// Machine is what the server knows of one machine.
type Machine struct {
	ID   string `json:"id"`             // drawn at its first check-in; says nothing of the machine
	Code string `json:"code,omitempty"` // shown on its screen while it is unknown
	// Pin is the key (protocol.Peer.Key) by which the machine is known since its disk was finished;
	// "" = none is known yet. Start is that of its last check-in.
	Pin string `json:"pin,omitempty"`
	// Confirmed is the pin of which the admin has said that it is this machine's.
	Confirmed string `json:"confirmed,omitempty"`
	Start     string `json:"start,omitempty"`
	// From is the party of package limit that it checked in from.
	From netip.Addr `json:"from,omitzero"`
	// Line is what of lab.yaml it was recognised by last; where Room is set, what the admin assigned.
	Line identity.Line `json:"line,omitzero"`
	// Doubt says why it is unknown although something names it; Against is the machine of which it
	// has an address without the key.
	Doubt   string `json:"doubt,omitempty"`
	Against string `json:"against,omitempty"`
	// Name and Room are those that an admin gave to a machine that lab.yaml does not name.
	Name string `json:"name,omitempty"`
	Room string `json:"room,omitempty"`

	First   time.Time        `json:"first"` // check-in
	Seen    time.Time        `json:"seen"`  // last check-in or report
	CheckIn protocol.CheckIn `json:"checkin"`
	Order   protocol.Order   `json:"order"`             // the last one
	Attempt *Attempt         `json:"attempt,omitempty"` // the last deployment
	Report  *Report          `json:"report,omitempty"`  // the last one
	History []Event          `json:"history,omitempty"` // the newest last
	// Verify is an order to compare the machine that no report has answered yet; Verified is the
	// newest answer. Comparison is the last try at it, WorkVerify: it brings the machine to no
	// version, and says nothing of one.
	Verify     *protocol.Verify `json:"verify,omitempty"`
	Verified   *Verified        `json:"verified,omitempty"`
	Comparison *Attempt         `json:"comparison,omitempty"`
	// EndSetup is an order about the setup of its version that no report has answered yet.
	EndSetup *protocol.EndSetup `json:"end_setup,omitempty"`

	// Rev counts changes, so that a reader can tell two states apart.
	Rev uint64 `json:"rev"`

	Unknown format.Unknown `json:",embed"` // members of a newer program
}

// Result is how an attempt ended.
type Result string

// Results.
const (
	ResultOpen    Result = ""        // under way
	ResultDone    Result = "done"    // the version is on the disk
	ResultFailed  Result = "failed"  // it is not, Attempt.Message says why
	ResultLate    Result = "late"    // it is not, because the window closed
	ResultWaiting Result = "waiting" // it is not, because the machine waits for a permit, or lab.yaml
	ResultLost    Result = "lost"    // the machine came back without it, and without a report
)

// Work is what a machine has to do to come to a version, as far as its check-in tells. How it does
// it is its own business.
type Work string

// Works.
const (
	WorkNone      Work = ""          // it has the version
	WorkUpdate    Work = "update"    // bring what changed
	WorkReinstall Work = "reinstall" // write the version over what it holds
	WorkProvision Work = "provision" // make a disk, then write the version
	WorkAdopt     Work = "adopt"     // compare what it has, and replace what differs
	WorkVerify    Work = "verify"    // compare what it has
)

// Attempt is one try to bring a machine to a version, or to compare it. A machine has a start slot
// while one is open; two never are.
type Attempt struct {
	Target  uint64    `json:"target"` // Target.ID
	Image   string    `json:"image"`
	Version int       `json:"version"`
	Work    Work      `json:"work"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	Result  Result    `json:"result,omitempty"`
	Tries   int       `json:"tries"` // of the same target, this one too; one without a report is one
	Message string    `json:"message,omitempty"`
	Bytes   int64     `json:"bytes,omitempty"`    // fetched, as the report says
	GivenUp bool      `json:"given_up,omitempty"` // the version was on the disk, and the machine went back by itself
	// Refused says that the machine did not take what the store has signed: nothing of the version
	// was tried, and the machine is not to blame.
	Refused bool `json:"refused,omitempty"`

	Unknown format.Unknown `json:",embed"` // members of a newer program
}

// Verified is what came of comparing all that a machine boots with a version.
type Verified struct {
	At time.Time `json:"at"`
	protocol.Verified
}

// Report is the last report without its log.
type Report struct {
	At time.Time `json:"at"`
	protocol.Report
}

// Event is one line of a machine's history.
type Event struct {
	At   time.Time `json:"at"`
	Kind string    `json:"kind"` // order, report, alarm, given up, assigned, changed
	Text string    `json:"text"`
}

// Room is what was promoted to a room.
type Room struct {
	Name    string   `json:"name"`
	Targets []Target `json:"targets"` // the newest last; that one is in force
	// Stopped says why no machine of the room may begin; "" = they may. A promotion ends it.
	Stopped string `json:"stopped,omitempty"`

	Unknown format.Unknown `json:",embed"` // members of a newer program
}

// Current is the target in force, nil if there is none.
func (r *Room) Current() *Target {
	if r == nil || len(r.Targets) == 0 {
		return nil
	}
	return &r.Targets[len(r.Targets)-1]
}

// Target is one promotion: a room gets a version.
type Target struct {
	ID       uint64    `json:"id"`
	Image    string    `json:"image"`
	Version  int       `json:"version"`
	At       string    `json:"at,omitempty"`    // window of every day, FROM-TO, in place of the room's
	After    string    `json:"after,omitempty"` // room that must have it healthy before
	By       string    `json:"by,omitempty"`    // who
	Time     time.Time `json:"time"`
	Rollback bool      `json:"rollback,omitempty"`
	Retry    bool      `json:"retry,omitempty"` // machines try again what they gave up
	// Open is set once the room in After had it healthy.
	Open bool `json:"open,omitempty"`

	Unknown format.Unknown `json:",embed"` // members of a newer program
}

// Night is what came of one version in one window of one room. Each machine counts once at most.
type Night struct {
	Room    string    `json:"room"`
	Begin   time.Time `json:"begin"`
	End     time.Time `json:"end"`
	Image   string    `json:"image"`
	Version int       `json:"version"`
	Closed  bool      `json:"closed"` // the numbers are final
	Done    int       `json:"done"`   // machines that came to the version in it
	Failed  int       `json:"failed"`
	Missing int       `json:"missing"` // that do not have it at the end, and did not fail
	Bytes   int64     `json:"bytes"`
}

// Remember adds an event.
func (m *Machine) Remember(at time.Time, kind, text string) {
	// The slice may be shared with the state before: it is copied, not appended to.
	old := m.History[max(0, len(m.History)+1-historyMost):]
	m.History = append(append(make([]Event, 0, len(old)+1), old...), Event{at, kind, text})
}
