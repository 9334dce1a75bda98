// Package absent tells a file that is not there from one that cannot be read.
package absent

import (
	"errors"
	"io/fs"
	"slices"
	"syscall"
)

// Is says that the name in an error leads to nothing. Everything else is trouble of this machine (a
// disk that fails, no free file, no right to read), and says nothing of what is there.
func Is(err error) bool {
	var errno syscall.Errno
	nothing := []syscall.Errno{syscall.ENOENT, syscall.ENOTDIR, syscall.ELOOP, syscall.ENAMETOOLONG, syscall.EINVAL}
	return err != nil && !errors.Is(err, fs.ErrClosed) && (!errors.As(err, &errno) || slices.Contains(nothing, errno))
}
