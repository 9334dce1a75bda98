package publish

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"troy/image"
)

// Names and internals for the tests outside the package.
const (
	LockName = lockName
	TmpName  = tmpName
)

// Weak is the weak hash of a page.
func Weak(page []byte) uint64 { return weak(page) }

// Lock takes a store as a publisher does.
func Lock(s *image.Store) (unlock func(), err error) { return on(s).lock() }

// ImportFull is Import on a device without space.
func ImportFull(ctx context.Context, s *image.Store, name string, d *Disk) error {
	w := on(s)
	w.ops.create = func(string) (file, error) { return os.OpenFile("/dev/full", os.O_WRONLY, 0) }
	_, err := w.first(ctx, name, d, nil)
	return err
}

var ErrFull = errors.New("no space left")

// failing wraps the operations on the store so that the n-th fails; a write then puts down half of
// its bytes.
type Failing struct{ Left int }

func (f *Failing) next() error {
	f.Left--
	if f.Left == 0 {
		return ErrFull
	}
	return nil
}

type failingFile struct {
	file
	f *Failing
}

func (w *failingFile) Write(p []byte) (int, error) {
	if err := w.f.next(); err != nil {
		n, _ := w.file.Write(p[:len(p)/2])
		return n, err
	}
	return w.file.Write(p)
}

func (w *failingFile) Sync() error {
	if err := w.f.next(); err != nil {
		return err
	}
	return w.file.Sync()
}

func (f *Failing) ops() fileOps {
	return fileOps{
		create: func(p string) (file, error) {
			if err := f.next(); err != nil {
				return nil, err
			}
			w, err := osOps.create(p)
			return &failingFile{w, f}, err
		},
		open: osOps.open,
		free: osOps.free,
		rename: func(a, b string) error {
			if err := f.next(); err != nil {
				return err
			}
			return osOps.rename(a, b)
		},
		mkdir: func(p string) error {
			if err := f.next(); err != nil {
				return err
			}
			return osOps.mkdir(p)
		},
		sync: func(p string) error {
			if err := f.next(); err != nil {
				return err
			}
			return osOps.sync(p)
		},
	}
}

// Add is Add with operations that fail.
func (f *Failing) Add(ctx context.Context, s *image.Store, name string, d *Disk) error {
	_, err := (&store{s, f.ops()}).add(ctx, name, d, nil)
	return err
}

// Counting counts what is written to packs.
type Counting struct{ Packed int64 }

type countingFile struct {
	file
	c *Counting
}

func (w *countingFile) Write(p []byte) (int, error) {
	w.c.Packed += int64(len(p))
	return w.file.Write(p)
}

// Import is Import with counted writes.
func (c *Counting) Import(ctx context.Context, s *image.Store, name string, d *Disk, o *Options) (*image.Manifest, error) {
	ops := osOps
	counted := func(open func(string) (file, error)) func(string) (file, error) {
		return func(p string) (file, error) {
			f, err := open(p)
			if filepath.Base(p) == packName {
				f = &countingFile{f, c}
			}
			return f, err
		}
	}
	ops.create, ops.open = counted(ops.create), counted(ops.open)
	return (&store{s, ops}).first(ctx, name, d, o)
}

// ImportInto is Import into a store on a disk with so many free bytes.
func ImportInto(ctx context.Context, s *image.Store, name string, d *Disk, free int64) (*image.Manifest, error) {
	ops := osOps
	ops.free = func(string) (int64, error) { return free, nil }
	return (&store{s, ops}).first(ctx, name, d, nil)
}
