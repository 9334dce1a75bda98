package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"troy/image"
	"troy/image/internal/fault"
	"troy/internal/errline"
)

// Remove takes a version out of an image. Only one that no other version stands on can go; its
// number is not used again. The objects stay until GC. It returns image.ErrNotFound, ErrInvalid if
// another version stands on it, ErrBusy.
func Remove(ctx context.Context, s *image.Store, name string, version int) error {
	return on(s).remove(ctx, name, version)
}

func (s *store) remove(ctx context.Context, name string, version int) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	x, err := image.LoadIndex(ctx, s, name)
	if err != nil {
		return err
	}
	if _, err := x.Entry(version); err != nil {
		return err
	}
	next := *x
	next.Versions = []image.Entry{}
	for _, e := range x.Versions {
		if e.Parent == version {
			return fault.Invalidf("version %d of %s stands on version %d: remove it first", e.Version, name, version)
		}
		if e.Version != version {
			next.Versions = append(next.Versions, e)
		}
	}
	return s.putIndex(&next)
}

// Reserve makes the next version of an image have a number above newest: versions with the numbers
// before were made and are lost. An image that the store does not have gets a list without versions,
// which Import fills. It returns ErrBusy.
func Reserve(ctx context.Context, s *image.Store, name string, newest int) error {
	return on(s).reserve(ctx, name, newest)
}

func (s *store) reserve(ctx context.Context, name string, newest int) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	x, err := image.LoadIndex(ctx, s, name)
	if errors.Is(err, image.ErrNotFound) {
		x, err = &image.Index{Image: name, Next: 1, Versions: []image.Entry{}}, nil
	}
	if err != nil || x.Next > newest {
		return err
	}
	x.Next = newest + 1
	return s.putIndex(x)
}

// GCStats says what GC removed and kept. Bytes are those of the removed files.
type GCStats struct{ Removed, Kept, Bytes int64 }

// GC removes the objects and manifests that no version names, and what interrupted publishing left.
// It removes nothing if it cannot read every document of every image. It returns ErrBusy while
// another process publishes, and ErrMissing if one of the images is not there that the store is
// known to have: an empty folder is what is left where its file system is not mounted.
func GC(ctx context.Context, s *image.Store, known ...string) (GCStats, error) {
	return on(s).gc(ctx, known)
}

func (s *store) gc(ctx context.Context, known []string) (GCStats, error) {
	var st GCStats
	unlock, err := s.lock()
	if err != nil {
		return st, err
	}
	defer unlock()
	used, err := s.used(ctx, known)
	if err != nil {
		return st, err
	}
	if err := s.clearAway(&st); err != nil {
		return st, err
	}
	for _, top := range []string{"objects", "images"} {
		err := filepath.WalkDir(filepath.Join(s.String(), top), func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return errline.Join(err, ctx.Err())
			}
			return s.sweep(p, d, used, &st)
		})
		if err != nil {
			return st, fmt.Errorf("image: %w", err)
		}
	}
	return st, nil
}

// clearAway removes what cut publishing left.
func (s *store) clearAway(st *GCStats) error {
	err := filepath.WalkDir(s.tmp(""), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			st.Removed++
			st.Bytes += info.Size()
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("image: %w", err)
	}
	return s.clean()
}

// sweep removes a file that looks like one of ours and that nothing names.
func (s *store) sweep(p string, d fs.DirEntry, used map[string]bool, st *GCStats) error {
	rel, err := filepath.Rel(s.String(), p)
	if err != nil {
		return err
	}
	name := filepath.ToSlash(rel)
	ours := strings.HasPrefix(name, "images/") && path.Ext(name) == ".json"
	for _, kind := range []image.Kind{image.KindPack, image.KindTable, image.KindMap} {
		ours = ours || strings.HasPrefix(name, "objects/") && path.Ext(name) == "."+string(kind)
	}
	if !ours || used[name] {
		st.Kept++
		return nil
	}
	info, err := d.Info()
	if err != nil {
		return err
	}
	if err := os.Remove(p); err != nil {
		return err
	}
	st.Removed++
	st.Bytes += info.Size()
	return nil
}

// used returns the names of all files that the versions of all images need.
func (s *store) used(ctx context.Context, known []string) (map[string]bool, error) {
	images, err := s.Images()
	if err != nil {
		return nil, err
	}
	for _, name := range known {
		if !slices.Contains(images, name) {
			return nil, fmt.Errorf("%w: %s, which is signed: is its file system mounted?", ErrMissing, image.IndexName(name))
		}
	}
	used := map[string]bool{}
	for _, name := range images {
		used[image.IndexName(name)] = true
		x, err := image.LoadIndex(ctx, s, name)
		if err != nil {
			return nil, err
		}
		for _, e := range x.Versions {
			used[e.Manifest.Name] = true
		}
		list, err := s.List(ctx, name)
		if err != nil {
			return nil, err
		}
		for _, m := range list {
			for _, o := range []image.Object{m.Pack, m.Table, m.Map} {
				used[o.Name] = true
			}
		}
	}
	return used, nil
}
