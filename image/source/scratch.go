package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"troy/internal/errline"
	"troy/internal/progress"
	"troy/internal/tool"
)

// room returns the scratch folder if it has room for so many bytes.
func (o *Options) room(need int64) (string, error) {
	if o.Scratch == nil {
		return "", errors.New("no folder for temporary files was named")
	}
	dir, err := o.Scratch()
	if err != nil {
		return "", err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "", &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	if free := int64(st.Bavail) * st.Bsize; free < need {
		return "", fmt.Errorf("%w: %s is free in %s, and the files that are made there need %s", ErrNoSpace, progress.Bytes(free), dir, progress.Bytes(need))
	}
	return dir, nil
}

// makeSparse makes a file of zeros without clusters.
func makeSparse(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errline.Join(f.Truncate(size), f.Close())
}

// run runs a program that makes a file, under a meter.
func (o *Options) run(ctx context.Context, what string, total int64, c *tool.Command) error {
	m := o.Progress.Begin(what, total)
	defer m.Done()
	c.Grown = m.Add
	return tool.Run(ctx, c)
}
