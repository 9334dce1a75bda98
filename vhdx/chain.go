package vhdx

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"troy/internal/block"
	"troy/internal/errline"
)

// Chain is a virtual disk: a leaf and the parents it stands on, down to a
// disk without parent. A disk that is not differencing is a chain of one.
// ReadAt and WriteAt may be called from several goroutines.
type Chain struct {
	files []*File // leaf first
	edge  sync.Mutex
}

// maxChain bounds the depth of a chain, against locators that go in circles.
const maxChain = 128

// NewChain joins files, the leaf first, each followed by its parent. It owns
// them afterwards: Close closes them all. On error they are left open.
// Errors: ErrChainMismatch when a parent is missing, is not the one that
// parent_linkage or parent_linkage2 name, or has other logical sectors;
// *FormatError for a locator that cannot be read.
func NewChain(leafFirst ...*File) (*Chain, error) {
	if len(leafFirst) == 0 {
		return nil, fmt.Errorf("%w: a chain needs at least one file", ErrChainMismatch)
	}
	for i, f := range leafFirst {
		if !f.Metadata().HasParent {
			if i < len(leafFirst)-1 {
				return nil, fmt.Errorf("%w: file %d of the chain has no parent, but more files follow", ErrChainMismatch, i+1)
			}
			break
		}
		if i == len(leafFirst)-1 {
			return nil, fmt.Errorf("%w: the last file of the chain is a differencing disk, its parent %s is missing", ErrChainMismatch, f.ParentName())
		}
		if err := CheckLink(f, leafFirst[i+1]); err != nil {
			return nil, err
		}
	}
	if err := noCircle(leafFirst); err != nil {
		return nil, err
	}
	return &Chain{files: append([]*File(nil), leafFirst...)}, nil
}

// noCircle refuses a chain in which a file is there twice, or whose last file has one of the others
// as its parent.
func noCircle(files []*File) error {
	last := files[len(files)-1]
	for i, f := range files {
		for _, g := range files[i+1:] {
			if f.same(g) {
				return fmt.Errorf("%w: the chain is a circle, %s is its own parent or that of its parent", ErrChainMismatch, f.name())
			}
		}
		if f != last && last.Metadata().HasParent {
			// A locator that cannot be read is not this check's business.
			if ok, _ := linked(last, f); ok {
				return fmt.Errorf("%w: the chain is a circle, %s stands on %s", ErrChainMismatch, last.name(), f.name())
			}
		}
	}
	return nil
}

// same reports whether f and g are one file. Storages are told apart by their GUIDs.
func (f *File) same(g *File) bool {
	switch {
	case f == g:
		return true
	case f.info != nil && g.info != nil:
		return os.SameFile(f.info, g.info)
	case f.info != nil || g.info != nil:
		return false
	}
	a, b := f.Header(), g.Header()
	return a.FileWriteGUID == b.FileWriteGUID && a.DataWriteGUID == b.DataWriteGUID
}

// name is what an error calls the file.
func (f *File) name() string {
	if f.path == "" {
		return "a file"
	}
	return f.path
}

// CheckLink checks that parent is the one that child was made for. Errors:
// ErrChainMismatch if neither of the child's linkages names it, or its logical
// sectors are others; *FormatError for a locator that cannot be read.
func CheckLink(child, parent *File) error {
	ok, err := linked(child, parent)
	if err != nil {
		return err
	}
	if !ok {
		l, _ := child.Metadata().ParentLocator.Linkage()
		return fmt.Errorf("%w: the child wants a parent with DataWriteGuid %v, this one has %v: it was changed after the child was made, or is another disk",
			ErrChainMismatch, l, parent.Header().DataWriteGUID)
	}
	c, p := child.Geometry().LogicalSectorSize, parent.Geometry().LogicalSectorSize
	if c != p {
		return fmt.Errorf("%w: the child has logical sectors of %d bytes, the parent of %d", ErrChainMismatch, c, p)
	}
	return nil
}

// linked reports whether one of the child's two linkages names the parent.
func linked(child, parent *File) (bool, error) {
	l := child.Metadata().ParentLocator
	if l == nil {
		return false, fmt.Errorf("%w: the child is no differencing disk", ErrChainMismatch)
	}
	g := parent.Header().DataWriteGUID
	first, err := l.Linkage()
	if err != nil {
		return false, err
	}
	if first == g {
		return true, nil
	}
	second, err := l.Linkage2()
	if err != nil {
		return false, err
	}
	return !second.IsZero() && second == g, nil
}

// Size returns the bytes of the virtual disk, which are the leaf's.
func (c *Chain) Size() int64 { return c.files[0].Geometry().VirtualDiskSize }

// Files returns the files of the chain, leaf first.
func (c *Chain) Files() []*File { return append([]*File(nil), c.files...) }

// ReadAt implements io.ReaderAt on the virtual disk. What no file of the chain
// holds reads zero, as does what a child names ZERO, UNMAPPED or UNDEFINED.
func (c *Chain) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("vhdx: negative offset")
	}
	size := c.Size()
	if off >= size {
		return 0, io.EOF
	}
	if int64(len(p)) > size-off {
		p, err = p[:size-off], io.EOF
	}
	if e := c.readFrom(0, p, off); e != nil {
		return 0, e
	}
	return len(p), err
}

