package trust

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// writeFile puts a file at path, whole and durable or not at all.
func writeFile(path string, b []byte, mode os.FileMode) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("trust: %w", err)
	}
	return syncDir(dir)
}

// syncDir makes names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}
