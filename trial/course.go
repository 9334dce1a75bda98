package trial

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"troy/gates"
	"troy/internal/guid"
	"troy/trial/inside"
	"troy/trial/vm"
	"troy/vhdx"
)

func (t *Trial) update(ctx context.Context) error {
	_, b := t.pcs()
	if err := t.promote(ctx, roomB, 2); err != nil {
		return err
	}
	if err := t.bare(ctx, b); err != nil {
		return err
	}
	if _, _, err := t.up(ctx, b, power{stick: true}, 2, expect{}); err != nil {
		return err
	}
	if err := t.promote(ctx, roomB, 3); err != nil {
		return err
	}
	o, _, err := t.up(ctx, b, power{}, 3, expect{})
	if err != nil {
		return err
	}
	t.find("update", o.said("version 2 → 3"), "only what changed was fetched: %s", fetched(o.serial))
	return nil
}

// fetched is the agent's own line about what it fetches.
var fetchLine = regexp.MustCompile(`version \d+ → \d+: (.* to fetch, .* to write)`)

func fetched(serial string) string {
	if m := fetchLine.FindStringSubmatch(serial); m != nil {
		return strings.TrimSpace(m[1])
	}
	return "it said nothing"
}

func (t *Trial) reset(ctx context.Context) error {
	a, b := t.pcs()
	if err := t.promote(ctx, roomB, 3); err != nil {
		return err
	}
	const session = 1 << 20 // a stamp that no version has
	if _, _, err := t.up(ctx, b, power{order: inside.Order{Do: []inside.Action{inside.Fill}, Stamp: session}}, 3, expect{outside: session}); err != nil {
		return err
	}
	if _, _, err := t.up(ctx, b, power{}, 3, expect{}); err != nil {
		return err
	}
	t.find("reset", true, "PC B was reset: what Windows had written is gone")
	if err := t.promote(ctx, roomA, 3); err != nil {
		return err
	}
	if _, _, err := t.up(ctx, a, power{}, 3, expect{}); err != nil {
		return err
	}
	t.find("reset", true, "PC A got version 3, which was made of it, and was reset by it")
	return nil
}

// handedOver is what the agent says of the boot entry of Windows.
var handedOver = regexp.MustCompile(`deploy: hand-off: Boot([0-9A-F]{4}) by `)

// dirtyLog cuts the power while Windows writes, and has the firmware start Windows: nobody closes the
// log of the boot child before its boot manager reads it (W2).
func (t *Trial) dirtyLog(ctx context.Context) error {
	_, b := t.pcs()
	order := inside.Order{Do: []inside.Action{inside.Fill, inside.Stay}, Stamp: 1<<21 + 1<<20}
	o, err := t.start(ctx, b, power{cutUp: true, after: time.Second, order: order})
	if err != nil {
		return err
	}
	v, err := Look(b.disk(), o.order)
	if err != nil {
		return err
	}
	m := handedOver.FindStringSubmatch(o.serial)
	if m == nil || !o.cut {
		t.find("dirty", false, "the power could not be cut while Windows ran: %s", v)
		return nil
	}
	entry, err := strconv.ParseUint(m[1], 16, 16)
	if err != nil {
		return err
	}
	const kept = 7 // non-volatile, for boot services and the system
	if err := vm.SetVariable(b.vars(), "BootNext", efiGlobal, kept, binary.LittleEndian.AppendUint16(nil, uint16(entry))); err != nil {
		return err
	}
	pending := v.State.LogPending
	o, err = t.start(ctx, b, power{})
	if err != nil {
		return err
	}
	if v, err = Look(b.disk(), o.order); err != nil {
		return err
	}
	up := v.Record != nil && !o.said("deploy: disk: ")
	t.find("dirty", up, "after the cut Windows started without the agent, on a boot child whose log was pending: %t: %s", pending, v)
	if pending {
		t.state.Seen.Dirty = map[bool]gates.Status{true: gates.Pass, false: gates.Fail}[up]
	}
	return nil
}

