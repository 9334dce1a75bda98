package capture

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/klauspost/compress/zstd"

	"troy/image"
	"troy/image/internal/fault"
	"troy/image/internal/pages"
	"troy/internal/block"
	"troy/internal/format"
)

const (
	pieceMagic = "TROYPIEC"
	pieceHead  = 128
	sumAt      = 96
	regionAt   = 16

	// MaxPiece is the most bytes of a piece: pages that do not compress grow by a few bytes.
	MaxPiece = pieceHead + pages.Region + 1024
)

// PerRegion is how many pages a region has.
const PerRegion = pages.PerRegion

// PieceKind is the format of pieces, HeldKind that of Held.
var (
	PieceKind = format.Kind{Name: "a piece of a capture", Number: 1, Oldest: 1}
	HeldKind  = format.Kind{Name: "what is held of a capture", Number: 1, Oldest: 1}
)

// ErrPiece is returned for bytes that are no piece, or not one of the disk.
var ErrPiece = errors.New("not a piece of this capture")

// Mask names pages of a region.
type Mask [PerRegion / 8]byte

// Has tells whether page i of the region is named.
func (m *Mask) Has(i int) bool { return m[i/8]&(1<<(i%8)) != 0 }

// Set names page i of the region.
func (m *Mask) Set(i int) { m[i/8] |= 1 << (i % 8) }

// Count returns how many pages are named.
func (m *Mask) Count() (n int) {
	for _, b := range m {
		n += bits.OnesCount8(b)
	}
	return n
}

// end returns the number behind the last page that is named.
func (m *Mask) end() int {
	for i := len(m) - 1; i >= 0; i-- {
		if m[i] != 0 {
			return i*8 + bits.Len8(m[i])
		}
	}
	return 0
}

// Masks say which pages of a region a piece speaks of.
type Masks struct {
	Region int64
	// Data are the pages that differ from the version below, or are undefined there, and are used;
	// Unused those that differ and that nothing uses. No page is in both.
	Data, Unused Mask
}

// Empty tells that nothing differs in the region.
func (m *Masks) Empty() bool { return m.Data == Mask{} && m.Unused == Mask{} }

// Check returns ErrPiece for masks that no region of a disk of that size can have.
func (m *Masks) Check(virtualSize int64) error {
	if m.Region < 0 || m.Region >= pages.Regions(virtualSize) {
		return fmt.Errorf("%w: region %d of a disk of %d bytes", ErrPiece, m.Region, virtualSize)
	}
	have := min(PerRegion, virtualSize/pages.Size-m.Region*PerRegion)
	for i, b := range m.Data {
		if b&m.Unused[i] != 0 {
			return fmt.Errorf("%w: a page of region %d is used and unused", ErrPiece, m.Region)
		}
	}
	if end := max(m.Data.end(), m.Unused.end()); int64(end) > have {
		return fmt.Errorf("%w: page %d of region %d, which has %d", ErrPiece, end-1, m.Region, have)
	}
	return nil
}

// Piece is what one region sends.
type Piece struct {
	Masks
	// Pages is the content of the pages in Data, in their order.
	Pages []byte
}

// Sum is the SHA-256 by which machine and server know a piece: of its region, masks and pages.
func (p *Piece) Sum() image.Sum {
	h := sha256.New()
	var head [sumAt - regionAt]byte
	p.putHead(head[:])
	h.Write(head[:])
	h.Write(p.Pages)
	return image.Sum(h.Sum(nil))
}

// putHead writes the bytes of a piece from regionAt to sumAt.
func (p *Piece) putHead(b []byte) {
	binary.LittleEndian.PutUint64(b, uint64(p.Region))
	copy(b[16:], p.Data[:])
	copy(b[48:], p.Unused[:])
}

// Encoder packs pieces. It must not be used concurrently.
type Encoder struct {
	z   *zstd.Encoder
	buf []byte
}

// NewEncoder returns an encoder.
func NewEncoder() (*Encoder, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(pages.Region),
		zstd.WithSingleSegment(true), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, err
	}
	return &Encoder{z: z}, nil
}

// Encode returns the bytes of a piece, which are good until the next call.
func (e *Encoder) Encode(p *Piece, sum image.Sum) []byte {
	b := append(e.buf[:0], make([]byte, pieceHead)...)
	copy(b, pieceMagic)
	binary.LittleEndian.PutUint32(b[8:], uint32(PieceKind.Current()))
	p.putHead(b[regionAt:])
	copy(b[sumAt:], sum[:])
	if len(p.Pages) > 0 {
		b = e.z.EncodeAll(p.Pages, b)
	}
	e.buf = b
	return b
}

// Decoder unpacks pieces. It may be used concurrently; one waits for the other.
type Decoder struct{ z *zstd.Decoder }

// NewDecoder returns a decoder that cannot be made to allocate more than one region.
func NewDecoder() (*Decoder, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(pages.Region),
		zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, err
	}
	return &Decoder{z}, nil
}

// Decode reads a piece of a disk of that size and checks its hash, which it returns. The error is
// ErrPiece, or image.ErrUnsupported for a format that is newer or older.
func (d *Decoder) Decode(b []byte, virtualSize int64) (*Piece, image.Sum, error) {
	fail := func(err error) (*Piece, image.Sum, error) { return nil, image.Sum{}, err }
	if len(b) < pieceHead || len(b) > MaxPiece || string(b[:8]) != pieceMagic {
		return fail(fmt.Errorf("%w: %d bytes without its beginning", ErrPiece, len(b)))
	}
	newer, err := fault.Number(&PieceKind, binary.LittleEndian.Uint32(b[8:]))
	if err != nil {
		return fail(err)
	}
	if !newer && (!block.IsZero(b[12:16]) || !block.IsZero(b[24:32])) {
		return fail(fmt.Errorf("%w: bytes that have to be zero are not", ErrPiece))
	}
	p := &Piece{Masks: Masks{Region: int64(binary.LittleEndian.Uint64(b[regionAt:]))}}
	copy(p.Data[:], b[32:])
	copy(p.Unused[:], b[64:])
	if err := p.Check(virtualSize); err != nil {
		return fail(err)
	}
	if p.Pages, err = d.unpack(b[pieceHead:], p.Data.Count()*pages.Size); err != nil {
		return fail(fmt.Errorf("%w: region %d: %w", ErrPiece, p.Region, err))
	}
	sum := p.Sum()
	if want := image.Sum(b[sumAt:pieceHead]); want != sum {
		return fail(fmt.Errorf("%w: region %d has SHA-256 %s, it says %s", ErrPiece, p.Region, sum, want))
	}
	return p, sum, nil
}

func (d *Decoder) unpack(b []byte, size int) ([]byte, error) {
	if size == 0 {
		if len(b) > 0 {
			return nil, fmt.Errorf("%d bytes behind a piece without pages", len(b))
		}
		return nil, nil
	}
	raw, err := d.z.DecodeAll(b, make([]byte, 0, size))
	if err == nil && len(raw) != size {
		err = fmt.Errorf("unpacks to %d bytes, its pages are %d", len(raw), size)
	}
	return raw, err
}
