package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"troy/chainload"
	"troy/chainload/efiboot"
	"troy/chainload/selfboot"
)

// chainloadOptions say what to hand over to.
func (a *agent) chainloadOptions() *chainload.Options {
	t := a.target
	return &chainload.Options{
		ESPDevice: partitionPath(t.Device.Path(), t.ESP.Number), ESP: a.espEntry(), Disk: t.Table.DiskGUID, Data: t.Data.GUID,
		KeepStore: true, AgentFirst: !a.trial, AgentEntry: a.own.entry, Methods: a.decision.Methods,
	}
}

func (a *agent) selfbootOptions() *selfboot.Options {
	return &selfboot.Options{ESPDevice: partitionPath(a.target.Device.Path(), a.target.ESP.Number), ESP: a.espEntry()}
}

// espEntry is the ESP as the firmware names it.
func (a *agent) espEntry() chainload.Partition {
	t := a.target
	sector := int64(t.Table.SectorSize)
	return chainload.Partition{
		Number: uint32(t.ESP.Number), StartLBA: uint64(t.ESP.Start / sector), Sectors: uint64(t.ESP.Size / sector), GUID: t.ESP.GUID,
	}
}

// readFirmware finds out what started the machine.
func (a *agent) readFirmware() {
	f, err := chainload.Firmware()
	if err != nil {
		a.say("firmware: %v", err)
	}
	a.firmware = f
}

// supported refuses a machine that was started by a BIOS: what is deployed there could not be started. On a machine that is
// up already (-no-link, -no-handoff) there is nothing to start.
func (a *agent) supported() error {
	if a.o.NoHandOff || a.o.Running || a.firmware.Kind == "" {
		return nil
	}
	return untouched("firmware", a.firmware.Supported())
}

func (a *agent) uefi() bool { return a.firmware.Kind == chainload.UEFI }

// prepareWindows makes the next start of the machine that of Windows. Without a disk of ours, whatever Windows the
// firmware knows is started.
func (a *agent) prepareWindows(ctx context.Context) (chainload.Method, error) {
	if a.target == nil {
		return "", startAnyWindows()
	}
	result, err := chainload.HandOff(ctx, a.chainloadOptions())
	for _, note := range result.Notes {
		a.say("hand-off: %v", note)
	}
	if err == nil {
		a.say("hand-off: Boot%04X by %s, BCD %s", result.Entry, result.Method, result.Store)
	}
	return result.Method, err
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

// canReset says whether a plain reset is still the best there is: without UEFI there is nothing to prepare.
func canReset(err error) bool { return errors.Is(err, chainload.ErrNotEFI) }

// drainAndReset restarts the machine once the serial line has carried the last line: a reset would cut it off.
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
