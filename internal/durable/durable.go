// Package durable puts a file under its name whole, or not at all, so that it survives a power cut:
// the content is written beside the name and flushed, then renamed, then the folder is flushed.
//
// Windows has no flush of folders; there the name is as durable as the file system makes it.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// WriteFile replaces the file at path by one with that content and mode (before umask nothing is
// taken away). On an error the old file is as it was, unless the error is that of flushing the
// folder: then either of the two is there after a power cut.
func WriteFile(path string, content []byte, mode fs.FileMode) error {
	f, err := Create(path, mode)
	if err != nil {
		return err
	}
	defer f.Abandon()
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Commit()
}

// File is a file that appears under its name when Commit says so. A deferred Abandon is always
// right: it does nothing after a Commit.
type File struct {
	*os.File
	path string
	done bool
}

// Create begins a file beside path.
func Create(path string, mode fs.FileMode) (*File, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.part")
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(mode); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return &File{File: f, path: path}, nil
}

// Commit makes content and name durable; it replaces a file of that name.
func (f *File) Commit() error { return f.commit(os.Rename) }

// CommitNew is Commit for a name that must not exist yet: a file that another program made in the
// meantime is kept, and the error is fs.ErrExist.
func (f *File) CommitNew() error { return f.commit(renameNew) }

// commit closes the file before it gets its name, for Windows renames no open ones.
func (f *File) commit(rename func(from, to string) error) error {
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := rename(f.Name(), f.path); err != nil {
		return err
	}
	f.done = true
	return SyncDir(filepath.Dir(f.path))
}

// Abandon leaves nothing behind of a file that was not committed. Its own errors
// are dropped: the cause of the failure is already being returned.
func (f *File) Abandon() {
	if f.done {
		return
	}
	f.Close()
	os.Remove(f.Name())
}

// Rename gives a file that was flushed another name, durably; it replaces a file of that name.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(to))
}

// RenameNew is Rename for a name that must not exist yet; the error is fs.ErrExist.
func RenameNew(from, to string) error {
	if err := renameNew(from, to); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(to))
}

// renameNew links, for a link never replaces a file that another program made in the meantime. File
// systems without links get a check.
func renameNew(from, to string) error {
	err := os.Link(from, to)
	if err == nil {
		return os.Remove(from)
	}
	if errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, err := os.Lstat(to); err == nil {
		return &fs.PathError{Op: "create", Path: to, Err: fs.ErrExist}
	}
	return os.Rename(from, to)
}

// SyncDir makes the names in a folder durable, where folders can be flushed.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, os.ErrInvalid) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}
