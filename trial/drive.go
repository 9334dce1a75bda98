package trial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/diskfs/go-diskfs/partition/gpt"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/ntfs"
	"troy/gates"
	"troy/internal/errline"
	"troy/internal/tool"
	"troy/trial/inside"
)

// drive is a disk with one NTFS volume, in bytes.
const (
	driveSize   = 1 << 30
	volumeFirst = 1 << 20
	volumeSize  = driveSize - 2*volumeFirst
	sector      = 512
)

// gatesFolder is where the program in Windows looks for test disks.
const gatesFolder = "gates"

func (t *Trial) gatesDir() string { return filepath.Join(t.o.Dir, "drive", gatesFolder) }

// testDisks has Windows try the test disks, and judges what it left.
func (t *Trial) testDisks(ctx context.Context) error {
	_, b := t.pcs()
	dir, drive := t.gatesDir(), filepath.Join(t.o.Dir, "gates.img")
	if err := os.RemoveAll(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	if _, err := t.troy.run(ctx, "gates", "make", dir); err != nil {
		return err
	}
	if err := makeDrive(ctx, filepath.Dir(dir), drive); err != nil {
		return err
	}
	defer os.Remove(drive)
	_, v, err := t.up(ctx, b, power{drive: drive, order: inside.Order{Do: []inside.Action{inside.Disks}}}, t.state.Good, expect{})
	if err != nil {
		return err
	}
	if !slices.Contains(v.Record.Did, inside.Disks) {
		return os.RemoveAll(dir) // the record says why, and was shown
	}
	if err := readDrive(drive, dir); err != nil {
		return err
	}
	_, err = t.troy.run(ctx, "gates", "judge", "--yes", dir)
	t.find("gates", err == nil, "the test disks were tried inside Windows, and judged")
	return nil
}

// joined adds what the test disks answered to a result.
func (t *Trial) joined(r *gates.Result) (*gates.Result, error) {
	b, err := os.ReadFile(filepath.Join(t.gatesDir(), gates.FileName))
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	disks, err := gates.Parse(b)
	if err != nil {
		return nil, err
	}
	return gates.Join(r, disks)
}

// makeDrive makes a disk whose volume has what is in a folder.
func makeDrive(ctx context.Context, dir, out string) (err error) {
	volume, archive := out+".volume", out+".wim"
	defer os.Remove(volume)
	defer os.Remove(archive)
	if err := sparse(volume, volumeSize); err != nil {
		return err
	}
	for _, c := range [][]string{
		{"mkntfs", "-F", "-Q", "-q", "-L", "gates", "-p", fmt.Sprint(volumeFirst / sector), "-H", "0", "-S", "0", volume},
		{"wimlib-imagex", "capture", dir, archive, "--compress=none", "--no-acls", "--quiet"},
		{"wimlib-imagex", "apply", archive, "1", volume, "--quiet"},
	} {
		if err := tool.Run(ctx, &tool.Command{Name: c[0], Args: c[1:]}); err != nil {
			return err
		}
	}
	if err := sparse(out, driveSize); err != nil {
		return err
	}
	disk, err := os.OpenFile(out, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errline.Join(err, disk.Close()) }()
	from, err := os.Open(volume)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := copyPages(ctx, io.NewOffsetWriter(disk, volumeFirst), from, zeros{}, volumeSize, func(int64) {}); err != nil {
		return err
	}
	table := &gpt.Table{LogicalSectorSize: sector, PhysicalSectorSize: sector, ProtectiveMBR: true, Partitions: []*gpt.Partition{{
		Index: 1, Name: gatesFolder, Type: gpt.MicrosoftBasicData, Start: volumeFirst / sector, Size: volumeSize, End: (volumeFirst+volumeSize)/sector - 1,
	}}}
	return table.Write(disk, driveSize)
}

func sparse(path string, size int64) error {
	f, err := os.Create(filepath.Clean(path))
	if err != nil {
		return err
	}
	return errline.Join(f.Truncate(size), f.Close())
}

// readDrive takes the folder out of a drive that Windows has written to. Files that are the same
// are written anew.
func readDrive(path, dir string) error {
	dev, err := blockdev.Open(path, &blockdev.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer dev.Close()
	volume, err := ntfs.Open(io.NewSectionReader(dev, volumeFirst, volumeSize), volumeSize)
	if err != nil {
		return err
	}
	return readFolder(volume, `\`+gatesFolder, dir)
}

func readFolder(volume *ntfs.Volume, from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	list, err := volume.List(from)
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.Name != filepath.Base(e.Name) || strings.HasPrefix(e.Name, ".") {
			return fmt.Errorf("the drive holds a file %q", e.Name)
		}
		inner, outer := from+`\`+e.Name, filepath.Join(to, e.Name)
		if _, err := volume.List(inner); err == nil {
			err = readFolder(volume, inner, outer)
			if err != nil {
				return err
			}
			continue
		}
		if err := readFile(volume, inner, outer); err != nil {
			return fmt.Errorf("%s: %w", inner, err)
		}
	}
	return nil
}

func readFile(volume *ntfs.Volume, from, to string) error {
	f, err := volume.OpenFile(from)
	if err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.NewSectionReader(f, 0, f.Size()))
	return errline.Join(err, out.Close())
}
