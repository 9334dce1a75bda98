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
)

const (
	storeMarker = "store.json"
	lockName    = ".lock"
	tmpName     = "tmp"
)

type storeDocument struct {
	Format int    `json:"format"`
	Kind   string `json:"kind"`
}

// Store is a folder with images. Its tree can be served as it is; it is itself a Source.
type Store struct {
	dir string
	ops fileOps
}

var (
	_ Source    = (*Store)(nil)
	_ Documents = (*Store)(nil)
)

// Init makes a store in dir, which must be empty or absent. It returns ErrExists otherwise.
func Init(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	if len(names) > 0 {
		return nil, fmt.Errorf("%w: %s is not empty (it has %s); a store is made in an empty folder", ErrExists, dir, names[0].Name())
	}
	s := &Store{dir: dir, ops: osOps}
	for _, d := range []string{"images", "objects", tmpName} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("image: %w", err)
		}
	}
	b, err := encode(storeDocument{formatVersion, "troy image store"})
	if err != nil {
		return nil, err
	}
	if err := s.replace(storeMarker, b); err != nil {
		return nil, err
	}
	return s, nil
}

// OpenStore opens the store that Init made in dir. It returns ErrNotFound if dir holds none, ErrUnsupported for a newer format.
func OpenStore(dir string) (*Store, error) {
	b, err := os.ReadFile(filepath.Join(dir, storeMarker))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is not a store (no %s)", ErrNotFound, dir, storeMarker)
	}
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	s := &Store{dir: dir, ops: osOps}
	var d storeDocument
	if err := decode(b, &d); err != nil {
		return nil, s.fault(storeMarker, err)
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
		return "", invalidf("object name %q", name)
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
		return nil, &ObjectError{Source: s.dir, Object: name, Offset: off, Length: n, Err: errors.Join(err, corruptf("the file ends before"))}
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
		err = corruptf("longer than %d bytes", max)
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

// Images returns the names of all images, sorted.
func (s *Store) Images() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "images"))
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	var names []string
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(s.dir, filepath.FromSlash(IndexName(e.Name())))); err == nil && CheckName(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	sort.Strings(names)
	return names, nil
}

// List returns the manifests of all versions of an image, oldest first. It returns ErrNotFound for an unknown image.
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

// Show returns the manifest of one version; version 0 means the newest. It returns ErrNotFound if there is none.
func (s *Store) Show(ctx context.Context, image string, version int) (*Manifest, error) {
	return LoadManifest(ctx, s, image, version)
}
