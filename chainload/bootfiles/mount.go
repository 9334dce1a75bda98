package bootfiles

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Mounted runs do with the ESP on the block device mounted for writing, by the kernel's vfat, and unmounts it, which writes all out.
// Modules vfat, nls_cp437 and nls_ascii must be loaded.
func Mounted(device string, do func(root string) error) (err error) {
	root, err := os.MkdirTemp("", "esp")
	if err != nil {
		return fmt.Errorf("bootfiles: %w", err)
	}
	defer os.Remove(root)
	// The character sets are those of package chainload; a kernel with others built in takes its defaults.
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	err = unix.Mount(device, root, "vfat", flags, "codepage=437,iocharset=ascii")
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount(device, root, "vfat", flags, "")
	}
	if err != nil {
		return fmt.Errorf("bootfiles: mount %s: %w", device, err)
	}
	defer func() {
		if uerr := unix.Unmount(root, 0); uerr != nil {
			err = errors.Join(err, fmt.Errorf("bootfiles: unmount %s: %w", device, uerr))
		}
	}()
	return do(root)
}

// InstallDevice is Install for an ESP that is not mounted.
func (s *Set) InstallDevice(ctx context.Context, device string) (res *Result, err error) {
	err = Mounted(device, func(root string) (err error) {
		res, err = s.Install(ctx, root)
		return err
	})
	return res, err
}
