package agent

import (
	"context"
	"errors"
	"io"
	"os"

	"troy/chainload/bootfiles"
	"troy/diskwriter/pcdisk"
	"troy/image"
	"troy/image/trust"
	"troy/server/protocol"
)

// provision makes a disk of the machine into one of Troy's and brings the ordered version straight to its place. All that
// can go wrong before is asked before: the plan, the boot files in the image, which disk.
func (a *agent) provision(ctx context.Context, order *protocol.Order) error {
	if err := a.firmware.Supported(); err != nil && !a.o.Running {
		return untouched("provision", err)
	}
	src, err := a.openStore(ctx, order)
	if err != nil {
		return untouched("trust", err)
	}
	plan, err := image.LoadPlan(ctx, src, order.Image, 0, order.Version)
	if err != nil {
		return untouched("plan", err)
	}
	if err := a.remoteBootFiles(ctx, src, order); err != nil {
		return untouched("boot files", err)
	}
	o := &pcdisk.BareOptions{
		Image: order.Image, Version: order.Version, VirtualSize: plan.VirtualSize, LogicalSectorSize: plan.SectorSize,
		SlotBytes: order.Provision.SlotBytes, DataSize: max(order.Provision.SystemBytes, 0), Wipe: false,
	}
	disk, err := a.chooseDisk(ctx, src, order, o)
	if err != nil {
		return untouched("disk", err)
	}
	a.say("provision: %s becomes the disk of this machine, everything on it is lost", disk)
	return a.makeDisk(ctx, src, order, disk.Path, o)
}

// chooseDisk finds the one disk that the order means. One that holds something needs the admin's signature.
func (a *agent) chooseDisk(ctx context.Context, src *trust.Source, order *protocol.Order, o *pcdisk.BareOptions) (pcdisk.DiskInfo, error) {
	disks, err := a.disks()
	if err != nil {
		return pcdisk.DiskInfo{}, err
	}
	ids := a.id.MACs
	if a.id.UUID != "" {
		ids = append([]string{a.id.UUID}, ids...)
	}
	d, wipe, err := pcdisk.Choose(disks, &pcdisk.Order{
		Serial: order.Provision.Serial, Wipe: order.Provision.Wipe, Need: o.Need(), SectorSize: o.LogicalSectorSize,
		Permit: func(d pcdisk.DiskInfo) error { return src.MayWipe(ctx, ids, d.Serial, a.clock.Now()) },
	})
	o.Wipe = wipe
	return d, err
}

// disks are those that the agent may work on.
func (a *agent) disks() ([]pcdisk.DiskInfo, error) {
	if a.o.Disk == "" {
		return pcdisk.Disks()
	}
	d, err := pcdisk.Describe(a.o.Disk, nil)
	return []pcdisk.DiskInfo{d}, err
}

// makeDisk makes partitions, volume and files, and goes on as a reinstall does.
func (a *agent) makeDisk(ctx context.Context, src *trust.Source, order *protocol.Order, path string, o *pcdisk.BareOptions) error {
	err := a.phase("provision", nil, func() error {
		t, _, err := pcdisk.ProvisionBare(ctx, path, o)
		a.target = t
		return err
	})
	if err != nil {
		return unfinished("provision", err)
	}
	a.noWindows, a.admitted = true, true
	a.say("provision: partitions, volume and files are made")
	err = a.reinstall(ctx, order)
	if err != nil && exitCode(err) == ExitUntouched {
		err = unfinished("provision", err)
	}
	return err
}

// efiVariables is where the kernel shows those of the firmware.
const efiVariables = "/sys/firmware/efi/efivars"

// remoteBootFiles takes the boot manager of Windows out of a version that is not on the disk yet.
func (a *agent) remoteBootFiles(ctx context.Context, src image.Source, order *protocol.Order) error {
	v, err := image.OpenVersion(ctx, src, order.Image, order.Version)
	if err != nil {
		return err
	}
	set, err := loadBootFiles(v, v.Size(), int(v.Manifest().SectorSize))
	if err != nil {
		return err
	}
	a.boot = set
	return nil
}

func loadBootFiles(disk io.ReaderAt, size int64, sector int) (*bootfiles.Set, error) {
	firmware, err := bootfiles.ReadTrust(os.DirFS(efiVariables))
	if err != nil {
		return nil, err
	}
	return bootfiles.Load(disk, size, sector, firmware)
}

// putBootFiles sees to it that the ESP has the boot manager of the version that is going to start. An image without one
// leaves what is there; whether that will do, the hand-off finds out.
func (a *agent) putBootFiles(ctx context.Context, disk io.ReaderAt, size int64, sector int) error {
	set := a.boot
	if set == nil {
		var err error
		if set, err = loadBootFiles(disk, size, sector); errors.Is(err, bootfiles.ErrMissing) {
			a.say("boot files: %v; what is on the ESP stays", err)
			return nil
		} else if err != nil {
			return err
		}
	}
	return a.phase("boot files", nil, func() error {
		return a.onESP(func(root string) error {
			r, err := set.Install(ctx, root)
			if err == nil && r.Written > 0 {
				a.say("boot files: %d of %d were written to the ESP", r.Written, r.Written+r.Kept)
			}
			return err
		})
	})
}

// mountedESP runs do with the ESP of the machine mounted.
func (a *agent) mountedESP(do func(root string) error) error {
	return bootfiles.Mounted(partitionPath(a.target.Device.Path(), a.target.ESP.Number), do)
}
