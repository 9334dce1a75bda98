package testlab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/pcdisk"
)

// Healthy lets other programs judge the disk image of a PC that the agent made: sgdisk the
// partitions, ntfsfix and ntfsinfo the volume, fsck.fat and mdir the ESP. The error is all that they
// find.
func Healthy(ctx context.Context, disk string) error {
	dir, err := os.MkdirTemp(os.Getenv("TROY_CACHE"), "healthy-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	volume, esp := filepath.Join(dir, "volume"), filepath.Join(dir, "esp")
	if err := CutVolume(ctx, disk, volume); err != nil {
		return err
	}
	if err := CutESP(ctx, disk, esp); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "sgdisk", "-v", disk).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("No problems found")) {
		err = fmt.Errorf("sgdisk -v: %w\n%s", err, out)
	}
	return errors.Join(err, HealthyVolumes(ctx, volume, esp))
}

// HealthyVolumes is Healthy for the NTFS volume and the ESP, in files of their own.
func HealthyVolumes(ctx context.Context, volume, esp string) error {
	return errors.Join(
		run(ctx, "ntfsfix", "-n", volume),
		run(ctx, "ntfsinfo", "-m", volume),
		run(ctx, "fsck.fat", "-n", esp),
		run(ctx, "mdir", "-i", esp, "::/EFI/Microsoft/Boot/bootmgfw.efi", "::/EFI/Microsoft/Boot/BCD"),
	)
}

// CutESP copies the EFI system partition of a disk image into a file of its own.
func CutESP(ctx context.Context, disk, file string) error {
	return cutFirst(ctx, disk, file, blockdev.TypeESP)
}

// Files hashes the files below a folder, by their paths in it.
func Files(root string) (map[string][sha256.Size]byte, error) {
	files := map[string][sha256.Size]byte{}
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(root, name))
		files[name] = sha256.Sum256(b)
		return err
	})
	return files, err
}

// VolumeFiles hashes the files on an NTFS volume in a file of its own, as ntfs-3g reads them.
func VolumeFiles(ctx context.Context, volume string) (files map[string][sha256.Size]byte, err error) {
	err = pcdisk.Mounted(ctx, volume, func(root string) (err error) {
		files, err = Files(root)
		return err
	})
	return files, err
}

// OnlyVolume is the one partition of a raw disk, GPT or MBR, that may hold a volume.
func OnlyVolume(disk string) (part blockdev.Entry, err error) {
	f, err := os.Open(disk)
	if err != nil {
		return part, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return part, err
	}
	list, err := blockdev.Volumes(f, info.Size(), 512)
	if err != nil {
		return part, err
	}
	if len(list) != 1 {
		return part, fmt.Errorf("%s: %d volumes", disk, len(list))
	}
	return list[0], nil
}

// CutOnlyVolume copies that volume into a file of its own.
func CutOnlyVolume(ctx context.Context, disk, file string) error {
	part, err := OnlyVolume(disk)
	if err != nil {
		return err
	}
	return Cut(ctx, disk, file, part)
}
