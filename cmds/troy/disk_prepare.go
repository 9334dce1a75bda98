package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"troy/chainload/bcd"
	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/diskwriter/pcdisk"
	"troy/image/install"
	"troy/internal/cli"
	"troy/internal/errline"
	"troy/internal/progress"
	"troy/vhdx"
	"troy/vhdx/vhdxcmd"
)

// diskPrepare is one call of "disk prepare".
type diskPrepare struct {
	*call
	base, espFiles  string
	store, bootCA   string
	keys            keyFlags
	parents         cli.List
	size, slot, esp cli.Size
	data, room      cli.Size
	create          cli.Size
	adopt           bool
	provision       pcdisk.ProvisionOptions
	device          string
	windows         bool // a boot manager is among the ESP's files
	fromImage       []pcdisk.BootFile
	version         *install.Version // of the store
}

func newDiskPrepare(s *cli.Streams) *cobra.Command {
	d := &diskPrepare{call: newCall(s)}
	cmd := leaf("prepare --image NAME DEVICE", "make the disk of a machine that holds a version", d.run)
	cmd.Long = `Make the disk of a machine that holds a version: from a store (--store), from a file (--base), or
empty (--size). --adopt takes over a base.vhdx that is there. Sizes are bytes, with K, M, G or T.`
	d.define(cmd.Flags())
	return cmd
}

func (d *diskPrepare) run(ctx context.Context, args []string) error {
	d.device = args[0]
	if err := d.usage(); err != nil {
		return err
	}
	if d.adopt {
		return d.runAdopt()
	}
	return d.runProvision(ctx)
}

func (d *diskPrepare) define(fs *pflag.FlagSet) {
	o := &d.provision
	fs.StringVar(&o.Image, "image", "", "`name` of the image that the machine holds")
	fs.IntVar(&o.Version, "version", 0, "`number` of its version")
	fs.StringVar(&d.base, "base", "", "VHDX (or chain) or raw image `file` to copy into base.vhdx")
	fs.Var(&d.parents, "parent", "a `file` of the chain of --base, nearest first (default: the name in the child, in its own folder)")
	fs.StringVar(&d.store, "store", "", "`folder` of a store that has the version, instead of --base (--version 0: the newest)")
	d.keys.defineTrust(fs)
	fs.Var(&d.size, "size", "`size` of an empty virtual disk, instead of --base")
	fs.Var(&d.slot, "slot", "`size` of the changes that a version may bring (default: a quarter of the virtual disk)")
	fs.Var(&d.esp, "esp", "`size` of the EFI system partition (default: 512M)")
	fs.Var(&d.data, "data", "`size` of the data volume (default: the rest of the disk)")
	fs.Var(&d.room, "room", "`size` left free on it for Windows' pagefile (default: an eighth of the virtual disk, at most 8G)")
	fs.StringVar(&d.espFiles, "esp-files", "", "`folder` whose files go to the EFI system partition, instead of those in the image; the BCD store is made here")
	fs.StringVar(&d.bootCA, "boot-ca", "2011", "`year` of the CA that the machine's firmware trusts, 2011 or 2023; it chooses the boot manager")
	fs.Var(&d.create, "create", "first make DEVICE, an image file of this `size`")
	fs.IntVar(&o.SectorSize, "sector-size", 0, "logical sector `size` of the image file that is made: 512 or 4096 (default: 512)")
	fs.StringVar(&o.TempDir, "temp", "", "`folder` for a sparse temporary file: as long as the disk, some tens of MB on disk")
	fs.BoolVar(&o.Wipe, "wipe", false, "erase a disk that holds something")
	fs.BoolVar(&d.adopt, "adopt", false, `keep \Troy\base.vhdx as it is, and fill the other files, which are there`)
}

// usage refuses combinations of flags that mean nothing.
func (d *diskPrepare) usage() error {
	o := &d.provision
	switch {
	case o.Image == "" || o.Version < 0 || o.Version == 0 && d.store == "":
		return cli.Usagef("--image NAME and --version N (from 1) say what the machine holds")
	case d.adopt && (d.base != "" || d.size != 0 || d.slot != 0 || d.esp != 0 || d.espFiles != "" || d.create != 0 || o.Wipe ||
		d.store != "" || d.data != 0 || d.room != 0):
		return cli.Usagef("--adopt makes no disk: it goes with --image and --version only")
	case !d.adopt && d.sources() != 1:
		return cli.Usagef("one of --base, --store and --size is needed")
	case d.bootCA != "2011" && d.bootCA != "2023":
		return cli.Usagef("--boot-ca %s: want 2011 or 2023", d.bootCA)
	case o.SectorSize != 0 && d.create == 0:
		return cli.Usagef("--sector-size is for an image file made by --create")
	case o.SectorSize != 0 && o.SectorSize != 512 && o.SectorSize != 4096:
		return cli.Usagef("--sector-size %d: want 512 or 4096", o.SectorSize)
	}
	return nil
}

// sources counts what the content may come from.
func (d *diskPrepare) sources() (n int) {
	for _, given := range []bool{d.base != "", d.store != "", d.size != 0} {
		if given {
			n++
		}
	}
	return n
}

