package inbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"troy/image"
	"troy/image/capture"
)

// recordSize is that of a record of the log in bytes. It divides a sector, so that a record is
// written whole or not at all.
const recordSize = 128

// kind says what a record of the log tells.
type kind uint32

const (
	isHeld kind = 1 + iota
	isDropped
	isFinished
)

// record is one of the log, as the package comment has it.
type record struct {
	kind kind
	capture.Masks
	sum image.Sum
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (r *record) encode(number int64) []byte {
	le := binary.LittleEndian
	b := make([]byte, recordSize)
	le.PutUint32(b[4:], uint32(r.kind))
	le.PutUint64(b[8:], uint64(number))
	le.PutUint64(b[16:], uint64(r.Region))
	copy(b[32:], r.sum[:])
	copy(b[64:], r.Data[:])
	copy(b[96:], r.Unused[:])
	le.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
}

// decode reads the record of that number; ok is false for what is none.
func (r *record) decode(b []byte, number int64) (ok bool) {
	le := binary.LittleEndian
	r.kind, r.Region = kind(le.Uint32(b[4:])), int64(le.Uint64(b[16:]))
	copy(r.sum[:], b[32:])
	copy(r.Data[:], b[64:])
	copy(r.Unused[:], b[96:])
	return le.Uint32(b) == crc32.Checksum(b[4:], castagnoli) && le.Uint64(b[8:]) == uint64(number) &&
		r.kind >= isHeld && r.kind <= isFinished && r.Region >= 0
}

// readLog calls visit for each record of a log and returns how many there are.
func readLog(r io.ReaderAt, visit func(*record) error) (n int64, err error) {
	buf := make([]byte, 512*recordSize)
	for {
		have, err := r.ReadAt(buf, n*recordSize)
		if err != nil && !errors.Is(err, io.EOF) {
			return n, fmt.Errorf("reading the log of the inbox: %w", err)
		}
		whole := have / recordSize
		for i := range whole {
			var rec record
			if !rec.decode(buf[i*recordSize:][:recordSize], n) {
				return n, nil
			}
			if err := visit(&rec); err != nil {
				return n, err
			}
			n++
		}
		if whole < len(buf)/recordSize {
			return n, nil
		}
	}
}

// fits returns ErrDamaged for a piece that no disk of that size has.
func (r *record) fits(virtualSize int64) error {
	if r.kind != isHeld {
		return nil
	}
	if err := r.Check(virtualSize); err != nil {
		return fmt.Errorf("%w: its log: %w", ErrDamaged, err)
	}
	return nil
}
