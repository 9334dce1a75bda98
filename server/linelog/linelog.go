// Package linelog appends lines to a file and rotates it: what the audit log and the event log are
// written with.
//
// # Promises
//
// A line that Append returned nil for is whole, on a line of its own; with Options.Sync it is on the
// disk. A line that was cut off, by a crash or a full disk, spoils none that comes after it.
//
// A file over Options.Most bytes is renamed to NAME.1, which replaces the one before. The new file
// is open before the old one is let go: where that fails (no descriptor is free, the folder is not
// writable), lines go on to the old file, and each further line tries again.
//
// Files are the owner's alone (0600), also those that were made with another mode.
package linelog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"troy/internal/durable"
	"troy/internal/errline"
)

// Options of a File. The zero value never rotates and leaves the flushing to the system.
type Options struct {
	Most int64 // bytes, over which the file is rotated
	Sync bool  // a line is on the disk when Append returns
}

// File is a log. Its methods may be called from several goroutines.
type File struct {
	o    Options
	path string

	mu   sync.Mutex
	f    *os.File
	size int64
	torn bool // the last line may have no end
}

// Open opens a log, and makes it if need be. A device or a pipe is written to as it is.
func Open(path string, o *Options) (*File, error) {
	l := &File{path: path}
	if o != nil {
		l.o = *o
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if err := l.begin(f); err != nil {
		return nil, errline.Join(err, f.Close())
	}
	return l, nil
}

// begin looks at what the file holds.
func (l *File) begin(f *os.File) error {
	l.f = f
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		l.o = Options{}
		return nil
	}
	if l.size = info.Size(); l.size > 0 {
		last := make([]byte, 1)
		_, err := f.ReadAt(last, l.size-1)
		l.torn = err != nil || last[0] != '\n'
	}
	return errline.Join(f.Chmod(0o600), durable.SyncDir(filepath.Dir(l.path))) // perhaps it was made just now
}

// Append adds a line, given without its end.
func (l *File) Append(line []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.o.Most > 0 && l.size >= l.o.Most {
		_ = l.rotate() // a longer file is better than a lost line
	}
	b := make([]byte, 0, len(line)+2)
	if l.torn {
		b = append(b, '\n')
	}
	n, err := l.f.Write(append(append(b, line...), '\n'))
	l.size += int64(n)
	l.torn = l.torn && n == 0 || n > 0 && err != nil
	if err == nil && l.o.Sync {
		err = l.f.Sync()
	}
	return err
}

// rotate goes on with a new file and renames the old one. Where it fails, what was written stays
// where it is, and Append goes on with the file that it has.
func (l *File) rotate() error {
	next, old := l.path+".new", l.path+".1"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(next, os.O_CREATE|os.O_EXCL|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	// An earlier try may have stopped between the two names.
	if err := os.Rename(l.path, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errline.Join(err, f.Close(), os.Remove(next))
	}
	if err := os.Rename(next, l.path); err != nil {
		return errline.Join(err, os.Rename(old, l.path), f.Close(), os.Remove(next))
	}
	was := l.f
	l.f, l.size, l.torn = f, 0, false
	return errline.Join(durable.SyncDir(filepath.Dir(l.path)), was.Close())
}

// Close closes the file.
func (l *File) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.f.Close(); err != nil {
		return fmt.Errorf("%s: %w", l.path, err)
	}
	return nil
}
