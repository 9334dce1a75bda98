package image_test

import (
	"bytes"
	"encoding/binary"
	"slices"
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
		if c, err := m.Encode(); err != nil || !bytes.Equal(c, b) && binary.LittleEndian.Uint32(b[8:]) == 1 {
			t.Fatal("parsing and writing changes the map")
		}
	})
}

// FuzzManifest: index and manifest are read again as what they were written.
func FuzzManifest(f *testing.F) {
	seeds(f, ".json")
	f.Fuzz(func(t *testing.T, b []byte) {
		if x, err := image.ParseIndex(b, "pc"); err != nil {
			wantClass(t, err)
		} else if c, err := x.Encode(); err == nil {
			again, err := image.ParseIndex(c, "pc")
			if err != nil || !slices.EqualFunc(again.Versions, x.Versions, func(a, b image.Entry) bool { return a.Manifest == b.Manifest && a.Parent == b.Parent }) {
				t.Fatalf("written and read again: %+v, %v", again, err)
			}
		}
		for v := 1; v < 5; v++ {
			m, err := image.ParseManifest(b, "pc", &image.Entry{Version: v, Parent: v - 1})
			if err != nil {
				wantClass(t, err)
			} else if c, e, err := m.Encode(); err == nil {
				again, err := image.ParseManifest(c, "pc", &e)
				if err != nil || again.Table != m.Table || again.Pack != m.Pack || again.Map != m.Map || again.VirtualSize != m.VirtualSize {
					t.Fatalf("written and read again: %+v, %v", again, err)
				}
			}
		}
	})
}
