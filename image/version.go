package image

import (
	"context"
	"io"
	"iter"
	"sync"

	"troy/image/internal/fault"
	"troy/image/internal/layer"
	"troy/image/internal/pages"
)

// VersionReader reads one version as a disk, without writing it anywhere: every chunk that a read
// needs is fetched, checked by its hash and unpacked. Undefined pages read as zeros. It may be used
// concurrently; long reads are fast, short ones repeat much work.
type VersionReader struct {
	ctx context.Context // io.ReaderAt has none
	src Source
	m   *Manifest

	mu sync.Mutex // of r, which learns manifests and tables
	r  resolver
}

// OpenVersion opens one version of an image for reading; version 0 means the newest. All reads end
// with ctx. It returns what LoadPlan returns.
func OpenVersion(ctx context.Context, src Source, image string, version int) (*VersionReader, error) {
	l := &loader{src, image}
	x, err := l.index(ctx)
	if err != nil {
		return nil, err
	}
	if version == 0 {
		version = x.Latest()
	}
	v := &VersionReader{ctx: ctx, src: src, r: resolver{l: l, x: x, tables: map[int]*layer.Table{}, keep: true}}
	v.m, err = v.r.manifest(ctx, version)
	return v, err
}

// Manifest returns the manifest of the version.
func (v *VersionReader) Manifest() *Manifest { return v.m }

// Size returns the size of the virtual disk in bytes.
func (v *VersionReader) Size() int64 { return v.m.VirtualSize }

func (v *VersionReader) plan(pages pages.Set) (*Plan, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.r.plan(v.ctx, v.m, v.m.Version, pages)
}

// Data yields the ranges that are neither zeros nor undefined, ascending.
func (v *VersionReader) Data() iter.Seq2[Range, error] {
	return func(yield func(Range, error) bool) {
		plan, err := v.plan(pages.Set{{Lo: 0, Hi: v.m.VirtualSize / PageSize}})
		if err != nil {
			yield(Range{}, err)
			return
		}
		for _, r := range plan.Runs() {
			if !r.Zero && !yield(Range{r.Offset, r.Length}, nil) {
				return
			}
		}
	}
}

// ReadAt implements io.ReaderAt over the virtual disk. Its errors are those of Plan.Fetch, and
// io.EOF.
func (v *VersionReader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fault.Invalidf("read at %d", off)
	}
	n := max(0, min(int64(len(p)), v.m.VirtualSize-off))
	if n == 0 {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	lo, hi := off/PageSize, (off+n+PageSize-1)/PageSize
	w := windowWriter{p[:n], off}
	if off%PageSize != 0 || n%PageSize != 0 {
		w = windowWriter{make([]byte, (hi-lo)*PageSize), lo * PageSize}
	}
	clear(w.b)
	plan, err := v.plan(pages.Set{{Lo: lo, Hi: hi}})
	if err != nil {
		return 0, err
	}
	if _, err := plan.Fetch(v.ctx, v.src, w, &FetchOptions{SkipZeros: true}); err != nil {
		return 0, err
	}
	if w.off != off || int64(len(w.b)) != n {
		copy(p[:n], w.b[off-w.off:])
	}
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// windowWriter is memory that represents a part of the virtual disk. Its pieces are written
// concurrently and do not overlap.
type windowWriter struct {
	b   []byte
	off int64
}

// WriteAt writes at an offset of the virtual disk.
func (w windowWriter) WriteAt(p []byte, off int64) (int, error) {
	if off < w.off || off+int64(len(p)) > w.off+int64(len(w.b)) {
		return 0, fault.Invalidf("write of %d bytes at %d", len(p), off)
	}
	return copy(w.b[off-w.off:], p), nil
}
