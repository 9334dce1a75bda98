// Package esp is the ESP as the packages of chainload use it: mounted with the
// kernel's vfat driver, files written so that they are on the disk when the call
// returns.
package esp

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

// Err is the class of failures to mount, read or write the ESP.
var Err = errors.New("chainload: ESP")

// ErrTooLong says that a file is longer than any sound one.
var ErrTooLong = errors.New("file is too long")

// Names on the ESP and of boot entries.
const (
	AgentDir    = "EFI/Troy" // the agent's own directory
	AgentLabel  = "Troy"     // the boot entry of its copy a
	AgentLabelB = "Troy (B)" // and of copy b

	// FallbackDir and FallbackName are what firmware starts that knows no boot entry (UEFI 2.10,
	// 3.5.1.1). FallbackPath is the same as firmware writes it.
	FallbackDir  = "EFI/BOOT"
	FallbackName = "BOOTX64.EFI"
	FallbackPath = `\EFI\BOOT\BOOTX64.EFI`

	// AgentManifest is the file that makes a folder of AgentDir, a or b, a copy of the agent.
	AgentManifest = "manifest.json"
)

// HasAgent tells whether a copy of the agent is on the ESP with this root.
func (d Dir) HasAgent() bool {
	for _, c := range []string{"a", "b"} {
		if dir, err := d.Sub(AgentDir + "/" + c); err == nil {
			if _, err := dir.Lookup(AgentManifest); err == nil {
				return true
			}
		}
	}
	return false
}

// Volume is a mounted ESP.
type Volume struct {
	device string // empty: not mounted by this package
	Root   Dir    // its mount point
}

// Open mounts the ESP read only, or takes the folder dir where it is mounted.
// The error wraps Err.
func Open(device, dir string) (*Volume, error) {
	v := &Volume{Root: Dir(dir)}
	if dir != "" {
		return v, nil
	}
	return v, v.mount(device)
}

const (
	// mountOptions fix the character sets, so that the two modules named in the
	// package comment are enough. Another kernel may have other ones built in:
	// then its defaults are tried.
	//
	// With MS_DIRSYNC a name is on the disk before the clusters that it had are free: without it a
	// power cut in a rename leaves the name of the old file with a chain that is given away. It
	// has to be given to the first mount, a later one does not change it.
	mountOptions = "codepage=437,iocharset=ascii"
	mountFlags   = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_DIRSYNC
)

func (v *Volume) mount(device string) error {
	root, err := os.MkdirTemp("", "esp")
	if err != nil {
		return fmt.Errorf("%w: %w", Err, err)
	}
	err = unix.Mount(device, root, "vfat", unix.MS_RDONLY|mountFlags, mountOptions)
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount(device, root, "vfat", unix.MS_RDONLY|mountFlags, "")
	}
	if err != nil {
		os.Remove(root)
		return fmt.Errorf("%w: mount %s: %w%s", Err, device, err, mountHint(err))
	}
	v.device, v.Root = device, Dir(root)
	return nil
}

func mountHint(err error) string {
	switch {
	case errors.Is(err, unix.ENODEV):
		return " (the kernel has no vfat: load the modules vfat, nls_cp437, nls_ascii)"
	case errors.Is(err, unix.EINVAL):
		return " (no FAT file system there, or modules nls_cp437, nls_ascii not loaded)"
	case errors.Is(err, unix.EBUSY):
		return " (mounted elsewhere: unmount it)"
	}
	return ""
}

// MakeWritable turns the read-only mount into a writable one. The kernel makes
// a mount read only again by itself when FAT structures are broken.
func (v *Volume) MakeWritable() error {
	if v.device == "" {
		return nil
	}
	err := unix.Mount(v.device, string(v.Root), "vfat", unix.MS_REMOUNT|mountFlags, "")
	if err != nil {
		return fmt.Errorf("make %s writable: %w", v.device, err)
	}
	return nil
}

// Close writes all out and unmounts what mount mounted.
func (v *Volume) Close() error {
	if err := SyncFS(string(v.Root)); err != nil {
		return fmt.Errorf("%w: sync: %w", Err, err)
	}
	if v.device == "" {
		return nil
	}
	if err := unix.Unmount(string(v.Root), 0); err != nil {
		return fmt.Errorf("%w: unmount %s: %w", Err, v.device, err)
	}
	os.Remove(string(v.Root)) // an empty folder in memory; nothing depends on it
	return nil
}

// SyncFS writes all of the file system out that holds dir.
func SyncFS(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}

// Dir is a directory of the ESP.
type Dir string

// Lookup finds a name without regard to case, as FAT means it, also where the
// ESP was mounted by a driver that does regard case.
func (d Dir) Lookup(name string) (string, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if strings.EqualFold(e.Name(), name) {
			return filepath.Join(string(d), e.Name()), nil
		}
	}
	return "", &fs.PathError{Op: "find", Path: filepath.Join(string(d), name), Err: fs.ErrNotExist}
}

// Read returns a whole file of at most max bytes.
func (d Dir) Read(name string, max int64) ([]byte, error) {
	b, err := d.ReadHead(name, max+1)
	if err == nil && int64(len(b)) > max {
		return nil, fmt.Errorf("%s: %w (over %d bytes)", name, ErrTooLong, max)
	}
	return b, err
}

// ReadHead returns the first n bytes of a file, or all of a shorter one.
func (d Dir) ReadHead(name string, n int64) ([]byte, error) {
	path, err := d.Lookup(name)
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

// Write replaces or creates a file; it is on the disk when Write returns.
func (d Dir) Write(name string, data []byte) error {
	f, err := os.Create(filepath.Join(string(d), name))
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

// Rename replaces a file by a new one and reads back what stands there then.
func (d Dir) Rename(from, to string, want []byte) error {
	target := filepath.Join(string(d), to)
	if old, err := d.Lookup(to); err == nil {
		target = old
	}
	if err := d.holds(from, want); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(string(d), from), target); err != nil {
		return err
	}
	if err := SyncFS(string(d)); err != nil {
		return err
	}
	return d.holds(to, want)
}

func (d Dir) holds(name string, want []byte) error {
	have, err := d.Read(name, int64(len(want)))
	if err == nil && !bytes.Equal(have, want) {
		err = fmt.Errorf("%s reads back different from what was written", name)
	}
	return err
}

// Remove takes a file away if it is there.
func (d Dir) Remove(name string) error {
	path, err := d.Lookup(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Remove(path)
}

// Sub finds a directory below d by its path with slashes. The error wraps
// fs.ErrNotExist.
func (d Dir) Sub(path string) (Dir, error) {
	for _, name := range strings.Split(path, "/") {
		next, err := d.Lookup(name)
		if err != nil {
			return "", err
		}
		d = Dir(next)
	}
	return d, nil
}

// MakeSub is Sub that makes the directories that are not there.
func (d Dir) MakeSub(path string) (Dir, error) {
	for _, name := range strings.Split(path, "/") {
		next, err := d.Lookup(name)
		if errors.Is(err, fs.ErrNotExist) {
			next = filepath.Join(string(d), name)
			err = os.Mkdir(next, 0o755)
		}
		if err != nil {
			return "", err
		}
		d = Dir(next)
	}
	return d, nil
}

// Overwrite puts data into a file of the same length, in place, so that FAT
// itself does not change.
func (d Dir) Overwrite(name string, data []byte) error {
	path, err := d.Lookup(name)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(data, 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}
