package inbox

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"

	"troy/image"
	"troy/image/capture"
	"troy/internal/block"
	"troy/internal/errline"
	"troy/internal/progress"
)

// Finished is a finished inbox, open to be published.
type Finished struct {
	capture.Capture
	Whose  About
	Totals capture.Totals

	sums map[int64]image.Sum
	file *os.File
}

// Open opens a finished inbox. Errors: ErrNone, ErrUnfinished, ErrDamaged, those of the disk.
func Open(dir, id string) (*Finished, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	about, err := readAbout(dir, id)
	if err != nil {
		return nil, err
	}
	pages, log, err := openFiles(dir, id, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	f := &Finished{Whose: *about, sums: map[int64]image.Sum{}, file: pages}
	f.ID, f.About, f.Pages = id, about.Session, pages
	err = errline.Join(f.read(log), log.Close())
	if err != nil {
		return nil, errline.Join(err, f.Close())
	}
	return f, nil
}

// read reads the log.
func (f *Finished) read(log *os.File) error {
	masks, last := map[int64]capture.Masks{}, record{}
	_, err := readLog(log, func(r *record) error {
		switch last = *r; r.kind {
		case isHeld:
			masks[r.Region], f.sums[r.Region] = r.Masks, r.sum
		case isDropped:
			delete(masks, r.Region)
			delete(f.sums, r.Region)
		}
		return r.fits(f.About.VirtualSize)
	})
	if err != nil {
		return err
	}
	if last.kind != isFinished {
		return fmt.Errorf("%w: %s", ErrUnfinished, f.ID)
	}
	f.Pieces = slices.SortedFunc(maps.Values(masks), func(a, b capture.Masks) int { return cmp.Compare(a.Region, b.Region) })
	h := &capture.Held{}
	var data, unused int
	for i := range f.Pieces {
		p := &f.Pieces[i]
		h.Pieces = append(h.Pieces, capture.RegionSum{Region: p.Region, Sum: f.sums[p.Region]})
		data, unused = data+p.Data.Count(), unused+p.Unused.Count()
	}
	f.Totals = h.Totals()
	f.Totals.Data, f.Totals.Unused = int64(data), int64(unused)
	if f.Totals.Sum != last.sum {
		return fmt.Errorf("%w: its log holds other pieces than the machine sent", ErrDamaged)
	}
	return nil
}

// Verify reads all pages and compares them with what the machine sent: a disk may lose what was
// written to it. The error is ErrDamaged, or that of reading.
func (f *Finished) Verify(ctx context.Context, start progress.Start) error {
	stage := start.Begin("verifying the capture", f.Totals.Data*image.PageSize)
	buf := make([]byte, image.RegionSize)
	for i := range f.Pieces {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := &capture.Piece{Masks: f.Pieces[i], Pages: buf[:0]}
		for first, n := range runs(&p.Data) {
			at := len(p.Pages)
			p.Pages = p.Pages[:at+n*image.PageSize]
			if err := block.ReadFull(f.file, p.Pages[at:], (p.Region*capture.PerRegion+int64(first))*image.PageSize); err != nil {
				return fmt.Errorf("%w: region %d: %w", ErrDamaged, p.Region, err)
			}
		}
		if p.Sum() != f.sums[p.Region] {
			return fmt.Errorf("%w: region %d is not what the machine sent", ErrDamaged, p.Region)
		}
		stage.Add(int64(len(p.Pages)))
	}
	stage.Done()
	return nil
}

// Close closes the inbox.
func (f *Finished) Close() error { return f.file.Close() }
