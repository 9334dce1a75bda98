package vhdx

import (
	"errors"
	"io"

	"troy/internal/block"
)

// readCopy reads one of the two copies of a structure. A sector that cannot be
// read is asked for once more before the other copy decides: that may be older.
func readCopy(r io.ReaderAt, p []byte, off int64, what string) error {
	err := block.ReadFull(r, p, off)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		err = block.ReadFull(r, p, off)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return corrupt(what, off, "the file ends before it")
	}
	return err
}

// unreadable returns the first error of reading: what such a copy holds is not
// known, so the file must not be called corrupt.
func unreadable(bad ...error) error {
	for _, err := range bad {
		if err != nil && !errors.Is(err, ErrCorrupt) {
			return err
		}
	}
	return nil
}

// Mend rewrites a copy of the header or of the region table that is damaged or
// cannot be read from the other one, so that the next damage does not take the
// last. A file that has both of everything is not written to. It changes
// nothing that a reader sees. Errors: those of ReadHeaders for a file without a
// whole copy, and those of the disk.
func Mend(s Storage) (mended bool, err error) {
	h, slot, err := ReadHeaders(s)
	if err != nil {
		return false, err
	}
	if _, other, _ := readHeaderCopy(s, headerOffsets[1-slot]); other == nil {
		h.SequenceNumber++ // never two that differ under one number, however much of this is written
		if err := mendCopy(s, h.Marshal(), headerOffsets[1-slot]); err != nil {
			return false, err
		}
		mended = true
	}
	var tables [2][]byte
	for i, off := range regionTableOffsets {
		_, tables[i], _ = readRegionTable(s, off)
	}
	for i, off := range regionTableOffsets {
		if tables[i] != nil || tables[1-i] == nil {
			continue
		}
		if err := mendCopy(s, tables[1-i], off); err != nil {
			return mended, err
		}
		mended = true
	}
	return mended, nil
}

func mendCopy(s Storage, b []byte, off int64) error {
	if _, err := s.WriteAt(b, off); err != nil {
		return err
	}
	return s.Sync()
}
