package pcdisk

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/diskwriter/ntfs"
	"troy/internal/errline"
)

// Errors of finding and opening; nothing was written with any of them.
var (
	// ErrNone: no disk has a \Troy\ folder.
	ErrNone = errors.New("no disk prepared for Troy")
	// ErrAmbiguous: several disks have one, so none is taken.
	ErrAmbiguous = errors.New("more than one disk is prepared for Troy")
	// ErrForeign: the disk is not the one that was recorded at provisioning.
	ErrForeign = errors.New("not the disk that was recorded at provisioning")
	// ErrHalfPrepared: the disk was being made and that was interrupted. ProvisionBare starts over.
	ErrHalfPrepared = errors.New("half prepared: its preparation was interrupted and has to be run again")
	// ErrUnclean: the volume was not dismounted and may not be what it seems.
	ErrUnclean = errors.New("the volume has to be repaired by Windows first")
)

// Target is the disk of the machine. It holds the device open.
type Target struct {
	Device *blockdev.Device
	Table  *blockdev.Table
	ESP    blockdev.Entry
	Data   blockdev.Entry

	part  *countedPartition
	files map[string]*ntfs.MappedFile
}

// FindError says what was seen on each disk. It unwraps to ErrNone or ErrAmbiguous and to what went
// wrong.
type FindError struct {
	Class error
	Seen  []string // a line for each disk
	Errs  []error
}

// Error gives one line.
func (e *FindError) Error() string {
	if len(e.Seen) == 0 {
		return e.Class.Error() + " (the machine shows no disk at all)"
	}
	return fmt.Sprintf("%v (%s)", e.Class, strings.Join(e.Seen, "; "))
}

// Unwrap returns the class and the errors behind it.
func (e *FindError) Unwrap() []error { return append([]error{e.Class}, e.Errs...) }

// Find looks at the disks (or image files) at the given paths and opens the one that is prepared.
// The error is a *FindError. The caller closes the target.
func Find(paths []string) (*Target, error) {
	var found []*Target
	fail := &FindError{Class: ErrNone}
	for _, path := range paths {
		t, err := Look(path, nil)
		if err != nil {
			fail.Seen = append(fail.Seen, fmt.Sprintf("%s: %v", path, err))
			fail.Errs = append(fail.Errs, err)
			continue
		}
		found = append(found, t)
	}
	if len(found) == 1 {
		return found[0], nil
	}
	for _, t := range found {
		fail.Class = ErrAmbiguous
		fail.Seen = append(fail.Seen, t.Device.Path()+": prepared")
		t.Close()
	}
	return nil, fail
}

// countedPartition counts what is written through it.
type countedPartition struct {
	*blockdev.Partition
	written atomic.Int64
}

// WriteAt counts the bytes before they are written: what fails may have reached the disk.
func (p *countedPartition) WriteAt(b []byte, off int64) (int, error) {
	p.written.Add(int64(len(b)))
	return p.Partition.WriteAt(b, off)
}

// Written returns how many bytes the target was told to write to its \Troy\ files; 0: the disk is
// untouched.
func (t *Target) Written() int64 { return t.part.written.Load() }

// Close closes the device.
func (t *Target) Close() error { return t.Device.Close() }

// Look opens the one disk (or image file) at path if it is prepared. With o read only nothing can
// be written to it, and Record fails. The caller closes the target. A disk whose preparation was
// cut off is ErrHalfPrepared.
func Look(path string, o *blockdev.Options) (*Target, error) {
	t, err := open(path, o)
	if err != nil {
		return nil, err
	}
	mark, err := unfinishedMark(t.Device)
	if mark != nil {
		err = ErrHalfPrepared
	}
	if err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// open is Look for the code that prepares the disk.
func open(path string, o *blockdev.Options) (*Target, error) {
	dev, err := blockdev.Open(path, o)
	if err != nil {
		return nil, err
	}
	t := &Target{Device: dev}
	if err := t.identify(); err != nil {
		dev.Close()
		return nil, err
	}
	return t, nil
}

// identify finds ESP and data partition.
func (t *Target) identify() (err error) {
	if t.Table, err = t.Device.ReadTable(); err != nil {
		return err
	}
	var data []blockdev.Entry
	var why error
	for _, e := range t.Table.ByType(blockdev.TypeBasicData) {
		ok, err := t.hasJournal(e)
		if ok {
			data = append(data, e)
		}
		why = errline.Join(why, err)
	}
	switch {
	case len(data) == 0 && why != nil:
		return why
	case len(data) == 0:
		return errors.New(`no volume with a \Troy\ folder`)
	case len(data) > 1:
		return fmt.Errorf("%w: %d of its partitions have a \\Troy\\ folder", ErrAmbiguous, len(data))
	}
	esps := t.Table.ByType(blockdev.TypeESP)
	if len(esps) != 1 {
		return fmt.Errorf("%d EFI system partitions, want one", len(esps))
	}
	t.ESP, t.Data = esps[0], data[0]
	part, err := t.Device.Partition(t.Data)
	t.part = &countedPartition{Partition: part}
	return err
}

// hasJournal tells whether the partition is an NTFS volume with \Troy\journal. The error is for
// volumes that may be ours but cannot be read.
func (t *Target) hasJournal(e blockdev.Entry) (bool, error) {
	part, err := t.Device.Partition(e)
	if err != nil {
		return false, err
	}
	v, err := ntfs.Open(part, part.Size())
	if errors.Is(err, ntfs.ErrNotNTFS) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("partition %d: %w", e.Number, err)
	}
	_, err = v.Lookup(Folder + machine.JournalName)
	if errors.Is(err, ntfs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
