package layer

import (
	"encoding/binary"
	"math"

	"troy/image/internal/fault"
	"troy/image/internal/pages"
	"troy/internal/block"
	"troy/internal/digest"
)

// Parse reads a layer table strictly: every byte has one meaning, nothing overlaps, counts are
// bounded by the length of b. Its errors are ErrCorrupt and ErrUnsupported.
func Parse(b []byte) (*Table, error) {
	le := binary.LittleEndian
	if len(b) < tableHeaderSize || string(b[:8]) != tableMagic {
		return nil, fault.Corruptf("not a layer table")
	}
	newer, err := fault.Number(&Format, le.Uint32(b[8:]))
	if err != nil {
		return nil, err
	}
	if p := le.Uint32(b[12:]); p != pages.Size {
		return nil, fault.Unsupportedf("layer table with pages of %d bytes", p)
	}
	t := &Table{VirtualSize: int64(le.Uint64(b[16:])), PackSize: int64(le.Uint64(b[24:])), PackSum: digest.Sum(b[32:64])}
	if err := pages.CheckDisk(t.VirtualSize); err != nil {
		return nil, fault.Corruptf("layer table: %v", err)
	}
	if t.PackSize < PackHeaderSize || t.PackSize > MaxPackSize {
		return nil, fault.Corruptf("layer table: pack of %d bytes", t.PackSize)
	}
	chunks, copies, runs := int64(le.Uint32(b[64:])), int64(le.Uint32(b[68:])), int64(le.Uint32(b[72:]))
	if d := le.Uint32(b[76:]); d != 0 {
		return nil, fault.Unsupportedf("layer table with %d dictionaries", d)
	}
	keys := int64(le.Uint32(b[80:]))
	if !newer && !block.IsZero(b[84:tableHeaderSize]) {
		return nil, fault.Corruptf("layer table: reserved bytes of the header are set")
	}
	if want := tableHeaderSize + chunks*ChunkRecordSize + copies*copyRecordSize + keys*pageKeySize + runs*runRecordSize; want != int64(len(b)) {
		return nil, fault.Corruptf("layer table is %d bytes long, its counts say %d", len(b), want)
	}
	b = b[tableHeaderSize:]
	if err := t.parseChunks(b[:chunks*ChunkRecordSize], newer); err != nil {
		return nil, err
	}
	b = b[chunks*ChunkRecordSize:]
	if err := t.parseCopies(b[:copies*copyRecordSize]); err != nil {
		return nil, err
	}
	b = b[copies*copyRecordSize:]
	if err := t.parseRuns(b[keys*pageKeySize:]); err != nil {
		return nil, err
	}
	t.Keys = b[:keys*pageKeySize] // stays part of what was read: there may be many
	return t, t.parseKeys()
}

func (t *Table) parseChunks(b []byte, newer bool) error {
	le := binary.LittleEndian
	t.Chunks = make([]Chunk, 0, len(b)/ChunkRecordSize)
	next := int64(PackHeaderSize)
	for ; len(b) > 0; b = b[ChunkRecordSize:] {
		c, i := ParseChunk(b), len(t.Chunks)
		if d := le.Uint16(b[22:]); c.Method > Zstd || d != 0 {
			return fault.Unsupportedf("layer table: chunk %d has method %d, dictionary %d", i, c.Method, d)
		}
		if !newer && !block.IsZero(b[24:32]) {
			return fault.Corruptf("layer table: reserved bytes of chunk %d are set", i)
		}
		raw := int64(c.Pages) * pages.Size
		if c.Pages == 0 || c.Pages > maxChunkPages || c.Runs == 0 || c.Runs > c.Pages {
			return fault.Corruptf("layer table: chunk %d claims %d pages in %d runs", i, c.Pages, c.Runs)
		}
		if c.Offset != next || c.Packed == 0 || int64(c.Packed) > raw || c.Method == Stored && int64(c.Packed) != raw {
			return fault.Corruptf("layer table: chunk %d of %d pages lies at %d with %d bytes, expected at %d", i, c.Pages, c.Offset, c.Packed, next)
		}
		if c.Method == Stored && c.Raw != c.Sum {
			return fault.Corruptf("layer table: chunk %d is stored as it is, and its pages have another SHA-256", i)
		}
		next += int64(c.Packed)
		t.Chunks = append(t.Chunks, c)
	}
	if next != t.PackSize {
		return fault.Corruptf("layer table: chunks end at %d of a pack of %d bytes", next, t.PackSize)
	}
	return nil
}

