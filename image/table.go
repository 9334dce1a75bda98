package image

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math"
)

// The layout is described in doc.go, "Layer table".
const (
	tableMagic      = "TROYTABL"
	formatVersion   = 1
	tableHeaderSize = 128
	chunkRecordSize = 64
	copyRecordSize  = 8
	pageKeySize     = 16
	runRecordSize   = 16

	packMagic      = "TROYPACK"
	packHeaderSize = 16

	// maxChunkPages bounds what one chunk unpacks to (4 MiB); this program writes chunks of chunkPages.
	maxChunkPages = 1024
	chunkPages    = 256
	maxTableSize  = 1 << 30
	maxPackSize   = MaxVirtualSize
)

// The methods of a chunk. Method 2, zstd with named ranges of the parent as dictionary, is reserved.
const (
	methodStored = 0
	methodZstd   = 1
)

type runKind uint8

// What a layer says about a run of pages. A page that no run names is as in the version below.
const (
	runData      runKind = 1 // in a chunk
	runZero      runKind = 2 // zeros
	runUndefined runKind = 3 // nobody uses it: machines may hold anything
	runCopy      runKind = 4 // as at another place of the version below
)

// layerRun is one run of pages. For data, ref is the chunk and off the page within it; for copies, ref is the copy record.
type layerRun struct {
	page  int64
	count uint32
	ref   uint32
	off   uint32
	kind  runKind
}

func (r *layerRun) end() int64 { return r.page + int64(r.count) }

type chunk struct {
	offset int64 // in the pack
	packed uint32
	pages  uint32
	runs   uint32
	method uint16
	sum    Sum // of the packed bytes
}

type copyRecord struct {
	source int64  // first page, in the version below
	first  uint32 // key, in the keys of the table
}

// pageKey is the first half of a page's SHA-256: enough that equal keys are equal pages.
type pageKey [pageKeySize]byte

func keyOf(page []byte) pageKey {
	s := sha256.Sum256(page)
	return pageKey(s[:pageKeySize])
}

// pageKeys are keys of neighbouring pages, one behind the other as the table has them.
type pageKeys []byte

func (k pageKeys) count() int64 { return int64(len(k) / pageKeySize) }

// part returns the keys from i to j.
func (k pageKeys) part(i, j int64) pageKeys { return k[i*pageKeySize : j*pageKeySize] }

func (k pageKeys) at(i int64) pageKey { return pageKey(k[i*pageKeySize:]) }

// table is what one version changed: the layer table.
type table struct {
	virtualSize int64
	packSize    int64
	packSum     Sum
	chunks      []chunk
	copies      []copyRecord
	keys        pageKeys // of all copied pages, in the order of the runs
	runs        []layerRun
}

// keysOf returns the keys of the copied pages of a run.
func (t *table) keysOf(r *layerRun) pageKeys {
	first := int64(t.copies[r.ref].first)
	return t.keys.part(first, first+int64(r.count))
}

func (t *table) marshal() []byte {
	size := tableHeaderSize + len(t.chunks)*chunkRecordSize + len(t.copies)*copyRecordSize + len(t.keys) + len(t.runs)*runRecordSize
	b := make([]byte, tableHeaderSize, size)
	le := binary.LittleEndian
	copy(b, tableMagic)
	le.PutUint32(b[8:], formatVersion)
	le.PutUint32(b[12:], PageSize)
	le.PutUint64(b[16:], uint64(t.virtualSize))
	le.PutUint64(b[24:], uint64(t.packSize))
	copy(b[32:], t.packSum[:])
	le.PutUint32(b[64:], uint32(len(t.chunks)))
	le.PutUint32(b[68:], uint32(len(t.copies)))
	le.PutUint32(b[72:], uint32(len(t.runs)))
	for i := range t.chunks {
		b = t.chunks[i].append(b)
	}
	le.PutUint32(b[80:], uint32(t.keys.count()))
	for i := range t.copies {
		b = le.AppendUint64(b, uint64(t.copies[i].source))
	}
	b = append(b, t.keys...)
	for i := range t.runs {
		b = le.AppendUint64(b, uint64(t.runs[i].page))
		b = le.AppendUint32(b, t.runs[i].count)
		b = le.AppendUint32(b, uint32(t.runs[i].kind))
	}
	return b
}

