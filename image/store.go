package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"

	"troy/image/internal/fault"
	"troy/internal/errline"
	"troy/internal/format"
)

// MarkerName is the document that says that a folder is a store.
const MarkerName = "store.json"

type marker struct {
	format.Head
	Kind string `json:"kind"`
}

// markerKind is what a store is called.
const markerKind = "troy image store"

// Marker returns the content of the document MarkerName.
func Marker() ([]byte, error) {
	m := marker{Kind: markerKind}
	MarkerKind.Stamp(&m.Head)
	return format.Indent(&m)
}

// Store reads a folder with images; package publish makes and fills it. Its tree can be served as
// it is; it is itself a Source.
type Store struct{ dir string }

var (
	_ Source    = (*Store)(nil)
	_ Documents = (*Store)(nil)
)

// OpenStore opens the store that publish.Init made in dir. It returns ErrNotFound if dir holds
// none, ErrUnsupported for a newer format.
func OpenStore(dir string) (*Store, error) {
	b, err := os.ReadFile(filepath.Join(dir, MarkerName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is not a store (no %s)", ErrNotFound, dir, MarkerName)
	}
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	s := &Store{dir: dir}
	var d marker
	err = decode(&MarkerKind, b, &d)
	if err == nil && d.Kind != markerKind {
		err = fault.Corruptf("it says that this is a %q, not a %q", d.Kind, markerKind)
	}
	if err != nil {
		return nil, s.fault(MarkerName, err)
	}
	return s, nil
}

// String returns the folder of the store.
func (s *Store) String() string { return s.dir }

func (s *Store) fault(name string, err error) error {
	return &ObjectError{Source: s.dir, Object: name, Err: err}
}

func (s *Store) path(name string) (string, error) {
	if !fs.ValidPath(name) || !filepath.IsLocal(filepath.FromSlash(name)) {
		return "", fault.Invalidf("object name %q", name)
	}
	return filepath.Join(s.dir, filepath.FromSlash(name)), nil
}

// ReadRange returns n bytes of an object from off. A file that ends before is ErrCorrupt.
func (s *Store) ReadRange(ctx context.Context, name string, off, n int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := s.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || off < 0 || n < 0 || off > st.Size()-n {
		return nil, &ObjectError{Source: s.dir, Object: name, Offset: off, Length: n, Err: errline.Join(err, fault.Corruptf("the file ends before"))}
	}
	b := make([]byte, n)
	if _, err := f.ReadAt(b, off); err != nil {
		return nil, &ObjectError{Source: s.dir, Object: name, Offset: off, Length: n, Err: err}
	}
	return b, nil
}

// Get returns a whole document of at most max bytes.
func (s *Store) Get(ctx context.Context, name string, max int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := s.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(b)) > max {
		err = fault.Corruptf("longer than %d bytes", max)
	}
	if err != nil {
		return nil, s.fault(name, err)
	}
	return b, nil
}

func (s *Store) open(name string) (*os.File, error) {
	p, err := s.path(name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, s.fault(name, fmt.Errorf("%w: no such file", ErrNotFound))
	}
	if err != nil {
		return nil, s.fault(name, err)
	}
	return f, nil
}

// Images returns the names of all images, sorted. The error is that of a folder that cannot be
// looked into.
func (s *Store) Images() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "images"))
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	var names []string
	for _, e := range entries {
		if CheckName(e.Name()) != nil || e.Type().IsRegular() {
			continue
		}
		there, err := s.has(e.Name())
		if err != nil {
			return nil, err
		}
		if there {
			names = append(names, e.Name())
		}
	}
	sort.Strings(names)
	return names, nil
}

// has tells whether a folder is that of an image. One that cannot be looked into (it is not mounted,
// it may not be read) is not known to be none: whoever takes it for that would throw its objects
// away.
func (s *Store) has(name string) (bool, error) {
	_, err := os.Stat(filepath.Join(s.dir, filepath.FromSlash(IndexName(name))))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err = os.ReadDir(filepath.Join(s.dir, "images", name)); err == nil {
			return false, nil
		}
	}
	if err != nil {
		return false, fmt.Errorf("image: the folder of %s cannot be looked into: %w", name, err)
	}
	return true, nil
}

// List returns the manifests of all versions of an image, oldest first. It returns ErrNotFound for
// an unknown image.
func (s *Store) List(ctx context.Context, image string) ([]*Manifest, error) {
	l := loader{src: s, image: image}
	x, err := l.index(ctx)
	if err != nil {
		return nil, err
	}
	var list []*Manifest
	for i := range x.Versions {
		m, err := l.manifest(ctx, &x.Versions[i])
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}

// Show returns the manifest of one version; version 0 means the newest. It returns ErrNotFound if
// there is none.
func (s *Store) Show(ctx context.Context, image string, version int) (*Manifest, error) {
	return LoadManifest(ctx, s, image, version)
}
