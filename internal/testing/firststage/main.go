// Command firststage is process 1 of the initramfs with which the tests start a Debian: it loads
// the drivers in /modules, mounts the first disk, unpacks the second one, a bare tar archive, over
// it, and gives way to systemd.
package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"troy/internal/testing/guest/inside"
)

const (
	root     = "/mnt"
	disk     = "/dev/vda" // ext4 with the root file system
	archive  = "/dev/vdb"
	diskTime = 20 * time.Second
)

func main() {
	err := run()
	fmt.Printf("firststage: failed: %v\n", err)
	inside.PowerOff()
}

// run returns only when something failed.
func run() error {
	if err := unix.Mount("devtmpfs", "/dev", "devtmpfs", 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("mount /dev: %w", err)
	}
	if err := inside.LoadModules(); err != nil {
		return err
	}
	for _, path := range []string{disk, archive} {
		if err := await(path); err != nil {
			return err
		}
	}
	if err := unix.Mount(disk, root, "ext4", 0, ""); err != nil {
		return fmt.Errorf("mount %s: %w", disk, err)
	}
	if err := unpack(archive, root); err != nil {
		return err
	}
	return give()
}

// await waits for a device, since drivers look for theirs in the background.
func await(path string) error {
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		_, err := os.Stat(path)
		if err == nil || time.Since(begun) > diskTime {
			return err
		}
	}
}

// unpack puts the regular files and links of an archive into a folder.
func unpack(path, dir string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		to := filepath.Join(dir, h.Name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if h.Typeflag == tar.TypeSymlink {
			err = os.Symlink(h.Linkname, to)
		} else {
			err = write(to, r, h.FileInfo().Mode().Perm())
		}
		if err != nil {
			return err
		}
	}
}

func write(path string, r io.Reader, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// give makes the mounted disk the root and starts what is init there.
func give() error {
	if err := unix.Mount("/dev", root+"/dev", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move /dev: %w", err)
	}
	if err := unix.Chdir(root); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := errors.Join(unix.Chroot("."), unix.Chdir("/")); err != nil {
		return err
	}
	return unix.Exec("/sbin/init", []string{"/sbin/init"}, []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=dumb"})
}
