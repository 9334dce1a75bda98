package chainload

import (
	"context"
	"errors"
	"fmt"

	"troy/chainload/bcd"
	"troy/chainload/efiboot"
	"troy/chainload/esp"
	"troy/internal/errline"
	"troy/internal/guid"
)

// Classes of error, for errors.Is.
var (
	// ErrNotEFI says that there is no UEFI firmware to hand the machine to.
	ErrNotEFI = efiboot.ErrNotEFI
	// ErrOptions is the class of options that HandOff cannot work with.
	ErrOptions = errors.New("chainload: bad options")
	// ErrESP is the class of failures to mount, read or write the ESP.
	ErrESP = esp.Err
	// ErrNoBootFiles says that Windows Boot Manager is not on the ESP.
	ErrNoBootFiles = errors.New("chainload: no Windows Boot Manager on the ESP")
	// ErrFirmware is the class of boot variables that cannot be set up.
	ErrFirmware = errors.New("chainload: firmware boot variables")
)

// Partition is the ESP as the disk's GPT has it.
type Partition struct {
	Number   uint32    // from 1
	StartLBA uint64    // first logical sector
	Sectors  uint64    // size in logical sectors
	GUID     guid.GUID // unique partition GUID
}

// Options says what to hand over to. ESPDevice, ESP, Disk and Data are required.
type Options struct {
	ESPDevice string // block device of the ESP, such as /dev/nvme0n1p1, not mounted

	ESP  Partition // the ESP in the GPT
	Disk guid.GUID // GUID of the disk of data partition and ESP
	Data guid.GUID // unique GUID of the partition that holds the VHDX file

	// KeepStore changes only the device elements of a store that boots
	// something else, where that is enough.
	KeepStore bool
	// AgentFirst gives the agent its place in BootOrder: AgentEntry, the entry of its own copy,
	// first; or when that is nil the entry that started this agent before Windows, if it has a
	// right to it (see Place). Not for the trial of a new agent.
	AgentFirst bool
	AgentEntry *uint16
	// FromCopy tells that this agent was started by the GRUB of its own copy on the ESP, whatever
	// entry led there.
	FromCopy bool
	// Place is Result.Place of the last hand-off.
	Place string
	// Methods are tried in this order; nil: all of them. See Judge.
	Methods []Method

	espDir     string                      // where the ESP is mounted already, writable; ESPDevice is not used then
	variables  efiboot.Variables           // nil: those of this machine
	partitions func() ([]guid.GUID, error) // of all disks; nil: those of this machine
}

// StoreAction is what HandOff did with the BCD store.
type StoreAction string

// What can be done with a store.
const (
	StoreKept    StoreAction = "kept"    // it was right
	StorePatched StoreAction = "patched" // its device elements were changed
	StoreWritten StoreAction = "written" // it was missing or wrong, and was made again
)

// Result says what HandOff found and did.
type Result struct {
	Store        StoreAction
	storeReason  error  // why the store was not kept
	Entry        uint16 // number of the boot entry of Windows
	hasEntry     bool   // Entry is that of Windows
	entryCreated bool
	Method       Method
	// Place names the boot entry that came before Windows and started the agent, or is from a
	// network: it may be put before Windows again. It is to be kept for Options.Place.
	Place string
	// Leaves says why the agent does not start again by itself; empty: it does, or that is not
	// known.
	Leaves string
	// Changes are lines for the screen: what became of the boot entries and their order.
	Changes []string
	// Notes are things that went wrong and did not stop the hand-off.
	Notes []error
}

func (r *Result) say(format string, args ...any) {
	r.Changes = append(r.Changes, fmt.Sprintf(format, args...))
}

func (r *Result) note(err error) {
	if err != nil {
		r.Notes = append(r.Notes, err)
	}
}

// HandOff makes the next start of the machine start Windows from the VHDX
// file. It does not reset: see Reset. The error wraps ErrNotEFI, ErrOptions,
// ErrESP, ErrNoBootFiles, ErrFirmware or ctx.Err(). With every error but
// ErrFirmware the boot variables are as they were. The result is never nil.
func HandOff(ctx context.Context, o *Options) (*Result, error) {
	r := &Result{}
	vars, err := openVariables(o)
	if err != nil {
		return r, err
	}
	if err := o.check(); err != nil {
		return r, err
	}
	if err := prepareESP(ctx, o, r); err != nil {
		return r, err
	}
	if err := ctx.Err(); err != nil {
		return r, fmt.Errorf("chainload: stopped before the boot variables: %w", err)
	}
	return r, setBootVariables(vars, o, r)
}

func openVariables(o *Options) (efiboot.Variables, error) {
	if o.variables != nil {
		return o.variables, nil
	}
	v, err := efiboot.OpenVariables()
	if err != nil && !errors.Is(err, ErrNotEFI) {
		return nil, fmt.Errorf("%w: %w", ErrFirmware, err)
	}
	return v, err
}

func (o *Options) check() error {
	switch {
	case o.ESPDevice == "" && o.espDir == "":
		return fmt.Errorf("%w: no device of the ESP", ErrOptions)
	case o.ESP.GUID.IsZero() || o.Disk.IsZero() || o.Data.IsZero():
		return fmt.Errorf("%w: GUIDs of ESP, disk and data partition are needed", ErrOptions)
	}
	return nil
}

// prepareESP sees to the files on the ESP.
func prepareESP(ctx context.Context, o *Options, r *Result) (err error) {
	w, err := openESP(o)
	if err != nil {
		return err
	}
	defer func() { err = errline.Join(err, w.Close()) }()
	if err := checkBootFiles(w); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("chainload: stopped before the BCD store: %w", err)
	}
	if err := ensureStore(w, o, r); err != nil {
		return err
	}
	r.note(forgetGRUB(w.Volume))
	return nil
}

func (o *Options) vhd() bcd.VHD {
	return bcd.VHD{Disk: o.Disk, Partition: o.Data, Path: bcd.DefaultPath}
}
