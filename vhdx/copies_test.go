package vhdx

import (
	"bytes"
	"errors"
	"io"
	"syscall"
	"testing"
)

// badSector is a medium with one page that cannot be read before it was written to.
type badSector struct {
	*memFile
	off     int64
	times   int // reads that fail, of the next; -1: all
	written bool
}

func (b *badSector) ReadAt(p []byte, off int64) (int, error) {
	if !b.written && b.times != 0 && off <= b.off && b.off < off+int64(len(p)) {
		b.times--
		return 0, syscall.EIO
	}
	return b.memFile.ReadAt(p, off)
}

func (b *badSector) WriteAt(p []byte, off int64) (int, error) {
	b.written = b.written || off <= b.off && b.off < off+int64(len(p))
	return b.memFile.WriteAt(p, off)
}

// Of each structure that stands twice in a file one copy may be lost, whichever: as garbage, or as a
// sector that cannot be read. Mend brings it back.
func TestOneOfTwoCopies(t *testing.T) {
	for name, off := range map[string]int64{"header 1": Header1Offset, "header 2": Header2Offset,
		"region table 1": RegionTable1Offset, "region table 2": RegionTable2Offset} {
		for how, times := range map[string]int{"garbage": 0, "unreadable": -1} {
			t.Run(name+" "+how, func(t *testing.T) {
				m := sound(t)
				before, err := NewFile(m, m.size)
				must(t, err)
				b := &badSector{memFile: m.clone(), off: off, times: times}
				if times == 0 {
					_, err := b.memFile.WriteAt(bytes.Repeat([]byte{7}, pageSize), off)
					must(t, err)
				}
				f, err := NewFile(b, b.size)
				if err != nil {
					t.Fatal(err)
				}
				if f.Header().DataWriteGUID != before.Header().DataWriteGUID {
					t.Error("another DataWriteGuid")
				}
				rep, err := Check(b, b.size, &CheckOptions{})
				if err != nil || len(rep.Findings) == 0 {
					t.Errorf("Check: %+v, %v", rep, err)
				}
				for i, want := range []bool{true, false} {
					if got, err := Mend(b); got != want || err != nil {
						t.Errorf("Mend, call %d = %v, %v, want %v", i+1, got, err, want)
					}
				}
				other := map[int64]int64{Header1Offset: Header2Offset, Header2Offset: Header1Offset,
					RegionTable1Offset: RegionTable2Offset, RegionTable2Offset: RegionTable1Offset}[off]
				_, err = b.WriteAt(make([]byte, pageSize), other)
				must(t, err)
				f, err = NewFile(b, b.size)
				if err != nil || f.Header().DataWriteGUID != before.Header().DataWriteGUID {
					t.Errorf("on the mended copy alone: %v", err)
				}
			})
		}
	}
}

// A sector that is read at the second try keeps its copy: the other one may be older. Two copies
// that cannot be read are not called corrupt.
func TestUnreadableCopies(t *testing.T) {
	m := sound(t)
	want, slot, err := ReadHeaders(m)
	must(t, err)
	got, at, err := ReadHeaders(&badSector{memFile: m, off: headerOffsets[slot], times: 1})
	if err != nil || at != slot || *got != *want {
		t.Errorf("after one failure: slot %d, want %d, %v", at, slot, err)
	}
	if _, _, err := ReadHeaders(alwaysEIO{}); !errors.Is(err, syscall.EIO) || errors.Is(err, ErrCorrupt) {
		t.Errorf("both headers: %v", err)
	}
	if _, err := readRegionTables(alwaysEIO{}); !errors.Is(err, syscall.EIO) || errors.Is(err, ErrCorrupt) {
		t.Errorf("both region tables: %v", err)
	}
}

type alwaysEIO struct{}

func (alwaysEIO) ReadAt([]byte, int64) (int, error) { return 0, syscall.EIO }

var _ io.ReaderAt = alwaysEIO{}
