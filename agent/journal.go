package agent

import (
	"errors"

	"github.com/go-json-experiment/json/jsontext"

	"troy/agent/decide"
	"troy/chainload"
	"troy/chainload/bootfiles"
	"troy/chainload/selfboot"
	"troy/diskwriter/machine"
	"troy/image/trust"
	"troy/internal/errline"
	"troy/internal/format"
	"troy/internal/guid"
)

// memo is what the agent remembers from one start to the next: machine.RecordAgent, as JSON.
type memo struct {
	decide.Memo
	// Session names the state of the boot child at the last hand-off, or where that was judged, at
	// that start: Windows gives it another DataWriteGuid.
	Session guid.GUID      `json:"session"`
	Clock   keptClock      `json:"clock,omitzero"`
	Agent   selfboot.State `json:"agent"`
	// BootFiles is how the ESP was when it last was right.
	BootFiles bootfiles.Note `json:"boot_files,omitzero"`
	Place     string         `json:"place,omitempty"` // chainload.Result.Place
	// Held is the newest version of each image that the machine ever had: writing another image in
	// between is no way back.
	Held map[string]int `json:"held,omitempty"`
	// Setup is about the last version that came onto the disk before it was set up.
	Setup setupNote `json:"setup,omitzero"`

	Unknown format.Unknown `json:",embed"`
}

// parseMemo reads what keep wrote. The records of health, of updates and of boot files are checked
// by their own packages; when one of them cannot be read, the rest is returned all the same: a
// machine that forgets what it held could be taken back.
func parseMemo(b []byte) (memo, error) {
	if len(b) == 0 {
		return memo{}, nil
	}
	var raw struct {
		memo
		Health    jsontext.Value `json:"health"`
		Agent     jsontext.Value `json:"agent"`
		BootFiles jsontext.Value `json:"boot_files"`
	}
	if err := format.Unmarshal(b, &raw); err != nil {
		return memo{}, err
	}
	m := raw.memo
	var health, agent, boot error
	m.Health, health = chainload.ParseHealth(raw.Health)
	m.Agent, agent = selfboot.ParseState(raw.Agent)
	m.BootFiles, boot = bootfiles.ParseNote(raw.BootFiles)
	return m, errline.Join(health, agent, boot)
}

// records are the agent's own in the machine's journal.
type records struct {
	con  *console
	disk *disk
	memo
	read    bool
	unread  bool   // what the journal holds cannot be read, and is not replaced by a guess
	pending []byte // trusted metadata that the journal has to keep
}

// recall reads the memo, once. What cannot be read of it is as good as not there.
func (r *records) recall() {
	j := r.disk.journal()
	if r.read || j == nil {
		return
	}
	r.read = true
	b, err := j.Get(machine.RecordAgent)
	r.unread = errors.Is(err, machine.ErrUnreadable)
	if err == nil {
		r.memo, err = parseMemo(b)
	}
	if err != nil {
		r.con.say("journal: the agent's notes cannot be read (%v); continuing without them", err)
	}
}

// keep writes the memo.
func (r *records) keep() error {
	j := r.disk.journal()
	if j == nil || r.unread {
		return nil // nothing is counted on a machine without a disk
	}
	b, err := format.Marshal(&r.memo)
	if err != nil {
		return err
	}
	return j.Put(machine.RecordAgent, b)
}

// raise makes the format of the journal that of this agent, once no older one has to read it.
func (r *records) raise(settled bool) {
	j := r.disk.journal()
	if !settled || j == nil {
		return
	}
	if err := j.Raise(); err != nil {
		r.con.say("journal: %v; it stays as it is", err)
	}
}

// keepDecided writes what a later start has to know.
func (r *records) keepDecided(m *decide.Memo) error {
	r.Memo = *m
	return r.keep()
}

// judged keeps that the last hand-off was judged, before anything else: if this start is cut off,
// what Windows writes then was not started by the agent.
func (r *records) judged(session guid.GUID) {
	r.Session = session
	if err := r.keep(); err != nil {
		r.con.say("journal: %v", err)
	}
}

// newest is the newest version of an image that this machine has had, 0 if it never had one.
func (r *records) newest(image string) int {
	n := r.Held[image]
	if r.disk.machine == nil {
		return n
	}
	if s := r.disk.machine.State(); s.Image == image {
		n = max(n, s.Version)
	}
	return n
}

// noteHeld takes what the machine has now into the memo.
func (r *records) noteHeld() {
	if r.disk.machine == nil {
		return
	}
	s := r.disk.machine.State()
	if s.Image == "" || s.Version == 0 {
		return
	}
	held := map[string]int{s.Image: r.newest(s.Image)}
	for image, version := range r.Held {
		if image != s.Image {
			held[image] = version
		}
	}
	r.Held = held
}

// trusted is where the trusted metadata lies: the machine's journal. A machine without one (its
// disk is not made yet, or cannot be opened) has nothing to remember.
func (r *records) trusted() trust.Memory {
	if j := r.disk.journal(); j != nil {
		return &lateMemory{r: r, j: j}
	}
	return nil
}

// lateMemory keeps what the agent trusts in the machine's journal, but only once something else is
// written or all has gone well: a start that stops leaves the disk untouched.
type lateMemory struct {
	r *records
	j *machine.Journal
}

// Load implements trust.Memory.
func (m *lateMemory) Load() ([]byte, error) { return m.j.Get(machine.RecordTrust) }

// Save implements trust.Memory.
func (m *lateMemory) Save(b []byte) error {
	m.r.pending = b
	return nil
}

// remember writes what was trusted to the journal. Without it the worst is that an
// older state of the store is believed.
func (r *records) remember() {
	j := r.disk.journal()
	if r.pending == nil || j == nil {
		return
	}
	if err := j.Put(machine.RecordTrust, r.pending); err != nil {
		r.con.say("journal: %v", err)
		return
	}
	r.pending = nil
}
