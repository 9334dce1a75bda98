package machine

import (
	"context"
	"errors"

	"troy/internal/guid"
)

// plan finds out which of parent and boot child can be used as they are, and whether the other can
// be made again. It writes nothing.
func (in *Reinstaller) plan() error {
	m := in.m
	baseErr, bootErr := in.judgeBase(), m.checkLayout(&change{})
	disk := in.describe(baseErr, bootErr)
	if disk == nil {
		return errors.Join(baseErr, bootErr)
	}
	if r := in.req; r.VirtualSize != 0 && r.VirtualSize != disk.VirtualSize || r.LogicalSectorSize != 0 && r.LogicalSectorSize != disk.LogicalSectorSize {
		return &SizeError{Want: r.VirtualSize, WantSector: r.LogicalSectorSize, Have: disk.VirtualSize, HaveSector: disk.LogicalSectorSize}
	}
	if baseErr == nil && bootErr == nil {
		bootErr = m.boot.agrees(m.base)
	}
	if baseErr != nil {
		if m.files.Base.Size < BaseSize(disk.VirtualSize) {
			return baseErr
		}
		in.newBase = disk
	}
	if bootErr != nil {
		if m.files.Boot.Size != BootChildSize(disk.VirtualSize) {
			return bootErr
		}
		in.newBoot, m.reinstalling = disk, false
	}
	return nil
}

// judgeBase returns why the parent cannot be written over in place.
func (in *Reinstaller) judgeBase() error {
	_, err := newPayload(opReinstall, in.m.files.Base, in.m.base)
	return err
}

// describe says which virtual disk the files were made for, by the best of them; without one, it is
// the one that was ordered. nil: that is not known either.
func (in *Reinstaller) describe(baseErr, bootErr error) *Base {
	of := func(d *diskFile) *Base {
		return &Base{VirtualSize: d.meta.VirtualDiskSize, LogicalSectorSize: d.meta.LogicalSectorSize,
			PhysicalSectorSize: d.meta.PhysicalSectorSize, DiskID: d.meta.VirtualDiskID}
	}
	switch m := in.m; {
	case baseErr == nil:
		return of(m.base)
	case bootErr == nil:
		return of(m.boot)
	case m.base.checkBase() == nil:
		return of(m.base)
	}
	b, err := (&BaseOptions{VirtualSize: in.req.VirtualSize, LogicalSectorSize: in.req.LogicalSectorSize}).base()
	if err != nil {
		return nil
	}
	return b
}

// poisonBoot makes the boot child name no file, so that nothing boots until the end.
func (in *Reinstaller) poisonBoot(ctx context.Context) error {
	m := in.m
	if m.reinstalling {
		return nil
	}
	if in.newBoot != nil {
		return m.step(opReinstall, "make the boot child again", func() error {
			return formatBootChild(m.files.Boot, in.newBoot, bootNames{own: guid.New(), parent: unfinishedName})
		})
	}
	return m.runChange(ctx, &change{op: opReinstall, parent: &diskFile{name: unfinishedName}, reset: true}, commitSteps())
}
