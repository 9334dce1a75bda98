package chainload

import (
	"errors"
	"fmt"

	"troy/chainload/bcd"
	"troy/chainload/efiboot"
	"troy/internal/errline"
)

// Method is how Windows comes to be started next.
type Method string

// Methods of the hand-off, in the order in which they are tried.
const (
	// ByBootNext: the firmware starts the entry of Windows once.
	ByBootNext Method = "BootNext"
	// ByGRUB: the firmware starts the agent's own GRUB on the ESP, which starts
	// Windows once. It needs no write of variables, but the installed agent first
	// in BootOrder (see package selfboot).
	ByGRUB Method = "GRUB"
	// ByBootOrder: the entry of Windows is first in BootOrder. The agent is not
	// started again by itself.
	ByBootOrder Method = "BootOrder"
)

// allMethods returns the methods in their usual order.
func allMethods() []Method { return []Method{ByBootNext, ByGRUB, ByBootOrder} }

// setBootVariables makes the firmware start Windows Boot Manager next, by the
// first method that can be set up.
func setBootVariables(v efiboot.Variables, o *Options, r *Result) error {
	noEntry := ensureEntry(v, o, r)
	methods := o.Methods
	if methods == nil {
		methods = allMethods()
	}
	if o.AgentFirst && len(methods) > 0 && methods[0] != ByBootOrder {
		putAgentFirst(v, o, r)
	}
	failed := noEntry
	for _, m := range methods {
		err := noEntry
		if noEntry == nil || m == ByGRUB {
			err = setMethod(v, o, r, m)
			failed = errline.Join(failed, err)
		}
		if err == nil {
			if noEntry != nil {
				r.note(noEntry)
			}
			r.Method = m
			return nil
		}
		if !errors.Is(err, errNoGRUB) && noEntry == nil {
			r.note(err)
		}
	}
	return fmt.Errorf("%w: Windows cannot be made the next to start: %w", ErrFirmware, failed)
}

func setMethod(v efiboot.Variables, o *Options, r *Result, m Method) error {
	switch m {
	case ByBootNext:
		return efiboot.SetBootNext(v, r.Entry)
	case ByGRUB:
		return grubOnce(v, o)
	case ByBootOrder:
		_, err := efiboot.PutFirst(v, r.Entry)
		return err
	}
	return fmt.Errorf("%w: no method of hand-off %q", ErrOptions, m)
}

// ensureEntry finds or creates the boot entry of Windows. An entry that could
// not be added to BootOrder will do for BootNext.
func ensureEntry(v efiboot.Variables, o *Options, r *Result) error {
	n, created, err := efiboot.EnsureEntry(v, efiboot.Entry{
		Partition:   efiboot.HardDrive(o.ESP),
		Path:        bcd.BootManagerPath,
		Description: "Windows Boot Manager",
	})
	r.Entry, r.entryCreated = n, created
	if created {
		r.note(err)
		return nil
	}
	return err
}

// putAgentFirst is a service for the next start; its failure is noted only.
func putAgentFirst(v efiboot.Variables, o *Options, r *Result) {
	n, ok := efiboot.BootCurrent(v)
	if o.AgentEntry != nil {
		n, ok = *o.AgentEntry, true
	}
	switch {
	case !ok:
		r.note(errors.New("chainload: the firmware does not say which entry started the agent; BootOrder left alone"))
		return
	case n == r.Entry:
		r.note(fmt.Errorf("chainload: the agent was started by the entry of Windows (%s); BootOrder left alone", efiboot.Name(n)))
		return
	}
	changed, err := efiboot.PutFirst(v, n)
	r.orderChanged = changed && err == nil
	r.note(err)
}
