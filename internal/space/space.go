// Package space tells before a file is made whether its folder has room for it.
package space

import (
	"errors"
	"fmt"
)

// ErrShort: a disk, or what is to lie on it, is too small.
var ErrShort = errors.New("not enough space")

// Check returns ErrShort if less than need bytes are free for what ("the pack") in a folder.
func Check(dir, what string, need int64) error {
	free, err := Free(dir)
	if err != nil || free >= need {
		return err
	}
	return Short(dir, what, need, free)
}

// Short returns the ErrShort of a folder.
func Short(dir, what string, need, free int64) error {
	return fmt.Errorf("%w: %s in %s takes about %d MiB, and %d MiB are free there", ErrShort, what, dir, (need+1<<20-1)>>20, free>>20)
}