func (c *chunk) append(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(b, uint64(c.offset))
	b = le.AppendUint32(b, c.packed)
	b = le.AppendUint32(b, c.pages)
	b = le.AppendUint32(b, c.runs)
	b = le.AppendUint16(b, c.method)
	b = append(b, make([]byte, 10)...)
	return append(b, c.sum[:]...)
}

// parseTable reads a layer table strictly: every byte has one meaning, nothing overlaps, counts are bounded by the length of b.
// Its errors are ErrCorrupt and ErrUnsupported.
func parseTable(b []byte) (*table, error) {
	le := binary.LittleEndian
	if len(b) < tableHeaderSize || string(b[:8]) != tableMagic {
		return nil, corruptf("not a layer table")
	}
	if v := le.Uint32(b[8:]); v != formatVersion {
		return nil, unsupportedf("layer table of format %d, this program reads %d", v, formatVersion)
	}
	if p := le.Uint32(b[12:]); p != PageSize {
		return nil, unsupportedf("layer table with pages of %d bytes", p)
	}
	t := &table{virtualSize: int64(le.Uint64(b[16:])), packSize: int64(le.Uint64(b[24:])), packSum: Sum(b[32:64])}
	if err := checkVirtualSize(t.virtualSize); err != nil {
		return nil, corruptf("layer table: %v", err)
	}
	if t.packSize < packHeaderSize || t.packSize > maxPackSize {
		return nil, corruptf("layer table: pack of %d bytes", t.packSize)
	}
	chunks, copies, runs := int64(le.Uint32(b[64:])), int64(le.Uint32(b[68:])), int64(le.Uint32(b[72:]))
	if d := le.Uint32(b[76:]); d != 0 {
		return nil, unsupportedf("layer table with %d dictionaries", d)
	}
	keys := int64(le.Uint32(b[80:]))
	if !zeros(b[84:tableHeaderSize]) {
		return nil, corruptf("layer table: reserved bytes of the header are set")
	}
	if want := tableHeaderSize + chunks*chunkRecordSize + copies*copyRecordSize + keys*pageKeySize + runs*runRecordSize; want != int64(len(b)) {
		return nil, corruptf("layer table is %d bytes long, its counts say %d", len(b), want)
	}
	b = b[tableHeaderSize:]
	if err := t.parseChunks(b[:chunks*chunkRecordSize]); err != nil {
		return nil, err
	}
	b = b[chunks*chunkRecordSize:]
	if err := t.parseCopies(b[:copies*copyRecordSize]); err != nil {
		return nil, err
	}
	b = b[copies*copyRecordSize:]
	if err := t.parseRuns(b[keys*pageKeySize:]); err != nil {
		return nil, err
	}
	t.keys = b[:keys*pageKeySize] // stays part of what was read: there may be many
	return t, t.parseKeys()
}

func (t *table) parseChunks(b []byte) error {
	le := binary.LittleEndian
	t.chunks = make([]chunk, 0, len(b)/chunkRecordSize)
	next := int64(packHeaderSize)
	for ; len(b) > 0; b = b[chunkRecordSize:] {
		c := chunk{
			offset: int64(le.Uint64(b)), packed: le.Uint32(b[8:]), pages: le.Uint32(b[12:]), runs: le.Uint32(b[16:]),
			method: le.Uint16(b[20:]), sum: Sum(b[32:64]),
		}
		i := len(t.chunks)
		if d := le.Uint16(b[22:]); c.method > methodZstd || d != 0 {
			return unsupportedf("layer table: chunk %d has method %d, dictionary %d", i, c.method, d)
		}
		if !zeros(b[24:32]) {
			return corruptf("layer table: reserved bytes of chunk %d are set", i)
		}
		raw := int64(c.pages) * PageSize
		if c.pages == 0 || c.pages > maxChunkPages || c.runs == 0 || c.runs > c.pages {
			return corruptf("layer table: chunk %d claims %d pages in %d runs", i, c.pages, c.runs)
		}
		if c.offset != next || c.packed == 0 || int64(c.packed) > raw || c.method == methodStored && int64(c.packed) != raw {
			return corruptf("layer table: chunk %d of %d pages lies at %d with %d bytes, expected at %d", i, c.pages, c.offset, c.packed, next)
		}
		next += int64(c.packed)
		t.chunks = append(t.chunks, c)
	}
	if next != t.packSize {
		return corruptf("layer table: chunks end at %d of a pack of %d bytes", next, t.packSize)
	}
	return nil
}

