package vhdx

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
)

// output is a file that appears under its name when it is complete.
type output struct {
	*os.File
	path      string
	overwrite bool
}

// newOutput starts a file beside path.
func newOutput(path string, overwrite bool) (*output, error) {
	if !overwrite {
		if err := checkExists(path); err != nil {
			return nil, err
		}
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.part")
	if err != nil {
		return nil, err
	}
	// CreateTemp makes files for the owner alone; a disk is an ordinary file.
	if err := f.Chmod(0o644); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return &output{f, path, overwrite}, nil
}

// publish makes content and name durable. The file is closed first: Windows
// does not rename open ones.
func (o *output) publish() error {
	if err := errors.Join(o.Sync(), o.Close()); err != nil {
		return err
	}
	if err := o.rename(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(o.path))
}

// rename gives the file its name. A hard link never replaces what another
// program made in the meantime; file systems without links get a check.
func (o *output) rename() error {
	if o.overwrite {
		return os.Rename(o.Name(), o.path)
	}
	err := os.Link(o.Name(), o.path)
	switch {
	case err == nil:
		return os.Remove(o.Name())
	case errors.Is(err, os.ErrExist):
		return err
	}
	if err := checkExists(o.path); err != nil {
		return err
	}
	return os.Rename(o.Name(), o.path)
}

// abandon leaves nothing behind. Its errors have no one to go to: the cause
// of the failure is already on its way.
func (o *output) abandon() {
	o.Close()
	os.Remove(o.Name())
}

// syncDir makes a new name durable, where directories can be synced.
func syncDir(dir string) error {
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
