package layer

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"

	"troy/image/internal/fault"
	"troy/image/internal/pages"
)

func wantClass(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, fault.ErrCorrupt) && !errors.Is(err, fault.ErrUnsupported) {
		t.Fatalf("error of no class: %v", err)
	}
}

// sample is a table with all kinds of runs.
func sample() *Table {
	page := make([]byte, pages.Size)
	key := KeyOf(page)
	return &Table{
		VirtualSize: 4096 * pages.Size, PackSize: PackHeaderSize + pages.Size + 100, PackSum: sha256.Sum256([]byte("pack")),
		Chunks: []Chunk{
			{Offset: PackHeaderSize, Packed: pages.Size, Pages: 1, Runs: 1, Method: Stored, Sum: sha256.Sum256(page), Raw: sha256.Sum256(page)},
			{Offset: PackHeaderSize + pages.Size, Packed: 100, Pages: 3, Runs: 2, Method: Zstd},
		},
		Copies: []Copy{{Source: 9}},
		Keys:   append(key[:], key[:]...),
		Runs: []Run{
			{Page: 0, Count: 1, Kind: Data}, {Page: 7, Count: 2, Kind: Data}, {Page: 20, Count: 1, Kind: Data},
			{Page: 21, Count: 2, Kind: Copied}, {Page: 23, Count: 4000, Kind: Zero}, {Page: 4095, Count: 1, Kind: Undefined},
		},
	}
}

// FuzzTable: what is read must be written again as it was, byte by byte, and hold together.
func FuzzTable(f *testing.F) {
	good := sample().Marshal()
	if _, err := Parse(good); err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := Parse(b)
		if err != nil {
			wantClass(t, err)
			return
		}
		if binary.LittleEndian.Uint32(b[8:]) == uint32(Format.Number) && !bytes.Equal(x.Marshal(), b) {
			t.Fatal("parsing and writing changes the table")
		}
		end := int64(0)
		for i := range x.Runs {
			r := &x.Runs[i]
			if r.Page < end || r.End() > x.VirtualSize/pages.Size {
				t.Fatalf("run %d is pages %d-%d", i, r.Page, r.End())
			}
			end = r.End()
			if r.Kind == Data && r.Off+r.Count > x.Chunks[r.Ref].Pages {
				t.Fatalf("run %d leaves its chunk", i)
			}
		}
	})
}

// FuzzChunk unpacks chunks whose publisher was an enemy: the right hashes over anything. Never more
// than the chunk's pages come out, and none with another hash.
func FuzzChunk(f *testing.F) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(true), zstd.WithSingleSegment(true))
	if err != nil {
		f.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	raw := make([]byte, 4*pages.Size)
	for i := range raw {
		raw[i] = "abcdefgh"[r.IntN(8)]
	}
	f.Add(enc.EncodeAll(raw, nil), uint32(4))
	f.Add(enc.EncodeAll(make([]byte, 1<<22), nil), uint32(1)) // a bomb
	for i := range raw {
		raw[i] = byte(r.Uint32())
	}
	f.Add(enc.EncodeAll(raw, nil), uint32(3)) // a page more than told
	f.Add(enc.EncodeAll(raw[:pages.Size], nil), uint32(0))
	f.Add(enc.EncodeAll(nil, nil), uint32(0))
	f.Fuzz(func(t *testing.T, packed []byte, count uint32) {
		c := Chunk{Pages: count%maxChunkPages + 1, Method: Zstd}
		d, err := NewDecoder()
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if b, err := c.Unpack(d, packed); err == nil {
			t.Fatalf("%d bytes of which the table does not say the hash", len(b))
		}
		if raw, err := d.DecodeAll(packed, nil); err == nil {
			c.Raw = sha256.Sum256(raw)
		}
		b, err := c.Unpack(d, packed)
		if err != nil {
			wantClass(t, err)
		} else if len(b) != int(c.Pages)*pages.Size {
			t.Fatalf("%d bytes of %d pages", len(b), c.Pages)
		}
	})
}
