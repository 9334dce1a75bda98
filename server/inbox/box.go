package inbox

import (
	"cmp"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"sync"

	"troy/image"
	"troy/image/capture"
	"troy/internal/errline"
)

// storage is a file as a box needs it.
type storage interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// entry is what is known of a piece in memory.
type entry struct {
	sum          image.Sum
	data, unused uint16 // pages
}

// box is an inbox that is open for writing. Its methods may be called concurrently.
type box struct {
	mu         sync.Mutex
	pages, log storage
	size       int64 // of the virtual disk
	records    int64
	held       map[int64]entry
	finished   bool
	broken     error // a write failed: what the log holds is known again when it is opened anew
}

// newBox reads the log of an inbox of a disk of that size.
func newBox(pages, log storage, size int64) (b *box, err error) {
	b = &box{pages: pages, log: log, size: size, held: map[int64]entry{}}
	b.records, err = readLog(log, b.replay)
	return b, err
}

func (b *box) replay(r *record) error {
	switch r.kind {
	case isHeld:
		if err := r.fits(b.size); err != nil {
			return err
		}
		b.held[r.Region] = entry{r.sum, uint16(r.Data.Count()), uint16(r.Unused.Count())}
	case isDropped:
		delete(b.held, r.Region)
	case isFinished:
		b.finished = true
	}
	return nil
}

// append writes a record durably.
func (b *box) append(r *record) error {
	_, err := b.log.WriteAt(r.encode(b.records), b.records*recordSize)
	if err == nil {
		err = b.log.Sync()
	}
	if err != nil {
		b.broken = err
		return err
	}
	b.records++
	return b.replay(r)
}

// put takes a piece whose hash was checked. Room is asked before pages are written for which there
// is none yet.
func (b *box) put(p *capture.Piece, sum image.Sum, room func(pages int) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	old, there := b.held[p.Region]
	switch {
	case there && old.sum == sum || !there && p.Empty():
		return nil
	case b.finished:
		return ErrFinished
	case b.broken != nil:
		return b.broken
	}
	if b.records > maxRecords(b.size) {
		return fmt.Errorf("%w: pieces were replaced too often", ErrFull)
	}
	if more := p.Data.Count() - int(old.data); more > 0 {
		if err := room(more); err != nil {
			return err
		}
	}
	if there {
		if err := b.append(&record{kind: isDropped, Masks: capture.Masks{Region: p.Region}}); err != nil || p.Empty() {
			return err
		}
	}
	if err := b.write(p); err != nil {
		return err
	}
	return b.append(&record{isHeld, p.Masks, sum})
}

// maxRecords bounds the log of a disk of that size, which grows when pieces are replaced.
func maxRecords(size int64) int64 { return 64 + 8*(size/image.RegionSize+1) }

// write writes the pages of a piece to their places, durably.
func (b *box) write(p *capture.Piece) error {
	if len(p.Pages) == 0 {
		return nil
	}
	at := 0
	for first, n := range runs(&p.Data) {
		part := p.Pages[at : at+n*image.PageSize]
		if _, err := b.pages.WriteAt(part, (p.Region*capture.PerRegion+int64(first))*image.PageSize); err != nil {
			return err
		}
		at += len(part)
	}
	return b.pages.Sync()
}

// runs yields the runs of pages in a mask: the first page and how many.
func runs(m *capture.Mask) func(yield func(first, n int) bool) {
	return func(yield func(first, n int) bool) {
		for i := 0; i < capture.PerRegion; {
			if m[i/8]>>(i%8) == 0 { // none in the rest of this byte
				i = i/8*8 + 8
				continue
			}
			i += bits.TrailingZeros8(m[i/8] >> (i % 8))
			j := i
			for j < capture.PerRegion && m.Has(j) {
				j++
			}
			if !yield(i, j-i) {
				return
			}
			i = j
		}
	}
}

// list returns what is held, and its totals.
func (b *box) list() (*capture.Held, capture.Totals) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := &capture.Held{Finished: b.finished, Pieces: make([]capture.RegionSum, 0, len(b.held))}
	var data, unused int64
	for region, e := range b.held {
		h.Pieces = append(h.Pieces, capture.RegionSum{Region: region, Sum: e.sum})
		data, unused = data+int64(e.data), unused+int64(e.unused)
	}
	slices.SortFunc(h.Pieces, func(a, b capture.RegionSum) int { return cmp.Compare(a.Region, b.Region) })
	t := h.Totals()
	t.Data, t.Unused = data, unused
	return h, t
}

// finish ends the capture if its totals are those.
func (b *box) finish(want *capture.Totals) error {
	_, have := b.list()
	if !have.Same(want) {
		return fmt.Errorf("%w: the machine sent %d pieces with %d pages, here are %d with %d", ErrOther, want.Pieces, want.Data, have.Pieces, have.Data)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.finished {
		return nil
	}
	if b.broken != nil {
		return b.broken
	}
	return b.append(&record{isFinished, capture.Masks{Region: have.Pieces}, have.Sum})
}

// close closes the files, if they are files.
func (b *box) close() error {
	var errs []error
	for _, s := range []storage{b.pages, b.log} {
		if c, ok := s.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errline.Join(errs...)
}