// efiGlobal is EFI_GLOBAL_VARIABLE (UEFI 3.3).
var efiGlobal = guid.Must("8be4df61-93ca-11d2-aa0d-00e098032b8c")

// brokenVersion publishes one that Windows cannot start, and expects the one before.
func (t *Trial) brokenVersion(ctx context.Context) error {
	_, b := t.pcs()
	good := t.state.Good
	bad := good + 1
	if t.state.Version == good {
		if err := child(t.golden(good), t.golden(bad), broken); err != nil {
			return err
		}
		if err := t.publish(ctx, bad, false, "--force-unbootable"); err != nil {
			return err
		}
	}
	if err := t.promote(ctx, roomB, bad); err != nil {
		return err
	}
	const most = 6 // three hand-offs make a failing version; a start may be lost to a new agent
	for try := 1; ; try++ {
		o, err := t.start(ctx, b, power{doomed: true})
		if err != nil {
			return err
		}
		v, err := Look(b.disk(), o.order)
		if err != nil {
			return err
		}
		// A Windows that fails may restart the PC: then one start is several, and ends well.
		t.state.Doomed += len(handedOver.FindAllString(o.serial, -1))
		if r := v.Record; r != nil {
			failed := t.state.Doomed - 1
			t.find("broken", v.State.Version == good && r.Ballast.One(uint32(good)), "after %d starts that failed PC B is back: %s", failed, v)
			t.find("broken", failed > 0, "the broken version did not come up")
			break
		}
		t.say("    version %d did not come up, as it should not (start %d)", bad, t.state.Doomed)
		if err := t.save(); err != nil {
			return err
		}
		if try == most {
			t.find("broken", false, "PC B was not rolled back after %d starts: %s", most, v)
			return fmt.Errorf("%w: a version that cannot boot was not given up", ErrStopped)
		}
	}
	return t.repaired(ctx, good, bad+1)
}

// repaired publishes a version after the broken one, and expects it to come up.
func (t *Trial) repaired(ctx context.Context, good, version int) error {
	_, b := t.pcs()
	if t.state.Version < version {
		whole, err := vhdx.OpenChain(t.golden(good), &vhdx.ChainOptions{Parents: &vhdx.Parents{}})
		if err != nil {
			return err
		}
		err = child(t.golden(version-1), t.golden(version), func(c *vhdx.Chain) error {
			return errors.Join(mended(c, whole), withBallast(uint32(version))(c))
		})
		if err = errors.Join(err, whole.Close()); err != nil {
			return err
		}
	}
	if err := t.publish(ctx, version, true); err != nil {
		return err
	}
	if err := t.promote(ctx, roomB, version); err != nil {
		return err
	}
	_, _, err := t.up(ctx, b, power{}, version, expect{})
	return err
}

func (t *Trial) fillDrive(ctx context.Context) error {
	_, b := t.pcs()
	_, v, err := t.up(ctx, b, power{order: inside.Order{Do: []inside.Action{inside.Stuff}}}, t.state.Good, expect{})
	if err != nil {
		return err
	}
	t.find("full", slices.Contains(v.Record.Did, inside.Stuff), "Windows filled its drive, and was shut down")
	version, err := t.next(ctx)
	if err != nil {
		return err
	}
	_, _, err = t.up(ctx, b, power{}, version, expect{})
	return err
}

func (t *Trial) wrongClock(ctx context.Context) error {
	_, b := t.pcs()
	for _, clock := range []string{"2001-01-01T00:00:00", "2052-06-01T00:00:00"} {
		version, err := t.next(ctx)
		if err != nil {
			return err
		}
		if _, _, err := t.up(ctx, b, power{clock: clock}, version, expect{}); err != nil {
			return err
		}
		t.find("clock", true, "with the clock at %.4s version %d came all the same", clock, version)
	}
	return nil
}
