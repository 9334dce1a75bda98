// Package layer has the two binary files of a version, as package image describes them: the layer
// table, which says what the version changed, and the chunks in the pack.
package layer

import (
	"crypto/sha256"
	"encoding/binary"

	"troy/image/internal/pages"
	"troy/internal/digest"
	"troy/internal/format"
)

// Format is that of tables and packs. They have no words: those of the manifest count, which leads
// to them. What is zero in this format, a later one may set without changing anything else.
var Format = format.Kind{Name: "the layer table", Number: 1, Oldest: 1}

// MaxSize bounds a table, in bytes.
const MaxSize = 1 << 30

// ChunkRecordSize is how many bytes the record of a chunk has.
const ChunkRecordSize = 96

const (
	tableMagic      = "TROYTABL"
	tableHeaderSize = 128
	copyRecordSize  = 8
	pageKeySize     = 16
	runRecordSize   = 16
)

// Kind is what a layer says about a run of pages.
type Kind uint8

// The kinds of runs. A page that no run names is as in the version below.
const (
	Data      Kind = 1 // in a chunk
	Zero      Kind = 2 // zeros
	Undefined Kind = 3 // nothing uses it: machines may hold anything
	Copied    Kind = 4 // as at another place of the version below
)

// Run is one run of pages. For data, Ref is the chunk and Off the page within it; for copies, Ref
// is the copy record. The table in the store has neither: they follow from the order.
type Run struct {
	Page  int64
	Count uint32
	Ref   uint32
	Off   uint32
	Kind  Kind
}

// End returns the page behind the run.
func (r *Run) End() int64 { return r.Page + int64(r.Count) }

// Copy is where the pages of a copied run are in the version below.
type Copy struct {
	Source int64  // first page
	First  uint32 // index of its first key in the keys of the table
}

// Key is the first half of a page's SHA-256: enough that equal keys are equal pages.
type Key [pageKeySize]byte

// KeyOf returns the key of a page.
func KeyOf(page []byte) Key {
	s := sha256.Sum256(page)
	return Key(s[:pageKeySize])
}

// Keys are keys of neighbouring pages, one after the other as the table has them.
type Keys []byte

// NewKeys returns no keys, with room for n.
func NewKeys(n int) Keys { return make(Keys, 0, n*pageKeySize) }

// Count returns how many keys there are.
func (k Keys) Count() int64 { return int64(len(k) / pageKeySize) }

// Part returns the keys from i to j.
func (k Keys) Part(i, j int64) Keys { return k[i*pageKeySize : j*pageKeySize] }

// At returns the i-th key.
func (k Keys) At(i int64) Key { return Key(k[i*pageKeySize:]) }

// Table is what one version changed: the layer table.
type Table struct {
	VirtualSize int64
	PackSize    int64
	PackSum     digest.Sum
	Chunks      []Chunk
	Copies      []Copy
	Keys        Keys // of all copied pages, in the order of the runs
	Runs        []Run
}

// Pages returns all pages that the layer says something about.
func (t *Table) Pages() pages.Set {
	s := make(pages.Set, 0, len(t.Runs))
	for i := range t.Runs {
		s.Push(t.Runs[i].Page, t.Runs[i].End())
	}
	return s
}

// KeysOf returns the keys of the copied pages of a run.
func (t *Table) KeysOf(r *Run) Keys {
	first := int64(t.Copies[r.Ref].First)
	return t.Keys.Part(first, first+int64(r.Count))
}

// Marshal returns the table as a store has it.
func (t *Table) Marshal() []byte {
	size := tableHeaderSize + len(t.Chunks)*ChunkRecordSize + len(t.Copies)*copyRecordSize + len(t.Keys) + len(t.Runs)*runRecordSize
	b := make([]byte, tableHeaderSize, size)
	le := binary.LittleEndian
	copy(b, tableMagic)
	le.PutUint32(b[8:], uint32(Format.Current()))
	le.PutUint32(b[12:], pages.Size)
	le.PutUint64(b[16:], uint64(t.VirtualSize))
	le.PutUint64(b[24:], uint64(t.PackSize))
	copy(b[32:], t.PackSum[:])
	le.PutUint32(b[64:], uint32(len(t.Chunks)))
	le.PutUint32(b[68:], uint32(len(t.Copies)))
	le.PutUint32(b[72:], uint32(len(t.Runs)))
	for i := range t.Chunks {
		b = t.Chunks[i].Append(b)
	}
	le.PutUint32(b[80:], uint32(t.Keys.Count()))
	for i := range t.Copies {
		b = le.AppendUint64(b, uint64(t.Copies[i].Source))
	}
	b = append(b, t.Keys...)
	for i := range t.Runs {
		b = le.AppendUint64(b, uint64(t.Runs[i].Page))
		b = le.AppendUint32(b, t.Runs[i].Count)
		b = le.AppendUint32(b, uint32(t.Runs[i].Kind))
	}
	return b
}

// Append appends the record of a chunk, as a table has it.
func (c *Chunk) Append(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(b, uint64(c.Offset))
	b = le.AppendUint32(b, c.Packed)
	b = le.AppendUint32(b, c.Pages)
	b = le.AppendUint32(b, c.Runs)
	b = le.AppendUint16(b, c.Method)
	b = append(b, make([]byte, 10)...)
	b = append(b, c.Sum[:]...)
	return append(b, c.Raw[:]...)
}

// ParseChunk reads the record of a chunk. Nothing in it is checked.
func ParseChunk(b []byte) Chunk {
	le := binary.LittleEndian
	return Chunk{
		Offset: int64(le.Uint64(b)), Packed: le.Uint32(b[8:]), Pages: le.Uint32(b[12:]), Runs: le.Uint32(b[16:]),
		Method: le.Uint16(b[20:]), Sum: digest.Sum(b[32:64]), Raw: digest.Sum(b[64:ChunkRecordSize]),
	}
}
