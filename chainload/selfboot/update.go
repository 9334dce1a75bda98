package selfboot

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"troy/chainload"
	"troy/chainload/efiboot"
	"troy/chainload/esp"
	"troy/chainload/internal/grubenv"
	"troy/internal/errline"
	"troy/internal/format"
)

// Errors of updates.
var (
	// ErrNotInstalled says that this agent was not started from a copy on the ESP.
	ErrNotInstalled = errors.New("selfboot: this agent was not started from the ESP: install it first")
	// ErrTrial says that a trial has not ended yet.
	ErrTrial = errors.New("selfboot: a new agent is on trial already")
	// ErrFailedBefore says that a version was tried on this machine and did not come up.
	ErrFailedBefore = errors.New("selfboot: this version of the agent was tried on this machine and did not come up")
	// ErrAhead says that a version was tried on this machine, and that its server is too old for it.
	ErrAhead = errors.New("selfboot: this version of the agent came up on this machine, and the server is too old for it")
	// ErrCurrent says that the release is what runs: there is nothing to do.
	ErrCurrent = errors.New("selfboot: this version of the agent runs already")
)

// State is what has to be remembered of updates from one start to the next. It
// is a value: the functions return a changed one, and the caller keeps it (as
// JSON, in the journal) before it goes on. The zero value is right.
type State struct {
	Trial  *Trial    `json:"trial,omitempty"`  // under way
	Failed []Failure `json:"failed,omitempty"` // oldest first

	Unknown format.Unknown `json:",embed"`
}

// maxFailed bounds State.Failed.
const maxFailed = 16

// Trial is a new agent that is to be started once.
type Trial struct {
	Version string `json:"version"`
	Copy    Copy   `json:"copy"`
	Entry   uint16 `json:"entry"`
	From    string `json:"from"` // version that was running
	// Protocol is what the new agent notes when the server speaks no protocol that it does: the
	// oldest that it speaks.
	Protocol int `json:"protocol,omitempty"`

	Unknown format.Unknown `json:",embed"`
}

// Failure is a version whose trial failed.
type Failure struct {
	Version string `json:"version"`
	// Protocol is the one from which on a server can be used with it; 0 = it did not come up.
	Protocol int `json:"protocol,omitempty"`

	Unknown format.Unknown `json:",embed"`
}

// ParseState reads what was kept of a State. What cannot be read is
// nothing to stop for: the caller notes the error and goes on with the zero value.
func ParseState(b []byte) (State, error) {
	var s State
	if len(b) == 0 {
		return s, nil
	}
	if err := format.Unmarshal(b, &s); err != nil {
		return State{}, fmt.Errorf("selfboot: record of updates: %w", err)
	}
	if s.Trial != nil && s.Trial.Copy != A && s.Trial.Copy != B {
		return State{}, fmt.Errorf("selfboot: record of updates: trial of copy %.20q", s.Trial.Copy)
	}
	s.Failed = s.Failed[max(0, len(s.Failed)-maxFailed):]
	return s, nil
}

// Forget returns s without the memory that a version failed: an admin wants it
// tried again.
func (s State) Forget(version string) State {
	s.Failed = slices.DeleteFunc(slices.Clone(s.Failed), func(f Failure) bool { return f.Version == version })
	return s
}

// Refuses says whether the trial of a version failed here, for a server that speaks protocols up to
// newest. The error wraps ErrFailedBefore or ErrAhead.
func (s State) Refuses(version string, newest int) error {
	for _, f := range s.Failed {
		switch {
		case f.Version != version:
		case f.Protocol == 0:
			return fmt.Errorf("%w: %s; order it again to retry", ErrFailedBefore, version)
		case f.Protocol > newest:
			return fmt.Errorf("%w: %s speaks protocols from %d on, the server up to %d; it is tried again when the server is upgraded", ErrAhead, version, f.Protocol, newest)
		}
	}
	return nil
}

// Update writes a newer release, which the caller has verified, into the copy
// that does not run, and returns the state with its trial. The caller keeps
// the state, calls Arm, and resets the machine. Nothing else changes what the
// firmware starts.
//
// The error wraps ErrNotInstalled, ErrTrial, ErrFailedBefore, ErrCurrent (nothing
// was changed by these), or is one of Install.
func Update(ctx context.Context, o *Options, s State, r *Release) (State, error) {
	vars, err := o.open()
	if err != nil {
		return s, err
	}
	var from string
	c, _, err := o.put(ctx, vars, r, func(st *Status) (Copy, error) {
		from = st.Copies[st.Running].Version
		return updateInto(st, s, r)
	})
	if err != nil {
		return s, err
	}
	entry, _, err := o.ensureEntry(vars, c)
	if err != nil {
		return s, fmt.Errorf("%w: copy %s is on the ESP, but the firmware takes no entry for it: %w", chainload.ErrFirmware, c, err)
	}
	s.Trial = &Trial{Version: r.Version, Copy: c, Entry: entry, From: from}
	return s, nil
}

