package chainload

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"troy/chainload/bcd"
	"troy/chainload/efiboot"
	"troy/chainload/esp"
	"troy/chainload/internal/grubenv"
	"troy/internal/errline"
)

// Left is what the last hand-off left: what it set up and was not used, and what became of the
// agent's place.
type Left struct {
	Firmware bool // the firmware's variables were read: the others are known
	BootNext bool // BootNext still names Windows Boot Manager: the firmware ignored it
	GRUB     bool // GRUB was not started, or cannot write: it still has to start Windows once
	Behind   bool // Windows comes before the agent in BootOrder
}

// Look sees what the last hand-off left, for Judge. It only reads. What cannot
// be read counts as not left, and the error is a note. Of the options the ESP
// and Variables are used.
func Look(o *Options) (Left, error) {
	v, err := openVariables(o)
	if err != nil {
		return Left{}, err
	}
	l := Left{Firmware: true}
	all, err := efiboot.Entries(v)
	if err != nil {
		return Left{}, fmt.Errorf("%w: %w", ErrFirmware, err)
	}
	next, ok := efiboot.BootNext(v)
	l.BootNext = ok && slices.ContainsFunc(all, func(f efiboot.Found) bool {
		return f.Number == next && (f.Option.Starts(o.ESP.GUID, bcd.BootManagerPath) || startsDefault(f.Option, o))
	})
	current, known := efiboot.BootCurrent(v)
	if s, err := readOrder(v, o, nil, current, known); err == nil {
		l.Behind = s.behind()
	}
	l.GRUB, err = lookGRUB(o)
	return l, err
}

func lookGRUB(o *Options) (left bool, err error) {
	v, err := esp.Open(o.ESPDevice, o.espDir)
	if err != nil {
		return false, err
	}
	defer func() { err = errline.Join(err, v.Close()) }()
	return leftGRUB(v)
}

func leftGRUB(v *esp.Volume) (bool, error) {
	_, block, err := readGRUB(v)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	next, err := grubenv.Get(block, grubenv.Next)
	return next == grubenv.Windows, err
}

// forgetGRUB takes back what GRUB was told earlier: it would pass the agent over at some later
// start.
func forgetGRUB(v *esp.Volume) error {
	err := changeGRUB(v, forgotten)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
