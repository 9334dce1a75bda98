package chainload

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// errTooLong says that a file is longer than any sound one.
var errTooLong = errors.New("file is too long")

// esp is the ESP, mounted, seen from its directory EFI\Microsoft\Boot.
type esp struct {
	device string // empty: somebody else mounted it
	root   string // mount point
	dir    string // EFI/Microsoft/Boot below root, in the case it has on disk
}

// openESP mounts the ESP read only, or takes the folder where it is mounted.
func openESP(o *Options) (*esp, error) {
	e := &esp{root: o.ESPDir}
	if o.ESPDir == "" {
		if err := e.mount(o.ESPDevice); err != nil {
			return nil, err
		}
	}
	e.dir = e.root
	for _, name := range strings.Split(bootDir, "/") {
		dir, err := lookup(e.dir, name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, join(fmt.Errorf("%w: no folder \\%s", ErrNoBootFiles, strings.ReplaceAll(bootDir, "/", `\`)), e.close())
		}
		if err != nil {
			return nil, join(fmt.Errorf("%w: %w", ErrESP, err), e.close())
		}
		e.dir = dir
	}
	return e, nil
}

const (
	// mountOptions fix the character sets, so that the two modules named in the
	// package comment are enough. Another kernel may have other ones built in:
	// then its defaults are tried.
	mountOptions = "codepage=437,iocharset=ascii"
	mountFlags   = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
)

func (e *esp) mount(device string) error {
	root, err := os.MkdirTemp("", "esp")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrESP, err)
	}
	err = unix.Mount(device, root, "vfat", unix.MS_RDONLY|mountFlags, mountOptions)
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount(device, root, "vfat", unix.MS_RDONLY|mountFlags, "")
	}
	if err != nil {
		os.Remove(root)
		return fmt.Errorf("%w: mount %s: %w%s", ErrESP, device, err, mountHint(err))
	}
	e.device, e.root = device, root
	return nil
}

func mountHint(err error) string {
	switch {
	case errors.Is(err, unix.ENODEV):
		return " (the kernel has no vfat: load the modules vfat, nls_cp437, nls_ascii)"
	case errors.Is(err, unix.EINVAL):
		return " (no FAT file system there, or modules nls_cp437, nls_ascii not loaded)"
	case errors.Is(err, unix.EBUSY):
		return " (mounted elsewhere: unmount it, or give that folder as ESPDir)"
	}
	return ""
}

// makeWritable turns the read-only mount into a writable one. The kernel makes
// a mount read only again by itself when FAT structures are broken.
func (e *esp) makeWritable() error {
	if e.device == "" {
		return nil
	}
	err := unix.Mount(e.device, e.root, "vfat", unix.MS_REMOUNT|mountFlags, "")
	if err != nil {
		return fmt.Errorf("make %s writable: %w", e.device, err)
	}
	return nil
}

// close writes all out and unmounts what mount mounted.
func (e *esp) close() error {
	if err := syncFS(e.root); err != nil {
		return fmt.Errorf("%w: sync: %w", ErrESP, err)
	}
	if e.device == "" {
		return nil
	}
	if err := unix.Unmount(e.root, 0); err != nil {
		return fmt.Errorf("%w: unmount %s: %w", ErrESP, e.device, err)
	}
	os.Remove(e.root) // an empty folder in memory; nothing depends on it
	return nil
}

func syncFS(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}

// lookup finds a name without regard to case, as FAT means it, also where the
// ESP was mounted by a driver that does regard case.
func lookup(dir, name string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if strings.EqualFold(e.Name(), name) {
			return filepath.Join(dir, e.Name()), nil
		}
	}
	return "", &fs.PathError{Op: "find", Path: filepath.Join(dir, name), Err: fs.ErrNotExist}
}

// read returns a whole file of at most max bytes.
func (e *esp) read(name string, max int64) ([]byte, error) {
	b, err := e.readHead(name, max+1)
	if err == nil && int64(len(b)) > max {
		return nil, fmt.Errorf("%s: %w (over %d bytes)", name, errTooLong, max)
	}
	return b, err
}

// readHead returns the first n bytes of a file, or all of a shorter one.
func (e *esp) readHead(name string, n int64) ([]byte, error) {
	path, err := lookup(e.dir, name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, n))
}

// write makes a file anew and has it on the disk when it returns.
func (e *esp) write(name string, data []byte) error {
	f, err := os.Create(filepath.Join(e.dir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// rename replaces a file by a new one and reads back what stands there then.
func (e *esp) rename(from, to string, want []byte) error {
	target := filepath.Join(e.dir, to)
	if old, err := lookup(e.dir, to); err == nil {
		target = old
	}
	if err := e.holds(from, want); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(e.dir, from), target); err != nil {
		return err
	}
	if err := syncFS(e.root); err != nil {
		return err
	}
	return e.holds(to, want)
}

func (e *esp) holds(name string, want []byte) error {
	have, err := e.read(name, int64(len(want)))
	if err == nil && !bytes.Equal(have, want) {
		err = fmt.Errorf("%s reads back different from what was written", name)
	}
	return err
}

// remove takes a file away if it is there.
func (e *esp) remove(name string) error {
	path, err := lookup(e.dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Remove(path)
}