func updateInto(st *Status, s State, r *Release) (Copy, error) {
	switch {
	case st.Running == "":
		return "", ErrNotInstalled
	case st.Copies[st.Running].Version == r.Version:
		return "", fmt.Errorf("%w: %s", ErrCurrent, r.Version)
	case s.Trial != nil || st.First == st.Running.other():
		return "", ErrTrial
	case slices.ContainsFunc(s.Failed, func(f Failure) bool { return f.Version == r.Version }):
		return "", fmt.Errorf("%w: %s", ErrFailedBefore, r.Version)
	}
	return st.Running.other(), nil
}

// Arm makes the next start that of the trial: by BootNext, or where the
// firmware refuses that, by the running copy's GRUB. It tells which. The state
// has to be kept before. The error wraps chainload.ErrFirmware: the trial
// cannot be started, nothing was changed.
func Arm(o *Options, t *Trial) (chainload.Method, error) {
	vars, err := o.open()
	if err != nil {
		return "", err
	}
	refused := efiboot.SetBootNext(vars, t.Entry)
	if refused == nil {
		return chainload.ByBootNext, nil
	}
	if err := o.armGRUB(vars, t); err != nil {
		return "", fmt.Errorf("%w: the new agent cannot be tried: %w; %w", chainload.ErrFirmware, refused, err)
	}
	return chainload.ByGRUB, nil
}

// errNoGRUB says why GRUB cannot be asked.
var errNoGRUB = errors.New("no GRUB of the other copy is started first")

func (o *Options) armGRUB(vars efiboot.Variables, t *Trial) (err error) {
	v, err := esp.Open(o.ESPDevice, o.ESPDir)
	if err != nil {
		return err
	}
	defer func() { err = errline.Join(err, v.Close()) }()
	s := &Status{Copies: map[Copy]CopyState{}}
	if err := s.findEntries(o, vars); err != nil {
		return err
	}
	if s.First != t.Copy.other() || !hasConfig(v, s.First) {
		return errNoGRUB
	}
	dir, err := v.Root.Sub(esp.AgentDir)
	if err != nil {
		return err
	}
	block, err := dir.Read(grubenv.Name, grubenv.Size)
	if err == nil {
		block, err = grubenv.Set(block, grubenv.Next, string(t.Copy))
	}
	if err != nil {
		return err
	}
	if err := v.MakeWritable(); err != nil {
		return err
	}
	return dir.Overwrite(grubenv.Name, block)
}

func hasConfig(v *esp.Volume, c Copy) bool {
	dir, err := v.Root.Sub(c.dir())
	if err == nil {
		_, err = dir.Lookup(configName)
	}
	return err == nil
}

// Verdict is what a start of the agent shows of a trial.
type Verdict string

// Verdicts.
const (
	NoTrial     Verdict = "none"
	OnTrial     Verdict = "on trial"      // this agent is the new one: report, then call Confirm
	TrialFailed Verdict = "failed"        // this agent is the old one: the new one did not come up
	TrialOpen   Verdict = "not known yet" // this agent was started from somewhere else
)

// Judge finds out at the start of an agent what became of a trial. It is pure.
// The caller keeps the state it returns; message is a line for the report.
func (s State) Judge(st *Status) (next State, v Verdict, message string) {
	t := s.Trial
	switch {
	case t == nil:
		return s, NoTrial, ""
	case st.Running == "":
		return s, TrialOpen, ""
	case st.Running == t.Copy && st.Copies[t.Copy].Version == t.Version:
		return s, OnTrial, fmt.Sprintf("agent %s is on trial in copy %s", t.Version, t.Copy)
	}
	s.Trial = nil
	s.Failed = append(s.Forget(t.Version).Failed, Failure{Version: t.Version, Protocol: t.Protocol})
	s.Failed = s.Failed[max(0, len(s.Failed)-maxFailed):]
	if t.Protocol > 0 {
		return s, TrialFailed, fmt.Sprintf("agent %s is too new for the server; the old one runs, and %s is tried again here when the server is upgraded", t.Version, t.Version)
	}
	return s, TrialFailed, fmt.Sprintf("agent %s did not come up on its trial; the old one runs, and %s is not tried again here without an order", t.Version, t.Version)
}

// Confirm makes the copy on trial the first in BootOrder. It is called by the
// new agent after it has reported. The state returned, without the trial, is to
// be kept afterwards: a power cut in between only has Confirm called once more.
// The error wraps ErrNotInstalled or chainload.ErrFirmware.
func Confirm(o *Options, s State) (State, error) {
	vars, err := o.open()
	if err != nil || s.Trial == nil {
		return s, err
	}
	st := &Status{Copies: map[Copy]CopyState{}}
	if err := st.findEntries(o, vars); err != nil {
		return s, fmt.Errorf("%w: %w", chainload.ErrFirmware, err)
	}
	if st.Running != s.Trial.Copy {
		return s, fmt.Errorf("%w: copy %s is on trial, and %q runs", ErrNotInstalled, s.Trial.Copy, st.Running)
	}
	if _, err := efiboot.PutFirst(vars, s.Trial.Entry); err != nil {
		return s, fmt.Errorf("%w: the new agent cannot be put first: %w", chainload.ErrFirmware, err)
	}
	s.Trial = nil
	return s, nil
}
