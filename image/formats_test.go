package image_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/image"
	"troy/image/internal/layer"
	"troy/image/publish"
	"troy/internal/testing/imagetest"
)

// parse reads a document of the store with versions 1 and 2 of "pc" by its name.
func parse(t *testing.T, s *image.Store, name string, b []byte) error {
	t.Helper()
	var err error
	switch filepath.Ext(name) {
	case ".table":
		_, err = layer.Parse(b)
	case ".map":
		_, err = image.ParseMap(b)
	default:
		switch filepath.Base(name) {
		case image.MarkerName:
			put(t, s, name, b)
			_, err = image.OpenStore(s.String())
		case "versions.json":
			_, err = image.ParseIndex(b, "pc")
		default:
			_, err = image.ParseManifest(b, "pc", &image.Entry{Version: 2, Parent: 1})
		}
	}
	return err
}

// TestFormats: a document of a newer program is read, whatever else it says, unless it needs a word
// that this program does not know: then it is refused, and the word named. So is one of a format
// that is older than all.
func TestFormats(t *testing.T) {
	s := imagetest.NewStore(t)
	imagetest.History(t, imagetest.Seeded(t, 1), s, 2, 300, true)
	for _, name := range []string{image.MarkerName, "images/pc/versions.json", "images/pc/2.json"} {
		good, err := os.ReadFile(filepath.Join(s.String(), name))
		if err != nil {
			t.Fatal(err)
		}
		const number = `"format": 1`
		for text, want := range map[string]string{
			number:        "",
			`"format": 7`: "",
			`"format": 7, "needs": [], "more": {"format": "x"}`: "",
			`"format": 0`:                            "format 0",
			`"format": 7, "needs": ["moved", "x-2"]`: `needs "moved", "x-2"`,
			`"format": 1, "needs": ["moved"]`:        `needs "moved"`,
			`"Format": 1, "format": 1`:               "is spelled",
			`"format": 1, "format": 1`:               "duplicate",
			`"more": 1`:                              "format 0",
		} {
			err := parse(t, s, name, bytes.Replace(good, []byte(number), []byte(text), 1))
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s with %s: %v, want %q", name, text, err, want)
			}
			if err != nil {
				wantClass(t, err)
			}
		}
		put(t, s, name, good)
	}
}

// TestBinaryFormats: likewise for tables and maps, which have a number alone. A newer one may have
// set what is zero today.
func TestBinaryFormats(t *testing.T) {
	s := imagetest.NewStore(t)
	imagetest.History(t, imagetest.Seeded(t, 1), s, 2, 300, true)
	for ending, free := range map[string]int{".table": 90, ".map": 50} {
		name := imagetest.Files(t, s, ending)[0]
		good, err := os.ReadFile(filepath.Join(s.String(), name))
		if err != nil {
			t.Fatal(err)
		}
		for number, class := range []error{image.ErrUnsupported, image.ErrCorrupt, nil} {
			b := bytes.Clone(good)
			binary.LittleEndian.PutUint32(b[8:], uint32(number))
			b[free] = 1
			if err := parse(t, s, name, b); !errors.Is(err, class) {
				t.Errorf("%s of format %d with byte %d set: %v, want %v", ending, number, free, err, class)
			}
		}
	}
}

// TestUnknownMembersAreKept: a program that rewrites the index of a newer one leaves there what it
// does not know.
func TestUnknownMembersAreKept(t *testing.T) {
	s := imagetest.NewStore(t)
	states := imagetest.History(t, imagetest.Seeded(t, 1), s, 2, 300, false)
	name := image.IndexName("pc")
	good, err := os.ReadFile(filepath.Join(s.String(), name))
	if err != nil {
		t.Fatal(err)
	}
	newer := strings.Replace(string(good), `"format": 1`, `"format": 3, "of-the-index": {"b": 1, "a": []}`, 1)
	newer = strings.ReplaceAll(newer, `"parent": `, `"of-the-version": true, "parent": `)
	put(t, s, name, []byte(newer))
	imagetest.Publish(t, s, states[1], states[2], &publish.Options{}, false)
	if err := publish.Remove(t.Context(), s, "pc", 3); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(s.String(), name))
	if err != nil {
		t.Fatal(err)
	}
	if text := string(b); strings.Count(text, "of-the-version") != 2 || strings.Count(text, "of-the-index") != 1 || !strings.Contains(text, `"next": 4`) {
		t.Errorf("the index was rewritten as %s", text)
	}
}

// TestFields: places for what is a machine's own are looked at before anything follows them, and
// their kind is a word that this program has to know.
func TestFields(t *testing.T) {
	s := imagetest.NewStore(t)
	imagetest.History(t, imagetest.Seeded(t, 1), s, 1, 300, true)
	m, err := s.Show(t.Context(), "pc", 1)
	if err != nil {
		t.Fatal(err)
	}
	end := m.VirtualSize
	good := image.Field{Kind: "utf-16", Name: "computer-name", Offset: image.PageSize - 2, Room: 32, Pages: make([]image.Sum, 2)}
	for want, change := range map[string]func(f *image.Field){
		`does not need`:         func(*image.Field) {},
		`has kind "UTF"`:        func(f *image.Field) { f.Kind = "UTF" },
		`name ""`:               func(f *image.Field) { f.Name = "" },
		"is bytes 4094+0":       func(f *image.Field) { f.Room = 0 },
		"is bytes -1+32":        func(f *image.Field) { f.Offset = -1 },
		"of a disk":             func(f *image.Field) { f.Offset = end - 31 },
		"4094+9223372036854775": func(f *image.Field) { f.Room = 1<<63 - 1 },
		"has hashes of 1":       func(f *image.Field) { f.Pages = f.Pages[:1] },
		"touches 1 pages":       func(f *image.Field) { f.Offset--; f.Room = 3 },
	} {
		f := good
		change(&f)
		m.Needs, m.Fields = nil, []image.Field{f}
		if _, _, err := m.Encode(); !errors.Is(err, image.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", f, err, want)
		}
	}
	m.Needs, m.Fields = []string{good.Kind}, []image.Field{good}
	if _, _, err := m.Encode(); !errors.Is(err, image.ErrUnsupported) || !strings.Contains(err.Error(), `needs "utf-16"`) {
		t.Errorf("a kind of field that this program does not know: %v", err)
	}
	m.Needs, m.Fields = nil, make([]image.Field, 257)
	if _, _, err := m.Encode(); !errors.Is(err, image.ErrInvalid) || !strings.Contains(err.Error(), "257 fields") {
		t.Errorf("too many fields: %v", err)
	}
}
