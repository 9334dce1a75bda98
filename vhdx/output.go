package vhdx

import (
	"os"

	"troy/internal/durable"
)

// makeFile makes the file at path of what fill writes. It appears under its name
// when it is complete and durable. Unless overwrite is set, it never replaces a
// file, not even one that another program made in the meantime.
func makeFile(path string, overwrite bool, fill func(*os.File) error) error {
	if !overwrite { // known before the work, not only after it
		if _, err := os.Lstat(path); err == nil {
			return &os.PathError{Op: "create", Path: path, Err: os.ErrExist}
		}
	}
	f, err := durable.Create(path, 0o644)
	if err != nil {
		return err
	}
	defer f.Abandon()
	if err := fill(f.File); err != nil {
		return err
	}
	if overwrite {
		return f.Commit()
	}
	return f.CommitNew()
}
