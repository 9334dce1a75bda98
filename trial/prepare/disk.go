package prepare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"

	"troy/chainload/setup"
	"troy/diskwriter/blockdev"
	"troy/diskwriter/ntfs"
	"troy/image/source"
	"troy/image/startable"
	"troy/image/unattend"
	"troy/initramfs/bundle"
	"troy/internal/block"
	"troy/internal/errline"
	"troy/internal/progress"
	"troy/trial/inside"
	"troy/vhdx"
)

// ErrRefused: the disk is not one that a trial can take. Nothing was written.
var ErrRefused = errors.New("this disk cannot be taken for a trial")

// DiskName is the name of the trial's own copy of a disk.
const DiskName = "windows.raw"

// Folders in which [Disk] works.
const (
	sourceFolder = "source-*"
	guestFolder  = "prepare-*"
)

// Clear removes the copy of a disk from a trial's folder, and what a [Disk] left that was killed.
func Clear(dir string) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		for _, pattern := range []string{DiskName, sourceFolder, guestFolder} {
			if ours, _ := path.Match(pattern, e.Name()); !ours { // all of them are good patterns
				continue
			}
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// Options say what to prepare. All but Language, Self, Parents and Progress are required.
type Options struct {
	Source   source.Source  // opened for reading only
	Parents  *vhdx.Parents  // of a differencing VHDX
	Dir      string         // the trial's folder
	Program  string         // path of troy-gates.exe
	Bundle   *bundle.Bundle // whose Linux writes to the copy
	Self     string         // the program that is its init, which calls Inside; "": the running one
	Ballast  int            // size of the ballast in MiB
	Stamp    uint32         // of the ballast
	Language string         // of the answers, for a Windows whose setup has not run; "": DefaultLanguage
	Progress progress.Start
}

// Prepared is the trial's own copy of a disk.
type Prepared struct {
	Path string // a raw image
	// Setup: the setup of this Windows has still to run. It has the answer file instead of the
	// service, and its first logon needs the trial's disc.
	Setup bool
	Notes []string // what package source found
}

// Disk copies a disk with an installed Windows into the trial's folder and gives the copy the
// program. The copy is gone when it fails. Errors: ErrRefused before anything is written, those of
// packages source, space and vm.
func Disk(ctx context.Context, o *Options) (p *Prepared, err error) {
	if source.Installs(o.Source) {
		return nil, fmt.Errorf("%w: it is an installation medium", ErrRefused)
	}
	scratch, err := os.MkdirTemp(o.Dir, sourceFolder)
	if err != nil {
		return nil, err
	}
	defer func() { err = errline.Join(err, os.RemoveAll(scratch)) }()
	d, err := o.Source.Open(ctx, &source.Options{Parents: o.Parents, Progress: o.Progress,
		Scratch: func() (string, error) { return scratch, nil }})
	if err != nil {
		return nil, err
	}
	defer func() { err = errline.Join(err, d.Close()) }()
	w, err := judge(d.Reader, d.Size, int(d.SectorSize))
	if err != nil {
		return nil, err
	}
	j, files, err := w.plan(ctx, o)
	if err != nil {
		return nil, err
	}
	p = &Prepared{Path: filepath.Join(o.Dir, DiskName), Setup: w.setup, Notes: d.Notes}
	if err := copyDisk(ctx, p.Path, d.Disk, o.Progress); err != nil {
		return nil, err
	}
	err = runGuest(ctx, o, p.Path, int(d.SectorSize), j, files)
	if err == nil {
		err = w.compare(p.Path, j, files)
	}
	if err != nil {
		return nil, errline.Join(err, os.Remove(p.Path))
	}
	return p, nil
}

// windows is the Windows on a disk.
type windows struct {
	start, size int64 // of its volume
	volume      *ntfs.Volume
	setup       bool // has still to run
}

// refusals are the findings for which a disk is refused here. Others are judged when it is
// published.
var refusals = []startable.Reason{startable.BitLocker, startable.Hibernated, startable.NoTable, startable.SectorSize, startable.TooLarge,
	startable.Damaged, startable.NoWindows, startable.ManyWindows, startable.NoRegistry, startable.HalfGeneralised, startable.Unclean, startable.Unclosed}

// judge finds the Windows on a disk, and refuses what must not be written to.
func judge(disk io.ReaderAt, size int64, sector int) (*windows, error) {
	for _, f := range startable.Check(disk, size, sector).Findings {
		if slices.Contains(refusals, f.Reason) {
			return nil, fmt.Errorf("%w: %s", ErrRefused, f.String())
		}
	}
	list, err := blockdev.Volumes(disk, size, sector)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		v, err := ntfs.Open(io.NewSectionReader(disk, e.Start, e.Size), e.Size)
		if err != nil {
			continue // another file system
		}
		if _, err := v.Lookup(hivePath); err != nil {
			continue
		}
		pending, err := setup.Pending(disk, size, sector)
		return &windows{e.Start, e.Size, v, pending}, err
	}
	return nil, fmt.Errorf(`%w: no volume has %s`, ErrRefused, hivePath)
}

const hivePath = `\Windows\System32\config\SYSTEM`

// plan says what is to be written to the volume: files, by their paths in it.
func (w *windows) plan(ctx context.Context, o *Options) (*job, map[string][]byte, error) {
	if w.setup {
		for _, folder := range unattend.Folders {
			if _, err := w.volume.Lookup(folder); err != nil {
				continue
			}
			answer, err := Answer(o.Language)
			return &job{Start: w.start}, map[string][]byte{folder + `\` + unattend.Name: answer}, err
		}
		return nil, nil, fmt.Errorf("%w: its setup has still to run, and there is no folder for the answers", ErrRefused)
	}
	program, err := os.ReadFile(o.Program)
	if err != nil {
		return nil, nil, err
	}
	f, err := w.volume.OpenFile(hivePath)
	if err != nil {
		return nil, nil, err
	}
	hive := make([]byte, f.Size())
	if err := block.ReadFull(f, hive, 0); err != nil {
		return nil, nil, err
	}
	hive, err = addService(ctx, hive, o.Dir)
	if err != nil {
		return nil, nil, err
	}
	j := &job{Start: w.start, Order: &inside.Order{Number: 1, BallastMiB: o.Ballast, Stamp: o.Stamp}}
	return j, map[string][]byte{hivePath: hive, inside.Folder + inside.ProgramFile: program}, nil
}
