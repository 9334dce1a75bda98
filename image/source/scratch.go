package source

import (
	"errors"
	"os"

	"troy/internal/errline"
	"troy/internal/space"
)

// room returns the scratch folder if it has room for so many bytes of what.
func (o *Options) room(what string, need int64) (string, error) {
	if o.Scratch == nil {
		return "", errors.New("no folder for temporary files was named")
	}
	dir, err := o.Scratch()
	if err != nil {
		return "", err
	}
	return dir, space.Check(dir, what, need)
}

// makeSparse makes a file of zeros without clusters.
func makeSparse(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errline.Join(f.Truncate(size), f.Close())
}
