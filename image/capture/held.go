package capture

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"troy/image"
	"troy/image/internal/fault"
	"troy/image/internal/pages"
	"troy/internal/block"
)

const (
	heldMagic  = "TROYHELD"
	heldHead   = 32
	heldRecord = 40
)

// RegionSum is a piece by its region and hash.
type RegionSum struct {
	Region int64
	Sum    image.Sum
}

// Held is what a server has of a capture.
type Held struct {
	Finished bool
	Pieces   []RegionSum // ascending
}

// Sum returns the hash of the piece that is held of a region.
func (h *Held) Sum(region int64) (image.Sum, bool) {
	i, ok := slices.BinarySearchFunc(h.Pieces, region, func(r RegionSum, region int64) int { return cmp.Compare(r.Region, region) })
	if !ok {
		return image.Sum{}, false
	}
	return h.Pieces[i].Sum, true
}

// Encode returns it as a server sends it.
func (h *Held) Encode() []byte {
	le := binary.LittleEndian
	b := make([]byte, heldHead, heldHead+len(h.Pieces)*heldRecord)
	copy(b, heldMagic)
	le.PutUint32(b[8:], uint32(HeldKind.Current()))
	if h.Finished {
		le.PutUint32(b[12:], 1)
	}
	le.PutUint64(b[16:], uint64(len(h.Pieces)))
	for _, p := range h.Pieces {
		b = append(le.AppendUint64(b, uint64(p.Region)), p.Sum[:]...)
	}
	return b
}

// ReadHeld reads what a server has of a capture of a disk of that size. What is allocated follows
// what has arrived. The error is image.ErrCorrupt, image.ErrUnsupported, or that of reading.
func ReadHeld(r io.Reader, virtualSize int64) (*Held, error) {
	le := binary.LittleEndian
	var head [heldHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, heldFault(err)
	}
	if string(head[:8]) != heldMagic {
		return nil, fault.Corruptf("not a list of the pieces that are held")
	}
	newer, err := fault.Number(&HeldKind, le.Uint32(head[8:]))
	if err != nil {
		return nil, err
	}
	state, count := le.Uint32(head[12:]), le.Uint64(head[16:])
	if state > 1 || count > uint64(pages.Regions(virtualSize)) || !newer && !block.IsZero(head[24:]) {
		return nil, fault.Corruptf("list of held pieces: %d pieces in state %d, of a disk of %d regions", count, state, pages.Regions(virtualSize))
	}
	h := &Held{Finished: state == 1}
	for next, i := int64(0), uint64(0); i < count; i++ {
		var b [heldRecord]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return nil, heldFault(err)
		}
		p := RegionSum{int64(le.Uint64(b[:])), image.Sum(b[8:])}
		if p.Region < next || p.Region >= pages.Regions(virtualSize) {
			return nil, fault.Corruptf("list of held pieces: region %d where %d or more follows", p.Region, next)
		}
		next = p.Region + 1
		h.Pieces = append(h.Pieces, p)
	}
	if n, err := io.ReadFull(r, head[:1]); n > 0 || err != io.EOF {
		return nil, fault.Corruptf("list of held pieces: it does not end after %d pieces", count)
	}
	return h, nil
}

func heldFault(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fault.Corruptf("list of held pieces: it is cut off")
	}
	return fmt.Errorf("list of held pieces: %w", err)
}

// Totals returns what all pieces come to, without the counts of pages.
func (h *Held) Totals() Totals {
	sum, b := sha256.New(), make([]byte, 0, heldRecord)
	for _, p := range h.Pieces {
		b = append(binary.LittleEndian.AppendUint64(b[:0], uint64(p.Region)), p.Sum[:]...)
		sum.Write(b)
	}
	return Totals{Pieces: int64(len(h.Pieces)), Sum: image.Sum(sum.Sum(nil))}
}
