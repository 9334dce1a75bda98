package pcdisk

import (
	"errors"
	"fmt"

	"troy/diskwriter/machine"
	"troy/diskwriter/ntfs"
)

// ErrAdopted: the disk is a machine already, so there is nothing to adopt. Nothing was written.
var ErrAdopted = errors.New("the disk is already prepared for Troy")

// FileSizeError is a file that Adopt finds with another size than it needs. Nothing was written.
type FileSizeError struct {
	Name       string // in \Troy\
	Have, Need int64  // bytes
}

// Error gives the numbers.
func (e *FileSizeError) Error() string {
	return fmt.Sprintf("%s%s has %d bytes, it needs %d", Folder, e.Name, e.Have, e.Need)
}

// Adopt makes a machine out of a disk whose \Troy\base.vhdx another program filled. The other files
// must exist with the sizes of FileSizes and be written to their end (fsutil file createnew and
// fsutil file setvaliddata do that in Windows), for no NTFS metadata is written here: slots, boot
// child, journal and the disk record are written into their clusters. Base, ESP and BCD store stay
// as they are.
//
// Errors: ErrAdopted, *FileSizeError, those of MapFiles and of machine.ReadBase; nothing was
// written when Written is 0.
func (t *Target) Adopt(image string, version int) error {
	if t.Judge().Condition == ntfs.Refused {
		return t.Judge().Err
	}
	if m, _, err := t.Open(); err == nil && !m.State().Reinstalling { // what a reinstall left is half written, unless it was replaced since
		return ErrAdopted
	}
	files, err := t.MapFiles()
	if err != nil {
		return err
	}
	base, err := machine.ReadBase(files.Base)
	if err != nil {
		return err
	}
	if err := adoptable(files, base.VirtualSize); err != nil {
		return err
	}
	if err := machine.FormatChildren(files, base, image, version); err != nil {
		return err
	}
	return t.writeRecord()
}

// adoptable checks the sizes. Slots may have any size that holds something.
func adoptable(f machine.Files, virtual int64) error {
	least := machine.SlotSize(virtual, machine.SlotBlockSize)
	for _, c := range []struct {
		name       string
		have, need int64
		exact      bool
	}{
		{machine.BootName, f.Boot.Size, machine.BootChildSize(virtual), true},
		{machine.JournalName, f.Journal.Size, machine.JournalSize, false},
		{machine.LayerAName, f.LayerA.Size, least, false},
		{machine.LayerBName, f.LayerB.Size, least, false},
	} {
		if c.have < c.need || c.exact && c.have != c.need {
			return &FileSizeError{c.name, c.have, c.need}
		}
	}
	return nil
}
