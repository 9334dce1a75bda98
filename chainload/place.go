package chainload

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"troy/chainload/bcd"
	"troy/chainload/efiboot"
	"troy/internal/digest"
)

// The agent's place is in BootOrder before Windows. Its own copy has a right to it, and so have the
// entry that had it before (Windows puts itself first, and so does ByBootOrder), a network, and
// what led to the own copy. A stick that somebody started once, from the firmware's menu, has not:
// it would be the first for good.

// isWindows tells whether the hand-off uses an entry for Windows.
func (r *Result) isWindows(n uint16) bool { return r != nil && r.hasEntry && r.Entry == n }

// order is what BootOrder has of this machine's entries.
type order struct {
	list    []efiboot.Found
	windows int // index of the first entry that starts Windows from this ESP; -1: none
	agent   int // of the first one that starts the agent; -1: none
}

// readOrder finds Windows, and the agent by its own copy or by the entry n. r, if not nil, has the
// entry that the hand-off uses for Windows.
func readOrder(v efiboot.Variables, o *Options, r *Result, n uint16, known bool) (s order, err error) {
	s.list, err = efiboot.InOrder(v)
	windows := func(f efiboot.Found) bool {
		return r.isWindows(f.Number) || f.Option.Starts(o.ESP.GUID, bcd.BootManagerPath)
	}
	s.windows = slices.IndexFunc(s.list, windows)
	s.agent = slices.IndexFunc(s.list, func(f efiboot.Found) bool {
		return !windows(f) && (known && f.Number == n || startsAgent(f.Option, o))
	})
	return s, err
}

// behind tells whether Windows comes before the agent.
func (s order) behind() bool { return s.windows >= 0 && (s.agent < 0 || s.agent > s.windows) }

// started is the entry that started this agent, nil where the firmware does not say.
func started(v efiboot.Variables) *efiboot.Found {
	n, known := efiboot.BootCurrent(v)
	all, err := efiboot.Entries(v)
	if i := slices.IndexFunc(all, func(f efiboot.Found) bool { return f.Number == n }); known && err == nil && i >= 0 {
		return &all[i]
	}
	return nil
}

// ident names an entry by what it holds: firmware may give it another number.
func ident(f *efiboot.Found) string {
	b, err := f.Option.Marshal()
	if err != nil {
		return ""
	}
	return digest.Sum(sha256.Sum256(b)).String()
}

// place is what is to be kept of the agent's place.
func place(v efiboot.Variables, o *Options, r *Result) string {
	f := started(v)
	if f == nil || r.isWindows(f.Number) || startsAgent(f.Option, o) {
		return o.Place
	}
	s, err := readOrder(v, o, r, f.Number, true)
	if err != nil || s.agent < 0 || s.list[s.agent].Number != f.Number || s.behind() {
		return o.Place
	}
	return ident(f)
}

// putAgentFirst gives the agent its place. It is a service for the next start; its failure is noted
// only.
func putAgentFirst(v efiboot.Variables, o *Options, r *Result) error {
	if o.AgentEntry != nil {
		_, err := efiboot.PutFirst(v, *o.AgentEntry)
		return err
	}
	f := started(v)
	switch {
	case f == nil:
		return errors.New("chainload: the firmware does not say which entry started the agent; BootOrder left alone")
	case r.isWindows(f.Number):
		return fmt.Errorf("chainload: the agent was started by the entry of Windows (%s); BootOrder left alone", f)
	}
	s, err := readOrder(v, o, r, f.Number, true)
	if err != nil || !s.behind() || !o.FromCopy && !f.Option.IsNetwork() && ident(f) != o.Place {
		return err
	}
	_, err = efiboot.PutFirst(v, f.Number)
	return err
}

// leaves says why the agent does not start again by itself once Windows was started; empty: it
// does, or that is not known.
func leaves(v efiboot.Variables, o *Options, r *Result) string {
	n, known := efiboot.BootCurrent(v)
	if o.AgentEntry != nil {
		n, known = *o.AgentEntry, true
	}
	s, err := readOrder(v, o, r, n, known)
	if err != nil || !s.behind() || !known && s.windows > 0 {
		return ""
	}
	return fmt.Sprintf("from now on this PC starts Windows without Troy: %s comes first in the firmware's boot order; "+
		"start it once more from the stick or the network, and publish the agent for its disk (troy agent publish)", s.list[s.windows])
}
