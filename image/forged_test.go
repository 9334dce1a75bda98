package image_test

import (
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/image"
	"troy/image/internal/layer"
	"troy/internal/testing/imagetest"
	"troy/internal/testing/needs"
)

// put writes a file of a store.
func put(t *testing.T, s *image.Store, name string, b []byte) {
	t.Helper()
	p := filepath.Join(s.String(), filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// putIndex replaces the index of an image.
func putIndex(t *testing.T, s *image.Store, x *image.Index) {
	t.Helper()
	b, err := x.Encode()
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, image.IndexName(x.Image), b)
}

// forge publishes a version again with a table that no publisher would write. It returns false if
// the table is refused when read.
func forge(t *testing.T, s *image.Store, version int, change func(*layer.Table)) bool {
	t.Helper()
	m, err := s.Show(t.Context(), "pc", version)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Get(t.Context(), m.Table.Name, m.Table.Size)
	if err != nil {
		t.Fatal(err)
	}
	tab, err := layer.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	change(tab)
	b = tab.Marshal()
	if _, err := layer.Parse(b); err != nil {
		wantClass(t, err)
		return false
	}
	m.Table = image.NewObject(image.KindTable, int64(len(b)), sha256.Sum256(b))
	put(t, s, m.Table.Name, b)
	b, e, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, e.Manifest.Name, b)
	x, err := image.LoadIndex(t.Context(), s, "pc")
	if err != nil {
		t.Fatal(err)
	}
	x.Versions[version-1], x.Next = e, 100
	putIndex(t, s, x)
	return true
}

func wantClass(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, image.ErrCorrupt) && !errors.Is(err, image.ErrUnsupported) {
		t.Fatalf("error of no class: %v", err)
	}
}

// twist changes one thing of a table.
func twist(r *rand.Rand, t *layer.Table) {
	if len(t.Runs) == 0 {
		return
	}
	run := &t.Runs[r.IntN(len(t.Runs))]
	switch r.IntN(6) {
	case 0:
		run.Kind = layer.Kind(1 + r.IntN(4))
	case 1:
		run.Page += r.Int64N(9) - 4
	case 2:
		run.Count += uint32(r.IntN(3)) - 1
	case 3:
		if len(t.Copies) > 0 {
			t.Copies[r.IntN(len(t.Copies))].Source = r.Int64N(t.VirtualSize / image.PageSize)
		}
	case 4:
		i := r.IntN(len(t.Runs))
		t.Runs = append(t.Runs[:i:i], t.Runs[i+1:]...)
	case 5:
		if run.Kind == layer.Zero {
			run.Kind = layer.Undefined
		}
	}
}

// TestForgedTables follows tables that are spelled right, hashed right and wrong all the same: no
// panic, nothing outside the disk, no page twice, every error of a known class.
func TestForgedTables(t *testing.T) {
	needs.Time(t)
	forged, failed := 0, 0
	for seed := range uint64(imagetest.Soak(20)) {
		r := imagetest.Seeded(t, seed)
		s := imagetest.NewStore(t)
		states := imagetest.History(t, r, s, 4, 500, true)
		for range 10 {
			if !forge(t, s, 1+r.IntN(4), func(tab *layer.Table) { twist(r, tab) }) {
				continue
			}
			forged++
			for have := range 5 {
				p, err := image.LoadLocalPlan(t.Context(), s, "pc", have, 1+r.IntN(4))
				if err == nil {
					_, err = p.Fetch(t.Context(), s, imagetest.NewSink(make([]byte, len(states[1].Data))), &image.FetchOptions{Local: zeroDisk{}})
				}
				if err != nil {
					failed++
					if !errors.Is(err, image.ErrCorrupt) && !errors.Is(err, image.ErrLocal) {
						t.Fatal(err)
					}
				}
			}
		}
	}
	if forged == 0 || failed == 0 {
		t.Fatalf("%d tables were forged, %d plans failed", forged, failed)
	}
	t.Logf("%d tables were forged, %d plans failed", forged, failed)
}

// TestOtherContent unpacks a chunk whose packed bytes have the hash of the table, and whose pages
// have not: it is refused by name, and none of its pages is written.
func TestOtherContent(t *testing.T) {
	s := imagetest.NewStore(t)
	states := imagetest.History(t, imagetest.Seeded(t, 3), s, 1, 200, true)
	was := false
	if !forge(t, s, 1, func(tab *layer.Table) {
		for i := range tab.Chunks {
			if c := &tab.Chunks[i]; c.Method == layer.Zstd && !was {
				c.Raw[0] ^= 1
				was = true
			}
		}
	}) || !was {
		t.Fatal("no chunk to forge")
	}
	p, err := image.LoadPlan(t.Context(), s, "pc", 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	k := imagetest.NewSink(make([]byte, len(states[1].Data)))
	_, err = p.Fetch(t.Context(), s, k, &image.FetchOptions{SkipZeros: true})
	if !errors.Is(err, image.ErrCorrupt) || !strings.Contains(err.Error(), "unpacks to pages with SHA-256") || k.Calls != 0 {
		t.Fatalf("Fetch = %v, %d writes", err, k.Calls)
	}
}

// TestStoredHashes refuses a table in which the two hashes of a stored chunk differ: it is read
// without being unpacked, so that the second would never be looked at.
func TestStoredHashes(t *testing.T) {
	page := make([]byte, image.PageSize)
	sum := image.Sum(sha256.Sum256(page))
	tab := layer.Table{
		VirtualSize: image.PageSize, PackSize: layer.PackHeaderSize + image.PageSize, Runs: []layer.Run{{Count: 1, Kind: layer.Data}},
		Chunks: []layer.Chunk{{Offset: layer.PackHeaderSize, Packed: image.PageSize, Pages: 1, Runs: 1, Sum: sum, Raw: sum}},
	}
	if _, err := layer.Parse(tab.Marshal()); err != nil {
		t.Fatal(err)
	}
	tab.Chunks[0].Raw[31] ^= 1
	if _, err := layer.Parse(tab.Marshal()); !errors.Is(err, image.ErrCorrupt) {
		t.Fatalf("Parse = %v", err)
	}
}

var _ io.ReaderAt = zeroDisk{}
