package image_test

import (
	"bytes"
	"strings"
	"testing"

	"troy/image"
	"troy/internal/testing/imagetest"
)

// seeds takes files of a real store, with an ending, as seeds.
func seeds(f *testing.F, ending string) {
	s := imagetest.NewStore(f)
	imagetest.History(f, imagetest.Seeded(f, 1), s, 6, 900, true)
	n := 0
	for name, content := range imagetest.Tree(f, s) {
		if strings.HasSuffix(name, ending) {
			f.Add([]byte(content))
			n++
		}
	}
	if n < 6 {
		f.Fatalf("%d seeds end with %s", n, ending)
	}
}

// FuzzMap: what is read must be written again as it was, byte by byte.
func FuzzMap(f *testing.F) {
	seeds(f, ".map")
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := image.ParseMap(b)
		if err != nil {
			wantClass(t, err)
			return
		}
		if c, err := m.Encode(); err != nil || !bytes.Equal(c, b) {
			t.Fatal("parsing and writing changes the map")
		}
	})
}

// FuzzManifest: as FuzzMap, for index and manifest.
func FuzzManifest(f *testing.F) {
	seeds(f, ".json")
	f.Fuzz(func(t *testing.T, b []byte) {
		if x, err := image.ParseIndex(b, "pc"); err != nil {
			wantClass(t, err)
		} else if c, err := x.Encode(); err != nil || !bytes.Equal(b, c) {
			t.Fatal("parsing and writing changes the index")
		}
		for v := 1; v < 5; v++ {
			m, err := image.ParseManifest(b, "pc", &image.Entry{Version: v, Parent: v - 1})
			if err != nil {
				wantClass(t, err)
			} else if c, _, err := m.Encode(); err != nil || !bytes.Equal(b, c) {
				t.Fatal("parsing and writing changes the manifest")
			}
		}
	})
}
