package inside

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
)

// BlockSize is that of a block of the ballast, in bytes: a page of a layer.
const BlockSize = 4096

// chunk is how much of the ballast is read or written at once, in bytes.
const chunk = 1 << 20

// Stamps is what the blocks of a ballast say. A whole version has one stamp.
type Stamps struct {
	Blocks  int    `json:"blocks"`            // that were looked at
	Low     uint32 `json:"low"`               // the lowest stamp
	High    uint32 `json:"high"`              // the highest
	Strange int    `json:"strange,omitempty"` // blocks that are those of no stamp
}

// One reports whether all blocks have that stamp.
func (s Stamps) One(stamp uint32) bool {
	return s.Blocks > 0 && s.Strange == 0 && s.Low == stamp && s.High == stamp
}

// String says it in words.
func (s Stamps) String() string {
	switch {
	case s.Blocks == 0:
		return "no ballast"
	case s.Strange > 0:
		return fmt.Sprintf("%d of %d blocks of the ballast are damaged", s.Strange, s.Blocks)
	case s.Low != s.High:
		return fmt.Sprintf("a mixture of stamps %d to %d", s.Low, s.High)
	}
	return fmt.Sprintf("stamp %d", s.Low)
}

// Block fills p, of BlockSize bytes, with what a block holds: the stamp, its number, and noise made
// of both, so that nothing of it can be compressed or found elsewhere. Stamp 0 is that of a ballast
// which nobody has filled: zeros.
func Block(p []byte, stamp uint32, number int) {
	if stamp == 0 {
		clear(p)
		return
	}
	var seed [32]byte
	binary.LittleEndian.PutUint32(seed[:], stamp)
	binary.LittleEndian.PutUint64(seed[8:], uint64(number))
	rand.NewChaCha8(seed).Read(p) // never fails
	copy(p, seed[:16])
}

// WriteBallast fills all of a ballast of size bytes.
func WriteBallast(w io.WriterAt, size int64, stamp uint32) error {
	buffer := make([]byte, chunk)
	for at := int64(0); at < size; at += chunk {
		part := buffer[:min(chunk, size-at)]
		for i := 0; i+BlockSize <= len(part); i += BlockSize {
			Block(part[i:i+BlockSize], stamp, int(at+int64(i))/BlockSize)
		}
		if _, err := w.WriteAt(part, at); err != nil {
			return err
		}
	}
	return nil
}

// StayStamp is the first stamp of a ballast that is written until the power is cut; no version has it.
const StayStamp uint32 = 1 << 31

// KeepWriting writes a ballast of size bytes, again and again with further stamps, until ctx ends.
// begun, if not nil, is called when the first block is on the disk.
func KeepWriting(ctx context.Context, f File, size int64, begun func()) error {
	const flush = 64 // blocks
	page, blocks := make([]byte, BlockSize), int(size/BlockSize)
	for n := 0; ctx.Err() == nil && blocks > 0; n++ {
		Block(page, StayStamp+uint32(n/blocks), n%blocks)
		if _, err := f.WriteAt(page, int64(n%blocks)*BlockSize); err != nil {
			return err
		}
		if n%flush != 0 {
			continue
		}
		if err := f.Sync(); err != nil {
			return err
		}
		if n == 0 && begun != nil {
			begun()
		}
	}
	return nil
}

// ReadBallast looks at all of a ballast of size bytes.
func ReadBallast(r io.ReaderAt, size int64) (s Stamps, err error) {
	buffer, want := make([]byte, chunk), make([]byte, BlockSize)
	for at := int64(0); at < size; at += chunk {
		part := buffer[:min(chunk, size-at)]
		if n, err := r.ReadAt(part, at); n < len(part) {
			return s, fmt.Errorf("the ballast ends at byte %d of %d: %w", at+int64(n), size, err)
		}
		for i := 0; i+BlockSize <= len(part); i += BlockSize {
			block := part[i : i+BlockSize]
			stamp := binary.LittleEndian.Uint32(block)
			Block(want, stamp, int(at+int64(i))/BlockSize)
			s.add(stamp, string(block) == string(want))
		}
	}
	return s, nil
}

func (s *Stamps) add(stamp uint32, sound bool) {
	s.Blocks++
	if !sound {
		s.Strange++
		return
	}
	if s.Blocks-s.Strange == 1 {
		s.Low = stamp
	}
	s.Low, s.High = min(s.Low, stamp), max(s.High, stamp)
}
