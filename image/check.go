package image

import (
	"context"
	"crypto/sha256"
	"io"

	"troy/image/internal/ctxio"
	"troy/image/internal/fault"
	"troy/image/internal/layer"
	"troy/image/internal/pages"
	"troy/internal/progress"
)

// verifyRegions is how many regions Verify puts together at once: 64 MiB.
const verifyRegions = 64

// Verify reads everything that a version needs, checks the pack of the version by its hash and
// every chunk by its own, puts the virtual disk together in memory piece by piece, and compares it
// with the version map. It returns an ObjectError that names the bad file. Progress is told the
// bytes of the virtual disk.
func (s *Store) Verify(ctx context.Context, image string, version int, p progress.Adder) error {
	l := loader{s, image}
	x, err := l.index(ctx)
	if err != nil {
		return err
	}
	r := resolver{l: &l, x: x, tables: map[int]*layer.Table{}, keep: true}
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
	for first := int64(0); first < int64(len(regionMap.Sums)); first += verifyRegions {
		if err := r.verify(ctx, m, regionMap, first, buf); err != nil {
			return err
		}
		progress.Add(p, min(int64(len(buf)), m.VirtualSize-first*RegionSize))
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
		return s.fault(o.Name, fault.Corruptf("%d bytes with SHA-256 %s instead of %d with %s", n, got, o.Size, o.SHA256))
	}
	return nil
}

// verify puts some regions together and compares them.
func (r *resolver) verify(ctx context.Context, m *Manifest, want *Map, first int64, buf []byte) error {
	off := first * RegionSize
	buf = buf[:min(int64(len(buf)), m.VirtualSize-off)]
	clear(buf)
	plan, err := r.plan(ctx, m, m.Version, pages.Set{{Lo: off / PageSize, Hi: (off + int64(len(buf))) / PageSize}})
	if err != nil {
		return err
	}
	if _, err := plan.Fetch(ctx, r.l.src, windowWriter{buf, off}, &FetchOptions{SkipZeros: true, attempts: 1}); err != nil {
		return err
	}
	for i := int64(0); i*RegionSize < int64(len(buf)); i++ {
		region := buf[i*RegionSize : min((i+1)*RegionSize, int64(len(buf)))]
		if !want.Holds(first+i, region) {
			return r.l.fault(m.Map.Name, fault.Corruptf("layers of version %d give another region %d than the version map", m.Version, first+i))
		}
	}
	return nil
}