func (t *table) parseCopies(b []byte) error {
	t.copies = make([]copyRecord, 0, len(b)/copyRecordSize)
	for ; len(b) > 0; b = b[copyRecordSize:] {
		src := binary.LittleEndian.Uint64(b)
		if src >= uint64(t.virtualSize/PageSize) {
			return corruptf("layer table: copy %d has source page %d", len(t.copies), src)
		}
		t.copies = append(t.copies, copyRecord{source: int64(src)})
	}
	return nil
}

// parseRuns reads the runs and hands the data runs out to the chunks, in order.
func (t *table) parseRuns(b []byte) error {
	le := binary.LittleEndian
	t.runs = make([]layerRun, 0, len(b)/runRecordSize)
	var next int64
	var fill filler
	for ; len(b) > 0; b = b[runRecordSize:] {
		i, kind := len(t.runs), le.Uint32(b[12:])
		page, count := le.Uint64(b), le.Uint32(b[8:])
		if kind < uint32(runData) || kind > uint32(runCopy) {
			return corruptf("layer table: run %d has kind %d", i, kind)
		}
		r := layerRun{count: count, kind: runKind(kind)}
		if page > math.MaxInt64 || int64(page) < next || count == 0 || int64(page) > t.virtualSize/PageSize-int64(count) {
			return corruptf("layer table: run %d is pages %d+%d after page %d of %d", i, page, count, next, t.virtualSize/PageSize)
		}
		r.page = int64(page)
		next = r.end()
		if err := fill.place(t, &r); err != nil {
			return corruptf("layer table: run %d: %v", i, err)
		}
		t.runs = append(t.runs, r)
	}
	if fill.chunk != len(t.chunks) || fill.pages != 0 || fill.copies != len(t.copies) {
		return corruptf("layer table: runs fill %d of %d chunks and %d of %d copies", fill.chunk, len(t.chunks), fill.copies, len(t.copies))
	}
	return nil
}

// filler counts which chunk and which copy record the next run belongs to.
type filler struct {
	chunk, copies int
	pages, runs   uint32 // taken from the current chunk
}

func (f *filler) place(t *table, r *layerRun) error {
	switch r.kind {
	case runCopy:
		r.ref = uint32(f.copies)
		f.copies++
		if f.copies > len(t.copies) {
			return corruptf("more copy runs than copy records")
		}
	case runData:
		if f.chunk == len(t.chunks) {
			return corruptf("data after the last chunk")
		}
		c := &t.chunks[f.chunk]
		r.ref, r.off = uint32(f.chunk), f.pages
		if r.count > c.pages-f.pages {
			return corruptf("%d pages in chunk %d, which has %d left", r.count, f.chunk, c.pages-f.pages)
		}
		f.pages += r.count
		f.runs++
		if f.pages == c.pages {
			if f.runs != c.runs {
				return corruptf("chunk %d has %d runs, its record says %d", f.chunk, f.runs, c.runs)
			}
			f.chunk, f.pages, f.runs = f.chunk+1, 0, 0
		}
	}
	return nil
}

// parseKeys hands the page keys out to the copies, in the order of the runs.
func (t *table) parseKeys() error {
	next := int64(0)
	for i := range t.runs {
		r := &t.runs[i]
		if r.kind != runCopy {
			continue
		}
		c, n := &t.copies[r.ref], int64(r.count)
		if c.source > t.virtualSize/PageSize-n || t.keys.count()-next < n {
			return corruptf("layer table: copy %d of %d pages has source page %d and %d keys", r.ref, n, c.source, t.keys.count()-next)
		}
		c.first = uint32(next)
		next += n
	}
	if left := t.keys.count() - next; left > 0 {
		return corruptf("layer table: %d keys are left over", left)
	}
	return nil
}

// pages returns all pages that the layer says something about.
func (t *table) pages() spans {
	s := make(spans, 0, len(t.runs))
	for i := range t.runs {
		s.push(t.runs[i].page, t.runs[i].end())
	}
	return s
}

func zeros(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

func checkVirtualSize(n int64) error {
	if n <= 0 || n%PageSize != 0 || n > MaxVirtualSize {
		return invalidf("virtual disk of %d bytes: it must be a multiple of %d, at most %d", n, PageSize, int64(MaxVirtualSize))
	}
	return nil
}
