package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Target is a file that is about to be made.
type Target struct {
	Path   string
	before fs.FileInfo // nil: nothing was there
}

// NewTarget refuses what must not be replaced.
func NewTarget(path string, force bool) (*Target, error) {
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return nil, err
	}
	t := &Target{Path: path}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return t, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file (%v): only files are made and replaced", path, info.Mode().Type())
	case !force:
		return nil, &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	t.before = info
	return t, nil
}

// NotOneOf refuses a target that the command also reads.
func (t *Target) NotOneOf(read ...string) error {
	for _, path := range read {
		if SameFile(t.Path, path) {
			return fmt.Errorf("%s would be replaced while it is read", t.Path)
		}
	}
	return nil
}

// Fate tells what became of the target, as the file system has it.
func (t *Target) Fate() string {
	after, err := os.Lstat(t.Path)
	switch {
	case err != nil && t.before == nil:
		return t.Path + " was not made"
	case err == nil && t.before != nil && os.SameFile(t.before, after):
		return t.Path + " is as it was"
	}
	return t.Path + " is there, but may not survive a power cut"
}

// SameFile reports whether two paths lead to one file.
func SameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
