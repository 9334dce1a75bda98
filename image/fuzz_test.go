package image

import (
	"bytes"
	"errors"
	"testing"
)

// seeds takes files of a real store, with an ending, as seeds.
func seeds(f *testing.F, ending string) (list [][]byte) {
	r := seeded(f, 1)
	s := newStore(f)
	history(f, r, s, 6, 900, true)
	for name, content := range tree(f, s.dir) {
		if len(name) > len(ending) && name[len(name)-len(ending):] == ending {
			f.Add([]byte(content))
			list = append(list, []byte(content))
		}
	}
	if len(list) < 6 {
		f.Fatalf("%d seeds end with %s", len(list), ending)
	}
	return list
}

func wantClass(t *testing.T, err error) {
	if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnsupported) {
		t.Fatalf("error of no class: %v", err)
	}
}

// FuzzTable: what is read must be written again as it was, byte by byte, and hold together.
func FuzzTable(f *testing.F) {
	kinds := map[runKind]bool{}
	for _, b := range seeds(f, ".table") {
		x, err := parseTable(b)
		if err != nil {
			f.Fatal(err)
		}
		for i := range x.runs {
			kinds[x.runs[i].kind] = true
		}
	}
	if len(kinds) != 4 {
		f.Fatalf("the seeds have runs of the kinds %v only", kinds)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := parseTable(b)
		if err != nil {
			wantClass(t, err)
			return
		}
		if !bytes.Equal(x.marshal(), b) {
			t.Fatal("parsing and writing changes the table")
		}
		end := int64(0)
		for i := range x.runs {
			r := &x.runs[i]
			if r.page < end || r.end() > x.virtualSize/PageSize {
				t.Fatalf("run %d is pages %d-%d", i, r.page, r.end())
			}
			end = r.end()
			if r.kind == runData && r.off+r.count > x.chunks[r.ref].pages {
				t.Fatalf("run %d leaves its chunk", i)
			}
		}
	})
}

// FuzzMap: as FuzzTable.
func FuzzMap(f *testing.F) {
	seeds(f, ".map")
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMap(b)
		if err != nil {
			wantClass(t, err)
			return
		}
		if !bytes.Equal(m.marshal(), b) {
			t.Fatal("parsing and writing changes the map")
		}
	})
}

// FuzzManifest: as FuzzTable, for index and manifest.
func FuzzManifest(f *testing.F) {
	seeds(f, ".json")
	f.Fuzz(func(t *testing.T, b []byte) {
		if x, err := ParseIndex(b, "pc"); err != nil {
			wantClass(t, err)
		} else if c, err := encode(x); err != nil || !bytes.Equal(b, c) {
			t.Fatal("parsing and writing changes the index")
		}
		for v := 1; v < 5; v++ {
			m, err := parseManifest(b, "pc", &Entry{Version: v, Parent: v - 1})
			if err != nil {
				wantClass(t, err)
			} else if c, err := encode(m); err != nil || !bytes.Equal(b, c) {
				t.Fatal("parsing and writing changes the manifest")
			}
		}
	})
}

// FuzzChunk unpacks chunks whose publisher was an enemy: the right hash over anything. Never more than the chunk's pages come out.
func FuzzChunk(f *testing.F) {
	enc, err := newEncoder(0, 1)
	if err != nil {
		f.Fatal(err)
	}
	raw := make([]byte, 4*PageSize)
	text(seeded(f, 1), raw)
	f.Add(enc.EncodeAll(raw, nil), uint32(4))
	f.Add(enc.EncodeAll(make([]byte, 1<<22), nil), uint32(1)) // a bomb
	fill(seeded(f, 2), raw)
	f.Add(enc.EncodeAll(raw, nil), uint32(3)) // a page more than told
	f.Add(enc.EncodeAll(raw[:PageSize], nil), uint32(0))
	f.Add(enc.EncodeAll(nil, nil), uint32(0))
	f.Fuzz(func(t *testing.T, packed []byte, pages uint32) {
		c := chunk{pages: pages%maxChunkPages + 1, method: methodZstd}
		d, err := newDecoder()
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		b, err := c.unpack(d, packed)
		if err != nil {
			wantClass(t, err)
		} else if len(b) != int(c.pages)*PageSize {
			t.Fatalf("%d bytes of %d pages", len(b), c.pages)
		}
	})
}
