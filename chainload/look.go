package chainload

import (
	"errors"
	"io/fs"

	"troy/chainload/bcd"
	"troy/chainload/efiboot"
	"troy/chainload/esp"
	"troy/chainload/internal/grubenv"
	"troy/internal/errline"
)

// Left is what the last hand-off set up and was not used.
type Left struct {
	BootNext bool // BootNext still names Windows Boot Manager: the firmware ignored it
	GRUB     bool // GRUB was not started, or cannot write: it still has to start Windows once
}

// Look sees what the last hand-off left, for Judge. It only reads. What cannot
// be read counts as not left, and the error is a note. Of the options the ESP
// and Variables are used.
func Look(o *Options) (Left, error) {
	v, err := openVariables(o)
	if err != nil {
		return Left{}, err
	}
	var l Left
	if next, ok := efiboot.BootNext(v); ok {
		windows, err := efiboot.FindEntry(v, o.ESP.GUID, bcd.BootManagerPath)
		l.BootNext = err == nil && windows != nil && windows.Number == next
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

// forgetGRUB takes back an earlier order to GRUB: it would pass the agent over
// at some later start.
func forgetGRUB(v *esp.Volume) error {
	left, err := leftGRUB(v)
	if err != nil || !left {
		return err
	}
	dir, block, err := readGRUB(v)
	if err != nil {
		return err
	}
	if block, err = grubenv.Set(block, grubenv.Next, ""); err != nil {
		return err
	}
	return errline.Join(v.MakeWritable(), dir.Overwrite(grubenv.Name, block))
}
