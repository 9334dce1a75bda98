package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"troy/agent/decide"
	"troy/chainload"
	"troy/chainload/efiboot"
)

// windows is how Windows comes to be started: firmware and hand-off.
type windows struct {
	o        *Options
	con      *console
	disk     *disk
	own      *ownCopy
	firmware chainload.FirmwareInfo
	methods  []chainload.Method // of handing over, the one to try first
	leaves   string             // why the agent does not start again by itself; "" = it does

	toWindows func(context.Context) (chainload.Method, error) // makes the next start that of Windows
	left      func() chainload.Left                           // what the last hand-off left
	take      func() (int, error)                             // takes back that GRUB may start Windows
	allow     func() error                                    // lets it
	reset     func() error                                    // restarts the machine
}

func newWindows(o *Options, con *console, d *disk) *windows {
	w := &windows{o: o, con: con, disk: d, reset: drainAndReset}
	w.toWindows, w.left = w.prepare, w.look
	w.take, w.allow = w.takeDirect, func() error { return chainload.AllowDirect(w.options()) }
	return w
}

// options say what to hand over to.
func (w *windows) options() *chainload.Options {
	t := w.disk.target
	return &chainload.Options{
		ESPDevice: partitionPath(t.Device.Path(), t.ESP.Number), ESP: w.espEntry(), Disk: t.Table.DiskGUID, Data: t.Data.GUID,
		KeepStore: true, AgentFirst: !w.own.trial, AgentEntry: w.own.entry, FromCopy: w.own.inside, Place: w.own.rec.Place, Methods: w.methods,
	}
}

// espEntry is the ESP as the firmware names it.
func (w *windows) espEntry() chainload.Partition {
	t := w.disk.target
	sector := int64(t.Table.SectorSize)
	return chainload.Partition{
		Number: uint32(t.ESP.Number), StartLBA: uint64(t.ESP.Start / sector), Sectors: uint64(t.ESP.Size / sector), GUID: t.ESP.GUID,
	}
}

// readFirmware finds out what started the machine.
func (w *windows) readFirmware() {
	f, err := chainload.Firmware()
	if err != nil {
		w.con.say("firmware: %v", err)
	}
	w.firmware = f
}

// unsupported says why a machine that was started by a BIOS is left alone: what is deployed there
// could not be started. On a machine that is up already (-no-link, -no-handoff) there is nothing to
// start.
func (w *windows) unsupported() string {
	if w.o.NoHandOff || w.o.Running || w.firmware.Kind == "" {
		return ""
	}
	if err := w.firmware.Supported(); err != nil {
		return err.Error()
	}
	return ""
}

func (w *windows) uefi() bool { return w.firmware.Kind == chainload.UEFI }

// look finds what the last hand-off left in the firmware's variables.
func (w *windows) look() chainload.Left {
	if w.o.NoHandOff || !w.uefi() {
		return chainload.Left{}
	}
	left, err := chainload.Look(w.options())
	if err != nil {
		w.con.say("start: %v", err)
	}
	return left
}

// withdraw takes back, before anything is written to the disk, that GRUB may start Windows without
// this agent. If that fails where the journal noted that it may, the disk is left alone: Windows
// would start on whatever a start that is cut off leaves there. It tells how many such starts there
// were, if any were allowed.
func (w *windows) withdraw(noted bool, f *decide.Facts) int {
	made, err := w.take()
	if err != nil {
		w.con.say("starts: %v", err)
	}
	if !noted {
		return 0
	}
	if err != nil {
		f.Disk = decide.Disk{Condition: decide.Unsuitable, Why: "nothing is changed as long as GRUB may start Windows by itself: " + err.Error()}
	}
	return made
}

// takeDirect has the next start be one of the agent, whatever becomes of this one, and tells how
// many starts since the last hand-off were none.
func (w *windows) takeDirect() (int, error) {
	if !w.uefi() || w.disk.target == nil || w.disk.newer {
		return 0, nil
	}
	return chainload.TakeDirect(w.options())
}

// handOff makes the next start of the machine that of Windows. Without UEFI there is nothing to
// prepare: a plain reset is the best there is.
func (w *windows) handOff(ctx context.Context) (chainload.Method, error) {
	method, err := w.toWindows(ctx)
	if errors.Is(err, chainload.ErrNotEFI) {
		w.con.say("hand-off: %v", err)
		return method, nil
	}
	return method, err
}

// prepare makes the next start that of Windows. Without a disk of ours, whatever Windows the
// firmware knows is started. On a disk that a newer agent keeps, the ESP stays as that one left it.
func (w *windows) prepare(ctx context.Context) (chainload.Method, error) {
	if w.disk.target == nil {
		return "", startAnyWindows()
	}
	if !w.disk.newer {
		w.own.place(ctx)
	}
	result, err := chainload.HandOff(ctx, w.options())
	for _, note := range result.Notes {
		w.con.say("hand-off: %v", note)
	}
	for _, line := range result.Changes {
		w.con.say("hand-off: %s", line)
	}
	if err != nil {
		return result.Method, err
	}
	w.con.say("hand-off: Boot%04X by %s, BCD %s", result.Entry, result.Method, result.Store)
	if w.own.rec.Place, w.leaves = result.Place, result.Leaves; w.leaves != "" {
		w.con.say("hand-off: %s", w.leaves)
	}
	if !w.disk.newer {
		w.own.fallback(ctx)
	}
	return result.Method, nil
}

// startAnyWindows sets BootNext to the first entry that starts a Windows Boot Manager.
func startAnyWindows() error {
	vars, err := efiboot.OpenVariables()
	if err != nil {
		return err
	}
	found, err := efiboot.Entries(vars)
	if err != nil {
		return err
	}
	for _, f := range found {
		if startsWindows(f.Option) {
			return efiboot.SetBootNext(vars, f.Number)
		}
	}
	return errors.New("the firmware knows no Windows Boot Manager")
}

func startsWindows(o *efiboot.LoadOption) bool {
	for _, n := range o.Path {
		if path, ok := n.FilePath(); ok && strings.HasSuffix(strings.ToLower(path), `\bootmgfw.efi`) {
			return true
		}
	}
	return false
}

// drainAndReset restarts the machine once the serial line has carried the last line: a reset would
// cut it off.
func drainAndReset() error {
	_ = unix.IoctlSetInt(int(os.Stdout.Fd()), unix.TCSBRK, 1) // tcdrain; fails where stdout is no terminal
	return chainload.Reset()
}

// partitionPath is the kernel's name of a partition: sda1, but nvme0n1p1.
func partitionPath(disk string, number int) string {
	if c := disk[len(disk)-1]; c >= '0' && c <= '9' {
		return fmt.Sprintf("%sp%d", disk, number)
	}
	return fmt.Sprintf("%s%d", disk, number)
}
