package capture

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"

	"troy/image"
	"troy/image/internal/fault"
	"troy/image/internal/pages"
	"troy/internal/block"
	"troy/vhdx"
)

// Filter finds the parts of a disk that nothing uses; unused.Filter is one.
type Filter interface {
	// Unused returns ranges of the disk in bytes, in any order, and lines for people about what it
	// looked into. Only whole pages within them count. An error ends the capture.
	Unused(ctx context.Context, disk io.ReaderAt, size int64, sectorSize uint32) (unused []image.Range, notes []string, err error)
}

// Version is what a session stands on, as a machine reads it from the store.
type Version struct {
	Manifest *image.Manifest
	Map      *image.Map
}

// Session is what a boot child holds above the version that it stands on.
type Session struct {
	ID    string // DataWriteGuid of the boot child: lower case, no braces
	About About
	Notes []string // of the filter, for people

	chain, below *vhdx.Chain
	undefined    pages.Set // in the version below
	unused       pages.Set
}

// Open reads what nothing uses on the disk of a chain, whose leaf is the boot child and whose other
// files hold a version. The chain stays the caller's and must not be written meanwhile. Errors:
// image.ErrInvalid if chain and version do not fit, those of the filter and of reading.
func Open(ctx context.Context, chain *vhdx.Chain, v *Version, f Filter) (*Session, error) {
	files, size := chain.Files(), chain.Size()
	if len(files) < 2 {
		return nil, fault.Invalidf("the boot child stands on nothing")
	}
	below, err := vhdx.NewChain(files[1:]...)
	if err != nil {
		return nil, err
	}
	m, sector := v.Manifest, files[0].Geometry().LogicalSectorSize
	if below.Size() != size || m.VirtualSize != size || v.Map.VirtualSize != size || m.SectorSize != sector {
		return nil, fault.Invalidf("the boot child is a disk of %d bytes with sectors of %d, what it stands on of %d, %s version %d of %d with %d",
			size, sector, below.Size(), m.Image, m.Version, m.VirtualSize, m.SectorSize)
	}
	s := &Session{
		ID: files[0].Header().DataWriteGUID.String(), chain: chain, below: below, undefined: v.Map.Undefined,
		About: About{Image: m.Image, Version: m.Version, Manifest: m.SHA256, VirtualSize: size, SectorSize: sector},
	}
	AboutKind.Stamp(&s.About.Head)
	ranges, notes, err := f.Unused(ctx, chain, size, sector)
	if err != nil {
		return nil, err
	}
	s.Notes = notes
	s.unused, err = image.WholePages(ranges, size)
	return s, err
}

// Pieces yields what each region sends, ascending. A piece is good until the next one. The sequence
// ends after an error.
func (s *Session) Pieces(ctx context.Context) iter.Seq2[*Piece, error] {
	return func(yield func(*Piece, error) bool) {
		touched, err := s.touched()
		if err != nil {
			yield(nil, err)
			return
		}
		now, old := make([]byte, pages.Region), make([]byte, pages.Region)
		p := &Piece{Pages: make([]byte, 0, pages.Region)}
		next := int64(0)
		for _, t := range touched {
			for r := max(next, t.Lo/PerRegion); r*PerRegion < t.Hi; r++ {
				next = r + 1
				if err := ctx.Err(); err != nil {
					yield(nil, err)
					return
				}
				if err := s.compare(p, r, now, old); err != nil {
					yield(nil, err)
					return
				}
				if !p.Empty() && !yield(p, nil) {
					return
				}
			}
		}
	}
}

// touched returns the pages in whose regions something may differ: those that the boot child names,
// and those that are used now and undefined in the version below.
func (s *Session) touched() (pages.Set, error) {
	var named []pages.Span
	for e, err := range s.chain.Extents(0, s.chain.Size()) {
		if err != nil {
			return nil, err
		}
		if e.Layer == 0 {
			named = append(named, pages.Span{Lo: e.Offset / pages.Size, Hi: block.RoundUp(e.Offset+e.Length, pages.Size) / pages.Size})
		}
	}
	return pages.Union(pages.NewSet(named), pages.Subtract(s.undefined, s.unused)), nil
}

// compare makes the piece of a region. Now and old are its buffers.
func (s *Session) compare(p *Piece, region int64, now, old []byte) error {
	off := region * pages.Region
	n := min(pages.Region, s.chain.Size()-off)
	if err := block.ReadFull(s.chain, now[:n], off); err != nil {
		return fmt.Errorf("reading bytes %d+%d of the session: %w", off, n, err)
	}
	if err := block.ReadFull(s.below, old[:n], off); err != nil {
		return fmt.Errorf("reading bytes %d+%d of the version below: %w", off, n, err)
	}
	p.Masks, p.Pages = Masks{Region: region}, p.Pages[:0]
	for i := range int(n / pages.Size) {
		at, page := i*pages.Size, region*PerRegion+int64(i)
		content := now[at : at+pages.Size]
		same, undefined := bytes.Equal(content, old[at:at+pages.Size]), s.undefined.Has(page)
		switch {
		case s.unused.Has(page):
			if !same && !undefined { // what is undefined already stays so
				p.Unused.Set(i)
			}
		case !same || undefined:
			p.Data.Set(i)
			p.Pages = append(p.Pages, content...)
		}
	}
	return nil
}
