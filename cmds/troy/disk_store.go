package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"troy/chainload/bootfiles"
	"troy/chainload/secureboot"
	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/diskwriter/pcdisk"
	"troy/image"
	"troy/image/install"
	"troy/internal/cli"
	"troy/internal/errline"
	"troy/internal/progress"
)

// openStore opens the version that is to be filled in.
func (d *diskPrepare) openStore(ctx context.Context) error {
	src, err := (&imageCall{call: d.call, dir: d.store}).openSigned(ctx, &d.keys)
	if err != nil {
		return err
	}
	o := &d.provision
	if d.version, err = install.Open(ctx, src, o.Image, o.Version, nil); err != nil {
		return err
	}
	o.Version, o.Manifest = d.version.Plan().Want, d.version.Manifest()
	o.Content, o.LogicalSectorSize = d.version, d.version.Plan().SectorSize
	return nil
}

// filled looks at what the parent holds now: whether it is the version, and which boot files it has
// for the ESP.
func (d *diskPrepare) filled(ctx context.Context, r *machine.Reinstaller) error {
	if d.version != nil {
		meter := progress.New(d.Err, "verifying", r.Size())
		_, err := d.version.Repair(ctx, r, meter)
		meter.Done()
		if err != nil {
			return err
		}
	}
	if d.espFiles != "" || d.size != 0 {
		return nil
	}
	sector := int(d.provision.LogicalSectorSize)
	if sector == 0 {
		sector = 512
	}
	firmware := &secureboot.Firmware{} // that of the PC is not known here
	if d.bootCA == "2023" {
		firmware.CAs = []secureboot.CA{{Name: secureboot.CA2023}}
	}
	files, err := install.BootFiles(r, r.Size(), sector, firmware)
	if errors.Is(err, bootfiles.ErrMissing) || errors.Is(err, blockdev.ErrNoTable) {
		d.Note("%v", err)
		return nil
	}
	if err != nil {
		return err
	}
	d.fromImage = append(d.fromImage, files...)
	d.windows = true
	return nil
}

// diskStore is one call of "disk heal" or "disk reinstall".
type diskStore struct {
	*call
	dir, image string
	named      bool // an image has to be named
	number     int
	device     string
	keys       keyFlags
	store      image.Source
}

// define adds the flags that heal and reinstall share.
func (d *diskStore) define(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVar(&d.dir, "store", "", "`folder` of the store that has the version")
	d.keys.defineTrust(cmd.Flags())
	return d.withJSON(cmd)
}

func (d *diskStore) open(ctx context.Context, device string) (t *pcdisk.Target, err error) {
	d.device = device
	if d.named && d.image == "" {
		return nil, cli.Usagef("--store DIR and the image say where the version is")
	}
	if d.store, err = d.openStore(ctx); err != nil {
		return nil, err
	}
	t, err = pcdisk.Look(d.device, &blockdev.Options{Exclusive: true})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.device, err)
	}
	note, err := t.Admit()
	if err != nil {
		return nil, errline.Join(fmt.Errorf("%s: %w", d.device, err), t.Close())
	}
	if note != "" {
		d.Note("%s", note)
	}
	return t, nil
}

func (d *diskStore) openStore(ctx context.Context) (image.Source, error) {
	if d.dir == "" {
		return nil, cli.Usagef("--store DIR says where the version is")
	}
	return (&imageCall{call: d.call, dir: d.dir}).openSigned(ctx, &d.keys)
}

// finish opens the machine again and prints what it holds.
func (d *diskStore) finish(t *pcdisk.Target, done string) error {
	m, err := machine.Open(t.Files())
	if err != nil {
		return err
	}
	if err := t.Record(); err != nil {
		return err
	}
	res := &jsonDiskChange{Device: d.device, Written: t.Written(), State: newJSONState(m.State())}
	if d.json {
		return d.JSON(res)
	}
	fmt.Fprintf(d.Out, "%s: %s %s (%s written)\n", done, cli.Clean(d.device), res.State, progress.Bytes(res.Written))
	return nil
}

func newDiskHeal(s *cli.Streams) *cobra.Command {
	d := &diskStore{call: newCall(s)}
	return d.define(leaf("heal --store DIR DEVICE", "repair a base.vhdx that was opened read-write elsewhere", d.heal))
}

func (d *diskStore) heal(ctx context.Context, args []string) error {
	t, err := d.open(ctx, args[0])
	if err != nil {
		return explainDisk(err, fateOf(nil))
	}
	defer t.Close()
	meter := progress.New(d.Err, "comparing", 0)
	wrong, err := install.Heal(ctx, t.Files(), d.store, nil, meter)
	meter.Done()
	if err == nil {
		err = d.finish(t, fmt.Sprintf("healed %d regions of 1 MiB", wrong))
	}
	return explainDisk(err, healFate(t))
}

func healFate(t *pcdisk.Target) string {
	if t.Written() == 0 {
		return fateOf(nil)
	}
	return "the disk was written to and still starts nothing; run the command again"
}

func newDiskReinstall(s *cli.Streams) *cobra.Command {
	d := &diskStore{call: newCall(s), named: true}
	cmd := leaf("reinstall --store DIR --image NAME DEVICE", "write a whole version into base.vhdx", d.runReinstall)
	cmd.Long = `Write a whole version into base.vhdx. If this is cut off, the machine does not boot until the
command is run again.`
	cmd.Flags().StringVar(&d.image, "image", "", "`name` of the image")
	cmd.Flags().IntVar(&d.number, "version", 0, "`number` of the version (default: the newest)")
	return d.define(cmd)
}

func (d *diskStore) runReinstall(ctx context.Context, args []string) error {
	t, err := d.open(ctx, args[0])
	if err != nil {
		return explainDisk(err, fateOf(nil))
	}
	defer t.Close()
	fate := func() string {
		if t.Written() == 0 {
			return fateOf(nil)
		}
		return "the machine starts nothing until the command has been run again to its end"
	}
	if err := d.reinstall(ctx, t); err != nil {
		return explainDisk(err, fate())
	}
	return explainDisk(d.finish(t, "reinstalled"), fateOf(t))
}

func (d *diskStore) reinstall(ctx context.Context, t *pcdisk.Target) error {
	v, err := install.Open(ctx, d.store, d.image, d.number, nil)
	if err != nil {
		return err
	}
	fill := &stage{w: d.Err, what: "writing"}
	read := &stage{w: d.Err, what: "verifying", total: v.Size(), before: fill}
	defer read.Done()
	return v.Reinstall(ctx, t, fill, read)
}
