package initramfs

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/uuid"

	"troy/chainload/release"
	"troy/initramfs/bundle"
	"troy/internal/block"
)

// USBOptions say what a boot stick holds. Boot and Out are required.
type USBOptions struct {
	Boot  *Boot  // starts with Secure Boot on and off
	Out   string // the image file to write, to be copied to a stick as it is
	extra []File // further files of the stick
}

// mediaLabel is the label of the volumes on all media.
const mediaLabel = "TROY"

// removablePath is what UEFI firmware starts from a disk that it knows nothing about
// (UEFI specification, 3.5.1.1).
const removablePath = "EFI/BOOT/BOOTX64.EFI"

const (
	sectorSize = 512
	mebibyte   = 1 << 20
	// minFAT keeps the volume well above the 65525 clusters below which a
	// FAT volume is by definition not FAT32.
	minFAT = 64 * mebibyte
	slack  = 8 * mebibyte // room for file system structures and for a note of the admin
)

// USB writes a disk image that UEFI firmware boots from a stick: GPT with one EFI system partition
// (FAT32), and a boot record that tells a BIOS that Troy needs UEFI. All identifiers are derived
// from the content and all times are fixed, so the same input gives the same bytes. The mtools must
// be installed.
func USB(ctx context.Context, o *USBOptions) error {
	files, err := o.files()
	if err != nil {
		return err
	}
	id, total := identity(files)
	fat := max(minFAT, block.RoundUp(total+slack, mebibyte))
	return replaceFile(o.Out, func(f *os.File) error {
		size := fat + 2*mebibyte // one before the partition, one for the second GPT
		if err := f.Truncate(size); err != nil {
			return err
		}
		if err := writeGPT(f, size, fat, id); err != nil {
			return fmt.Errorf("partition table: %w", err)
		}
		if _, err := f.WriteAt(biosStub(), 0); err != nil {
			return err
		}
		v := volume{image: f.Name(), offset: mebibyte, size: fat, label: mediaLabel, serial: id.derive("volume").ID()}
		return v.write(ctx, files)
	})
}

func (o *USBOptions) files() ([]File, error) {
	files, err := o.Boot.mediaFiles(grubConfig)
	if err != nil {
		return nil, err
	}
	loaders, err := o.Boot.removable(bundle.GRUBDisk)
	return slices.Concat(loaders, files, o.extra), err
}

// removable are the boot loaders at the removable media path.
func (b *Boot) removable(grub string) ([]File, error) {
	shim, err := b.Bundle.Read(release.Shim)
	if err != nil {
		return nil, err
	}
	second, err := b.Bundle.Read(grub)
	return []File{{Name: removablePath, Data: shim}, {Name: loaderName, Data: second}}, err
}

// contentID is a hash of all that a stick holds.
type contentID [sha256.Size]byte

// derive returns an identifier for one purpose, a version 8 UUID of RFC 9562.
func (id contentID) derive(purpose string) uuid.UUID {
	return uuid.NewHash(sha256.New(), uuid.Nil, append(id[:], purpose...), 8)
}

func identity(files []File) (id contentID, total int64) {
	h := sha256.New()
	for _, f := range files {
		fmt.Fprintf(h, "%s\x00%d\x00", f.Name, len(f.Data))
		h.Write(f.Data)
		total += int64(len(f.Data))
	}
	return contentID(h.Sum(nil)), total
}

func writeGPT(f *os.File, size, fat int64, id contentID) error {
	t := gpt.Table{
		LogicalSectorSize: sectorSize, PhysicalSectorSize: sectorSize, ProtectiveMBR: true,
		GUID: strings.ToUpper(id.derive("disk").String()),
		Partitions: []*gpt.Partition{{
			Index: 1, Start: mebibyte / sectorSize, End: uint64(mebibyte+fat)/sectorSize - 1, Size: uint64(fat),
			Type: gpt.EFISystemPartition, Name: "TROY", GUID: strings.ToUpper(id.derive("partition").String()),
		}},
	}
	return t.Write(f, size)
}

// parents returns the directories above the files, outer before inner.
func parents(files []File) []string {
	var dirs []string
	seen := map[string]bool{".": true, "/": true}
	var add func(string)
	add = func(dir string) {
		if seen[dir] {
			return
		}
		seen[dir] = true
		add(path.Dir(dir))
		dirs = append(dirs, dir)
	}
	for _, f := range files {
		add(path.Dir(path.Clean(f.Name)))
	}
	return dirs
}