func (d *diskPrepare) runProvision(ctx context.Context) (err error) {
	fate := "the disk is untouched"
	defer func() { err = explainDisk(err, fate) }()
	if err := d.collect(ctx); err != nil {
		return err
	}
	if d.provision.Base != nil {
		defer d.provision.Base.(vhdxcmd.Source).Close()
	}
	if err := d.createImage(); err != nil {
		return err
	}
	meter := progress.New(d.Err, "copying", d.virtual())
	d.provision.Progress = meter
	if err := pcdisk.Provision(ctx, d.device, &d.provision); err != nil {
		if errors.Is(err, pcdisk.ErrUnfinished) {
			fate = "what the disk held is lost; run the command again with --wipe"
			if d.version != nil {
				fate = "what the disk held is lost; run the command again, it goes on"
			}
		}
		if d.create != 0 && !errors.Is(err, pcdisk.ErrUnfinished) {
			os.Remove(d.device) // made a moment ago and empty
		}
		return err
	}
	meter.Done()
	fmt.Fprintf(d.Out, "prepared %s: %s version %d, virtual disk of %d bytes\n", cli.Clean(d.device), cli.Clean(d.provision.Image), d.provision.Version, d.virtual())
	if !d.windows {
		d.Note("there is no Windows Boot Manager on the ESP yet: put it at %s", bcd.BootManagerPath)
	}
	return nil
}

func (d *diskPrepare) virtual() int64 {
	if d.version != nil {
		return d.version.Size()
	}
	if d.provision.Base != nil {
		return d.provision.Base.Size()
	}
	return int64(d.size)
}

// collect opens the base and reads the files for the ESP.
func (d *diskPrepare) collect(ctx context.Context) error {
	o := &d.provision
	o.Size, o.SlotBytes, o.ESPSize, o.DataSize, o.Room = int64(d.size), int64(d.slot), int64(d.esp), int64(d.data), int64(d.room)
	o.Filled = d.filled
	var files []pcdisk.BootFile
	if d.espFiles != "" {
		var err error
		if files, d.windows, err = install.BootFolder(d.espFiles); err != nil {
			return err
		}
	}
	o.BootFiles = func(table *blockdev.Table) ([]pcdisk.BootFile, error) {
		store, err := install.BootStore(table)
		return append(append(files, d.fromImage...), store), err
	}
	if d.store != "" {
		return d.openStore(ctx)
	}
	if d.base == "" {
		return nil
	}
	parents := &vhdx.Parents{Named: d.parents}
	src, err := vhdxcmd.OpenSource(d.base, parents)
	if err != nil {
		return err
	}
	o.Base = src
	if chain, ok := src.(*vhdx.Chain); ok {
		vhdxcmd.NoteChain(d.Streams, chain, parents)
		meta := chain.Files()[0].Metadata()
		o.LogicalSectorSize, o.PhysicalSectorSize = meta.LogicalSectorSize, meta.PhysicalSectorSize
	}
	return nil
}

// createImage makes the image file if one is to be made.
func (d *diskPrepare) createImage() error {
	if d.create == 0 {
		return nil
	}
	if need := pcdisk.DiskSize(&d.provision); int64(d.create) < need {
		return fmt.Errorf("%w: --create %d: a virtual disk of %d bytes with its slots needs %d", pcdisk.ErrNoSpace, d.create, d.virtual(), need)
	}
	f, err := os.OpenFile(d.device, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return &cli.Fault{Err: err, Advice: "without --create it is used as it is"}
	}
	if err != nil {
		return err
	}
	return errline.Join(f.Truncate(int64(d.create)), f.Close())
}

// runAdopt makes a machine of a disk whose parent somebody else made.
func (d *diskPrepare) runAdopt() error {
	t, err := pcdisk.Look(d.device, &blockdev.Options{Exclusive: true})
	if err != nil {
		return explainDisk(&cli.Fault{Err: fmt.Errorf("%s: %w", d.device, err), Advice: adoptAdvice}, fateOf(nil))
	}
	defer t.Close()
	if err := t.Adopt(d.provision.Image, d.provision.Version); err != nil {
		fate := fateOf(nil)
		if t.Written() > 0 {
			fate = "the parent is untouched, the other files are not finished; run the command again"
		}
		return explainDisk(&cli.Fault{Err: err, Advice: d.adoptSizes(t)}, fate)
	}
	fmt.Fprintf(d.Out, "adopted %s: %s version %d\n", cli.Clean(d.device), cli.Clean(d.provision.Image), d.provision.Version)
	return nil
}

const adoptAdvice = `\Troy\ on the data volume needs base.vhdx, layer-a.vhdx, layer-b.vhdx, boot.vhdx and journal, made in Windows by` +
	` fsutil file createnew and fsutil file setvaliddata`

// adoptSizes says how large the files have to be, if the parent can be read.
func (d *diskPrepare) adoptSizes(t *pcdisk.Target) string {
	files, err := t.MapFiles()
	if err != nil {
		return adoptAdvice
	}
	base, err := machine.ReadBase(files.Base)
	if err != nil {
		return ""
	}
	s := pcdisk.FileSizes(base.VirtualSize, 0)
	return fmt.Sprintf("%s; bytes: %s %d exactly, %s %d, both slots %d or what is wanted", adoptAdvice,
		pcdisk.Boot, s[pcdisk.Boot], pcdisk.Journal, s[pcdisk.Journal], s[pcdisk.LayerA])
}
