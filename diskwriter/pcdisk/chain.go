package pcdisk

import (
	"fmt"
	"io"
	"strings"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/diskwriter/ntfs"
	"troy/vhdx"
)

// Chain reads what Windows would see on the machine: the session in the boot child over the version
// it sits on. Logs are replayed in memory. Errors: machine.ErrChain, and those of package vhdx.
func Chain(f machine.Files) (*vhdx.Chain, error) {
	leaf, err := vhdx.NewFile(f.Boot.Storage, f.Boot.Size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", machine.BootName, err)
	}
	return vhdx.ResolveChain(leaf, func(child *vhdx.File) (*vhdx.File, error) {
		name, file, err := Parent(f, child)
		if err != nil {
			return nil, err
		}
		parent, err := vhdx.NewFile(file.Storage, file.Size)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return parent, nil
	})
}

// Parent returns which of the files a child names as its parent. Error: machine.ErrChain.
func Parent(f machine.Files, child *vhdx.File) (string, machine.File, error) {
	name := strings.ToLower(child.ParentName())
	for known, file := range map[string]machine.File{
		machine.BaseName: f.Base, machine.LayerAName: f.LayerA, machine.LayerBName: f.LayerB,
	} {
		if name == known {
			return name, file, nil
		}
	}
	return "", machine.File{}, fmt.Errorf("%w: a child names %q as its parent", machine.ErrChain, name)
}

// windowsFolder is what tells the volume of Windows from others.
const windowsFolder = `\Windows`

// WindowsVolume finds the NTFS volume that Windows boots from on a virtual disk: the first that
// has a folder Windows; where none has, the only NTFS volume. Whatever else the disk holds plays no
// part. Nil without an error: there is none, or it cannot be told which. Errors: those of
// blockdev.Volumes.
func WindowsVolume(disk io.ReaderAt, size int64, sectorSize int) (*ntfs.Volume, error) {
	list, err := blockdev.Volumes(disk, size, sectorSize)
	if err != nil {
		return nil, err
	}
	var others []*ntfs.Volume
	for _, e := range list {
		v, err := ntfs.Open(io.NewSectionReader(disk, e.Start, e.Size), e.Size)
		if err != nil {
			continue // another file system, or a damaged one
		}
		if _, err := v.Lookup(windowsFolder); err == nil {
			return v, nil
		}
		others = append(others, v)
	}
	if len(others) == 1 {
		return others[0], nil
	}
	return nil, nil
}
