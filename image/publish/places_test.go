package publish_test

import (
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"troy/image"
	"troy/image/publish"
	"troy/internal/testing/imagetest"
)

// counted counts what is read.
type counted struct {
	io.ReaderAt
	n atomic.Int64
}

func (c *counted) ReadAt(p []byte, off int64) (int, error) {
	c.n.Add(int64(len(p)))
	return c.ReaderAt.ReadAt(p, off)
}

// addCounted adds a version, and returns how much of the disk below was read.
func addCounted(t *testing.T, s *image.Store, now, before *imagetest.State) (*image.Manifest, int64) {
	t.Helper()
	d := now.Disk(before)
	below := &counted{}
	since := d.Since
	d.Since = func(id string) (*publish.Delta, error) {
		delta, err := since(id)
		if delta != nil {
			below.ReaderAt, delta.Parent = delta.Parent, below
		}
		return delta, err
	}
	m, err := publish.Add(t.Context(), s, "pc", d, &publish.Options{Filter: imagetest.Filter{Free: now.Free}})
	if err != nil {
		t.Fatal(err)
	}
	return m, below.n.Load()
}

// TestPlaces: the hashes that a publishing leaves spare the next one to read all of the disk below,
// and change nothing about the version; without them, or with those of another version, they are
// made again; bent ones at most hide what has moved.
func TestPlaces(t *testing.T) {
	r := imagetest.Seeded(t, 11)
	with, without, bent := imagetest.NewStore(t), imagetest.NewStore(t), imagetest.NewStore(t)
	file := func(s *image.Store) string { return filepath.Join(s.String(), "images/pc/places") }
	states := []*imagetest.State{nil, imagetest.First(r, 40000)}
	imagetest.Fill(r, states[1].Data[30000*image.PageSize:])
	for _, s := range []*image.Store{with, without, bent} {
		imagetest.Publish(t, s, states[1], nil, &publish.Options{Level: 1}, true)
	}
	var copied int64
	for v := 2; v <= 6; v++ {
		before := states[v-1]
		now := imagetest.Mutate(r, before, v, true)
		states = append(states, now)
		switch v {
		case 3, 4:
			if err := os.Remove(file(without)); err != nil {
				t.Fatal(err)
			}
		default: // those of a version before that
			if err := os.WriteFile(file(without), readFile(t, file(with))[:4096], 0o644); err != nil {
				t.Fatal(err)
			}
		}
		bend(t, r, file(bent))
		a, little := addCounted(t, with, now, before)
		b, all := addCounted(t, without, now, before)
		if a.Pack != b.Pack || a.Table != b.Table || a.Map != b.Map {
			t.Errorf("version %d: %+v with hashes, %+v without", v, a, b)
		}
		if most := 3*a.Figures.Scanned + a.Figures.Copied*image.RegionSize/image.PageSize; little > most || all-little < 30<<20 {
			t.Errorf("version %d: %d bytes of the disk below were read with hashes, %d without; %d were scanned", v, little, all, a.Figures.Scanned)
		}
		if string(readFile(t, file(with))) != string(readFile(t, file(without))) {
			t.Errorf("version %d: the hashes differ", v)
		}
		copied += a.Figures.Copied
		addCounted(t, bent, now, before)
		if err := bent.Verify(t.Context(), "pc", v, nil); err != nil {
			t.Error(err)
		}
	}
	if copied == 0 {
		t.Error("nothing has moved")
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// bend changes some bytes behind the head of a file.
func bend(t *testing.T, r *rand.Rand, path string) {
	t.Helper()
	b := readFile(t, path)
	for range 50 {
		b[40+r.IntN(len(b)-40)] ^= byte(1 + r.IntN(255))
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
