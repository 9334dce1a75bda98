package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"troy/image/internal/ctxio"
)

// Remove takes a version out of an image. Only one that no other version stands on can go; its number is not used again. The objects stay
// until GC. It returns ErrNotFound, ErrInvalid if another version stands on it, ErrBusy.
func (s *Store) Remove(ctx context.Context, image string, version int) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	l := loader{s, image}
	x, err := l.index(ctx)
	if err != nil {
		return err
	}
	if _, err := x.entry(version); err != nil {
		return err
	}
	next := *x
	next.Versions = []Entry{}
	for _, e := range x.Versions {
		if e.Parent == version {
			return invalidf("version %d of %s stands on version %d: remove it first", e.Version, image, version)
		}
		if e.Version != version {
			next.Versions = append(next.Versions, e)
		}
	}
	return s.putIndex(&next)
}

// GCStats says what GC removed and kept. Bytes are those of the removed files.
type GCStats struct{ Removed, Kept, Bytes int64 }

// GC removes the objects and manifests that no version names, and what interrupted publishing left. It removes nothing if it cannot read
// every document of every image. It returns ErrBusy while somebody publishes.
func (s *Store) GC(ctx context.Context) (GCStats, error) {
	var st GCStats
	unlock, err := s.lock()
	if err != nil {
		return st, err
	}
	defer unlock()
	used, err := s.used(ctx)
	if err != nil {
		return st, err
	}
	if err := s.clean(); err != nil {
		return st, err
	}
	for _, top := range []string{"objects", "images"} {
		err := filepath.WalkDir(filepath.Join(s.dir, top), func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return errors.Join(err, ctx.Err())
			}
			return s.sweep(p, d, used, &st)
		})
		if err != nil {
			return st, fmt.Errorf("image: %w", err)
		}
	}
	return st, nil
}

// sweep removes a file that looks like one of ours and that nothing names.
func (s *Store) sweep(p string, d fs.DirEntry, used map[string]bool, st *GCStats) error {
	rel, err := filepath.Rel(s.dir, p)
	if err != nil {
		return err
	}
	name := filepath.ToSlash(rel)
	ours := strings.HasPrefix(name, "images/") && path.Ext(name) == ".json"
	for _, kind := range []string{kindPack, kindTable, kindMap} {
		ours = ours || strings.HasPrefix(name, "objects/") && path.Ext(name) == "."+kind
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
func (s *Store) used(ctx context.Context) (map[string]bool, error) {
	images, err := s.Images()
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, image := range images {
		used[IndexName(image)] = true
		list, err := s.List(ctx, image)
		if err != nil {
			return nil, err
		}
		for _, m := range list {
			for _, name := range []string{manifestName(image, m.Version), m.Pack.Name, m.Table.Name, m.Map.Name} {
				used[name] = true
			}
		}
	}
	return used, nil
}

// verifyRegions is how many regions Verify puts together at once: 64 MiB.
const verifyRegions = 64

// Verify reads everything that a version needs, checks the pack of the version by its hash and every chunk by its own, puts the virtual disk together
// in memory piece by piece, and compares it with the version map. It returns an ObjectError that names the bad file.
// Progress is told the bytes of the virtual disk.
func (s *Store) Verify(ctx context.Context, image string, version int, p Progress) error {
	l := loader{s, image}
	x, err := l.index(ctx)
	if err != nil {
		return err
	}
	r := resolver{l: &l, x: x, tables: map[int]*table{}, keep: true}
	m, err := r.manifest(ctx, version)
	if err != nil {
		return err
	}
	if err := s.hashPack(ctx, &m.Pack); err != nil {
		return err
	}
	regionMap, err := l.regionMap(ctx, m)
	if err != nil {
		return err
	}
	buf := make([]byte, verifyRegions*RegionSize)
	for first := int64(0); first < regionMap.Regions(); first += verifyRegions {
		if err := r.verify(ctx, m, regionMap, first, buf); err != nil {
			return err
		}
		progress(p, min(int64(len(buf)), m.VirtualSize-first*RegionSize))
	}
	return nil
}

func (s *Store) hashPack(ctx context.Context, o *Object) error {
	f, err := s.open(o.Name)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, ctxio.Reader(ctx, f))
	if err != nil {
		return s.fault(o.Name, err)
	}
	if got := Sum(h.Sum(nil)); got != o.SHA256 || n != o.Size {
		return s.fault(o.Name, corruptf("%d bytes with SHA-256 %s instead of %d with %s", n, got, o.Size, o.SHA256))
	}
	return nil
}

// verify puts some regions together and compares them.
func (r *resolver) verify(ctx context.Context, m *Manifest, want *Map, first int64, buf []byte) error {
	off := first * RegionSize
	buf = buf[:min(int64(len(buf)), m.VirtualSize-off)]
	clear(buf)
	plan, err := r.plan(ctx, m, m.Version, spans{{off / PageSize, (off + int64(len(buf))) / PageSize}})
	if err != nil {
		return err
	}
	if _, err := plan.Fetch(ctx, r.l.src, windowWriter{buf, off}, &FetchOptions{SkipZeros: true, Attempts: 1}); err != nil {
		return err
	}
	for i := int64(0); i*RegionSize < int64(len(buf)); i++ {
		region := buf[i*RegionSize : min((i+1)*RegionSize, int64(len(buf)))]
		if sumDefined(region, (first+i)*pagesPerRegion, want.undefined) != want.sums[first+i] {
			return r.l.fault(m.Map.Name, corruptf("layers of version %d give another region %d than the version map", m.Version, first+i))
		}
	}
	return nil
}

// windowWriter is memory that stands for a part of the virtual disk. Its pieces are written concurrently and do not overlap.
type windowWriter struct {
	b   []byte
	off int64
}

// WriteAt writes at an offset of the virtual disk.
func (w windowWriter) WriteAt(p []byte, off int64) (int, error) {
	if off < w.off || off+int64(len(p)) > w.off+int64(len(w.b)) {
		return 0, invalidf("write of %d bytes at %d", len(p), off)
	}
	return copy(w.b[off-w.off:], p), nil
}
