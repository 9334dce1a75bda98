package chainload

import (
	"errors"
	"fmt"
	"syscall"

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
// first method that can be set up. Every change of the order is said.
func setBootVariables(v efiboot.Variables, o *Options, r *Result) error {
	before := efiboot.OrderText(v)
	removeDead(v, o, r)
	failed := full(setMethods(v, o, r))
	for _, n := range r.Notes {
		if errors.Is(n, syscall.ENOSPC) && !errors.Is(failed, ErrFull) {
			r.note(ErrFull)
			break
		}
	}
	if after := efiboot.OrderText(v); after != before {
		r.say("the boot order is %s; it was %s", after, before)
	}
	if failed != nil {
		return fmt.Errorf("%w: Windows cannot be made the next to start: %w", ErrFirmware, failed)
	}
	r.Leaves = leaves(v, o, r)
	return nil
}

func setMethods(v efiboot.Variables, o *Options, r *Result) error {
	noEntry := ensureEntry(v, o, r)
	r.hasEntry = noEntry == nil
	methods := o.Methods
	if methods == nil {
		methods = allMethods()
	}
	r.Place = place(v, o, r)
	if o.AgentFirst && len(methods) > 0 && methods[0] != ByBootOrder {
		r.note(putAgentFirst(v, o, r))
	}
	failed := noEntry
	for _, m := range methods {
		err := noEntry
		if noEntry == nil || m == ByGRUB {
			err = setMethod(v, o, r, m)
			failed = errline.Join(failed, err)
		}
		if err == nil {
			r.note(noEntry)
			r.Method = m
			return nil
		}
		if !errors.Is(err, errNoGRUB) && noEntry == nil {
			r.note(err)
		}
	}
	return failed
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