// readFrom fills p as the chain below and including layer shows it.
func (c *Chain) readFrom(layer int, p []byte, off int64) error {
	if layer == len(c.files) {
		clear(p)
		return nil
	}
	f := c.files[layer]
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.closed {
		return ErrClosed
	}
	for len(p) > 0 {
		if off >= f.geo.VirtualDiskSize { // a larger child over a smaller parent
			clear(p)
			return nil
		}
		m, err := f.lookup(off, min(int64(len(p)), f.geo.VirtualDiskSize-off))
		if err != nil {
			return err
		}
		part := p[:m.length]
		switch {
		case m.inFile:
			err = block.ReadFull(f.r, part, m.off)
		case m.state == PayloadNotPresent && f.geo.Differencing:
			err = c.readFrom(layer+1, part, off)
		default:
			clear(part)
		}
		if err != nil {
			return err
		}
		p, off = p[m.length:], off+m.length
	}
	return nil
}

// WriteAt implements io.WriterAt on the virtual disk; all of it goes into the
// leaf. It is durable after Sync. Writes to the same sector from several
// goroutines are the caller's to order. Errors: ErrReadOnly, *FormatError,
// ErrNoSpace, write errors; io.ErrShortWrite past the end of the disk.
func (c *Chain) WriteAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("vhdx: negative offset")
	}
	leaf := c.files[0]
	if err := leaf.canWrite(); err != nil {
		return 0, err
	}
	if room := max(c.Size()-off, 0); int64(len(p)) > room {
		p, err = p[:room], io.ErrShortWrite
	}
	n, e := c.write(p, off)
	if e != nil {
		return n, e
	}
	return n, err
}

// canWrite is writable for callers that do not hold f.mu.
func (f *File) canWrite() error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.writable()
}

// write splits off the edges that are not whole sectors: a sector bitmap knows
// sectors only, so the rest of an edge sector comes from the chain.
func (c *Chain) write(p []byte, off int64) (n int, err error) {
	leaf := c.files[0]
	lss := int64(leaf.geo.LogicalSectorSize)
	if !leaf.geo.Differencing || off%lss == 0 && int64(len(p))%lss == 0 {
		return leaf.writeAt(p, off)
	}
	c.edge.Lock()
	defer c.edge.Unlock()
	for n < len(p) {
		at := off + int64(n)
		k := (int64(len(p)-n) / lss) * lss
		if at%lss == 0 && k > 0 {
			k, err := leaf.writeAt(p[n:n+int(k)], at)
			if n += k; err != nil {
				return n, err
			}
			continue
		}
		k = min(lss-at%lss, int64(len(p)-n))
		sector := make([]byte, lss)
		if err := c.readFrom(0, sector, at-at%lss); err != nil {
			return n, err
		}
		copy(sector[at%lss:], p[n:n+int(k)])
		if _, err := leaf.writeAt(sector, at-at%lss); err != nil {
			return n, err
		}
		n += int(k)
	}
	return n, nil
}

// ZeroRange makes n bytes at off read zero. Blocks that lie whole in the range
// become ZERO and give their space back, but for a fixed disk, which keeps it.
// Errors: those of WriteAt.
func (c *Chain) ZeroRange(off, n int64) error { return c.zero(off, n, zeroStrict) }

// TrimRange tells that the content of n bytes at off is not needed any more.
// Blocks that lie whole in the range become UNMAPPED, read zero and give their
// space back; the rest, and all of a fixed disk, keeps its content. Errors:
// those of WriteAt.
func (c *Chain) TrimRange(off, n int64) error { return c.zero(off, n, zeroHint) }

func (c *Chain) zero(off, n int64, kind zeroKind) error {
	leaf := c.files[0]
	if err := leaf.canWrite(); err != nil {
		return err
	}
	if off < 0 || n < 0 || n > c.Size()-off {
		return io.ErrShortWrite
	}
	lss := int64(leaf.geo.LogicalSectorSize)
	from, to := block.RoundUp(off, lss), (off+n)/lss*lss
	if !leaf.geo.Differencing || from == off && to == off+n || kind == zeroHint {
		return leaf.zeroRange(off, n, kind)
	}
	if from > to { // inside one sector
		_, err := c.write(make([]byte, n), off)
		return err
	}
	if _, err := c.write(make([]byte, from-off), off); err != nil {
		return err
	}
	if err := leaf.zeroRange(from, to-from, kind); err != nil {
		return err
	}
	_, err := c.write(make([]byte, off+n-to), to)
	return err
}

// Sync makes every write so far durable, payload before the metadata that
// names it. A chain that is only read returns nil.
func (c *Chain) Sync() error { return c.files[0].Sync() }

// Sync makes every change of the file so far durable.
func (f *File) Sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return ErrClosed
	}
	if f.w == nil || !f.w.began {
		return nil
	}
	return f.w.commit()
}

// Close closes all files of the chain.
func (c *Chain) Close() error {
	var errs []error
	for _, f := range c.files {
		errs = append(errs, f.Close())
	}
	return errline.Join(errs...)
}
