package publish

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"troy/image"
	"troy/internal/durable"
	"troy/internal/errline"
	"troy/internal/space"
)

// file is what a write needs of a file.
type file interface {
	io.WriteSeeker
	Truncate(size int64) error
	Sync() error
	Close() error
}

// fileOps are the operations that change the store. Tests replace them by ones that fail.
type fileOps struct {
	create func(path string) (file, error)
	open   func(path string) (file, error) // one that is there
	rename func(from, to string) error
	mkdir  func(path string) error
	sync   func(dir string) error
	free   func(dir string) (int64, error) // bytes
}

var osOps = fileOps{
	create: func(p string) (file, error) { return os.OpenFile(p, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644) },
	open:   func(p string) (file, error) { return os.OpenFile(p, os.O_WRONLY, 0) },
	rename: os.Rename,
	mkdir:  func(p string) error { return os.MkdirAll(p, 0o755) },
	sync:   durable.SyncDir,
	free:   space.Free,
}

// The names of what is in a store's folder and is no part of its tree.
const (
	lockName = ".lock"
	tmpName  = "tmp"
)

// store is a store that can be written to.
type store struct {
	*image.Store
	ops fileOps
}

func on(s *image.Store) *store { return &store{s, osOps} }

// path returns where a file of the tree lies.
func (s *store) path(name string) string { return filepath.Join(s.String(), filepath.FromSlash(name)) }

// lock takes the store for one publisher. The lock goes with the process, so that a killed one
// leaves none.
func (s *store) lock() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.String(), lockName), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: another process is writing to %s; try again when it has ended", ErrBusy, s.String())
	}
	return func() { f.Close() }, nil
}

// clean removes what an interrupted publisher left, but for some of it. The caller holds the lock.
func (s *store) clean(but ...string) error {
	dir := filepath.Join(s.String(), tmpName)
	left, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("image: %w", err)
	}
	for _, e := range left {
		if slices.Contains(but, e.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("image: %w", err)
		}
	}
	return nil
}

// temp is a file that is not yet part of the tree. Discard after commit does nothing.
type temp struct {
	s    *store
	f    file
	path string
	hash hash.Hash
	size int64
	done bool
}

func (s *store) temp(label string) (*temp, error) {
	p := s.tmp(label)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil { // it may have been removed
		return nil, fmt.Errorf("image: %w", err)
	}
	if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("image: %w", err)
	}
	f, err := s.ops.create(p)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	return &temp{s: s, f: f, path: p, hash: sha256.New()}, nil
}

// Write appends.
func (t *temp) Write(p []byte) (int, error) {
	n, err := t.f.Write(p)
	t.hash.Write(p[:n])
	t.size += int64(n)
	return n, err
}

func (t *temp) sum() image.Sum { return image.Sum(t.hash.Sum(nil)) }

// commit makes the file durable and then gives it its name, replacing what had it.
func (t *temp) commit(name string) error {
	t.done = true
	err := errline.Join(t.f.Sync(), t.f.Close())
	if err == nil {
		err = t.s.install(t.path, t.s.path(name))
	}
	if err != nil {
		os.Remove(t.path)
		return fmt.Errorf("image: %s: %w", name, err)
	}
	return nil
}

func (s *store) install(from, to string) error {
	dir := filepath.Dir(to)
	if err := s.ops.mkdir(dir); err != nil {
		return err
	}
	if err := s.ops.rename(from, to); err != nil {
		return err
	}
	// The folder itself may be new, so its name has to last as well.
	return errline.Join(s.ops.sync(dir), s.ops.sync(filepath.Dir(dir)))
}

// commitObject commits the file under the name that its content gives.
func (t *temp) commitObject(kind image.Kind) (image.Object, error) {
	o := image.NewObject(kind, t.size, t.sum())
	return o, t.commit(o.Name)
}

func (t *temp) discard() {
	if !t.done {
		t.done = true
		t.f.Close()
		os.Remove(t.path)
	}
}

// replace puts a document at name, whole or not at all.
func (s *store) replace(name string, b []byte) error {
	t, err := s.temp("document")
	if err != nil {
		return err
	}
	defer t.discard()
	if _, err := t.Write(b); err != nil {
		return fmt.Errorf("image: %s: %w", name, err)
	}
	return t.commit(name)
}

// putObject stores b as an object.
func (s *store) putObject(kind image.Kind, b []byte) (image.Object, error) {
	t, err := s.temp(string(kind))
	if err != nil {
		return image.Object{}, err
	}
	defer t.discard()
	if _, err := t.Write(b); err != nil {
		return image.Object{}, fmt.Errorf("image: %s: %w", kind, err)
	}
	return t.commitObject(kind)
}

// putManifest stores the manifest and then the index that names it: with the second rename the
// version exists.
func (s *store) putManifest(x *image.Index, m *image.Manifest) error {
	b, e, err := m.Encode()
	if err != nil {
		return err
	}
	if err := s.replace(e.Manifest.Name, b); err != nil {
		return err
	}
	next := *x
	next.Next = m.Version + 1
	next.Versions = append(slices.Clip(x.Versions), e)
	return s.putIndex(&next)
}

func (s *store) putIndex(x *image.Index) error {
	b, err := x.Encode()
	if err != nil {
		return err
	}
	return s.replace(image.IndexName(x.Image), b)
}