func (t *Table) parseCopies(b []byte) error {
	t.Copies = make([]Copy, 0, len(b)/copyRecordSize)
	for ; len(b) > 0; b = b[copyRecordSize:] {
		src := binary.LittleEndian.Uint64(b)
		if src >= uint64(t.VirtualSize/pages.Size) {
			return fault.Corruptf("layer table: copy %d has source page %d", len(t.Copies), src)
		}
		t.Copies = append(t.Copies, Copy{Source: int64(src)})
	}
	return nil
}

// parseRuns reads the runs and hands the data runs out to the chunks, in order.
func (t *Table) parseRuns(b []byte) error {
	le := binary.LittleEndian
	t.Runs = make([]Run, 0, len(b)/runRecordSize)
	var next int64
	var fill filler
	for ; len(b) > 0; b = b[runRecordSize:] {
		i, kind := len(t.Runs), le.Uint32(b[12:])
		page, count := le.Uint64(b), le.Uint32(b[8:])
		if kind < uint32(Data) || kind > uint32(Copied) {
			return fault.Corruptf("layer table: run %d has kind %d", i, kind)
		}
		r := Run{Count: count, Kind: Kind(kind)}
		if page > math.MaxInt64 || int64(page) < next || count == 0 || int64(page) > t.VirtualSize/pages.Size-int64(count) {
			return fault.Corruptf("layer table: run %d is pages %d+%d after page %d of %d", i, page, count, next, t.VirtualSize/pages.Size)
		}
		r.Page = int64(page)
		next = r.End()
		if err := fill.place(t, &r); err != nil {
			return fault.Corruptf("layer table: run %d: %v", i, err)
		}
		t.Runs = append(t.Runs, r)
	}
	if fill.chunk != len(t.Chunks) || fill.pages != 0 || fill.copies != len(t.Copies) {
		return fault.Corruptf("layer table: runs fill %d of %d chunks and %d of %d copies", fill.chunk, len(t.Chunks), fill.copies, len(t.Copies))
	}
	return nil
}

// filler counts which chunk and which copy record the next run belongs to.
type filler struct {
	chunk, copies int
	pages, runs   uint32 // taken from the current chunk
}

func (f *filler) place(t *Table, r *Run) error {
	switch r.Kind {
	case Copied:
		r.Ref = uint32(f.copies)
		f.copies++
		if f.copies > len(t.Copies) {
			return fault.Corruptf("more copy runs than copy records")
		}
	case Data:
		if f.chunk == len(t.Chunks) {
			return fault.Corruptf("data after the last chunk")
		}
		c := &t.Chunks[f.chunk]
		r.Ref, r.Off = uint32(f.chunk), f.pages
		if r.Count > c.Pages-f.pages {
			return fault.Corruptf("%d pages in chunk %d, which has %d left", r.Count, f.chunk, c.Pages-f.pages)
		}
		f.pages += r.Count
		f.runs++
		if f.pages == c.Pages {
			if f.runs != c.Runs {
				return fault.Corruptf("chunk %d has %d runs, its record says %d", f.chunk, f.runs, c.Runs)
			}
			f.chunk, f.pages, f.runs = f.chunk+1, 0, 0
		}
	}
	return nil
}

// parseKeys hands the page keys out to the copies, in the order of the runs.
func (t *Table) parseKeys() error {
	next := int64(0)
	for i := range t.Runs {
		r := &t.Runs[i]
		if r.Kind != Copied {
			continue
		}
		c, n := &t.Copies[r.Ref], int64(r.Count)
		if c.Source > t.VirtualSize/pages.Size-n || t.Keys.Count()-next < n {
			return fault.Corruptf("layer table: copy %d of %d pages has source page %d and %d keys", r.Ref, n, c.Source, t.Keys.Count()-next)
		}
		c.First = uint32(next)
		next += n
	}
	if left := t.Keys.Count() - next; left > 0 {
		return fault.Corruptf("layer table: %d keys are left over", left)
	}
	return nil
}
