package initramfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"troy/initramfs/bundle"
	"troy/internal/block"
	"troy/internal/durable"
)

// ErrNoXorriso says that the program that writes ISO images is not installed.
var ErrNoXorriso = errors.New("xorriso is not installed (Debian package xorriso)")

// ISOOptions say what an ISO image holds. Boot and Out are required.
type ISOOptions struct {
	Boot *Boot
	Out  string // the file to write
}

// cdFAT is the size of the volume with the boot loaders.
const cdFAT = 16 * mebibyte

// ISO writes an image for CDs, virtual drives of remote consoles and UEFI HTTP boot
// (El Torito, a FAT volume with shim and GRUB; ISO 9660 with the rest). Written to a stick
// as it is, it boots as well. The same input gives the same bytes. The
// mtools and xorriso must be installed.
func ISO(ctx context.Context, o *ISOOptions) error {
	files, err := o.Boot.mediaFiles(cdConfig)
	if err != nil {
		return err
	}
	files = append(files, File{Name: cdMark, Data: []byte("Troy\n")},
		File{Name: cdBIOS, Data: block.Pad(biosStub(), cdSector)})
	loaders, err := o.Boot.removable(bundle.GRUBCD)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "troy-iso-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	fat := filepath.Join(tmp, "efi.img")
	if err := writeFAT(ctx, fat, loaders); err != nil {
		return err
	}
	tree := filepath.Join(tmp, "tree")
	if err := writeTree(tree, files); err != nil {
		return err
	}
	record := filepath.Join(tmp, "mbr")
	if err := os.WriteFile(record, block.Pad(biosStub(), sectorSize), 0o600); err != nil {
		return err
	}
	return replaceFile(o.Out, func(w *os.File) error { return xorriso(ctx, tree, fat, record, diskGUID(files), w) })
}

func writeFAT(ctx context.Context, name string, loaders []File) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(cdFAT), f.Close()); err != nil {
		return err
	}
	id, _ := identity(loaders)
	v := volume{image: name, size: cdFAT, label: mediaLabel, serial: id.derive("volume").ID(), fat16: true}
	return v.write(ctx, loaders)
}

const (
	cdSector = 2048
	cdBIOS   = "boot/bios.bin"
)

func xorriso(ctx context.Context, tree, fat, record, guid string, w io.Writer) error {
	cmd := exec.CommandContext(ctx, "xorriso", "-as", "mkisofs", "-quiet", "-V", mediaLabel, "-r", "-iso-level", "3",
		"-G", record, "--set_all_file_dates", "1980010100000000",
		"-b", cdBIOS, "-no-emul-boot", "-boot-load-size", "4",
		"-eltorito-alt-boot", "-e", "--interval:appended_partition_2:all::", "-no-emul-boot",
		"-append_partition", "2", "0xef", fat, "-appended_part_as_gpt", "--gpt_disk_guid", guid, tree)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC", "HOME=/nonexistent", "SOURCE_DATE_EPOCH=" + fixedTime}
	var errs tail
	cmd.Stdout, cmd.Stderr = w, &errs
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return ErrNoXorriso
	}
	if err != nil {
		return fmt.Errorf("xorriso: %w: %s", err, errs)
	}
	return nil
}

// diskGUID is derived from the content.
func diskGUID(files []File) string {
	id, _ := identity(files)
	return id.derive("disk").String()
}

// tail keeps the end of what a program says.
type tail []byte

// Write implements [io.Writer].
func (t *tail) Write(p []byte) (int, error) {
	const most = 1000
	*t = append(*t, p...)
	*t = (*t)[max(0, len(*t)-most):]
	return len(p), nil
}

// writeTree writes files below a new folder.
func writeTree(dir string, files []File) error {
	for _, f := range files {
		name := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := durable.WriteFile(name, f.Data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
