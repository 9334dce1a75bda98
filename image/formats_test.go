package image_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
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
	good := func() image.Field {
		return image.Field{Kind: image.FieldText, Name: "computer-name", At: []image.Range{{Offset: image.PageSize - 2, Length: 4}, {Offset: 9000, Length: 28}},
			SizeAt: 5000, Pages: make([]image.Sum, 3)}
	}
	answers := func(f *image.Field) {
		f.Kind, f.SizeAt, f.Pages, f.Used = image.FieldAnswers, 0, f.Pages[:3], 30
		f.Slots = []image.Slot{{Name: "a/b", Offset: 3, Length: 4}, {Name: "a/c", Offset: 9, Length: 0}}
	}
	encoded := func(needs []string, list ...image.Field) (image.Manifest, error) {
		m := *m
		m.Needs, m.Fields = needs, list
		b, e, err := m.Encode()
		if err != nil {
			return m, err
		}
		again, err := image.ParseManifest(b, "pc", &e)
		if err != nil {
			t.Fatal(err)
		}
		return *again, nil
	}
	for _, c := range []struct {
		want   string
		change func(f *image.Field)
	}{
		{`kind "UTF"`, func(f *image.Field) { f.Kind = "UTF" }},
		{`name ""`, func(f *image.Field) { f.Name = "" }},
		{"does not need", func(f *image.Field) { f.Kind = "utf-16"; f.SizeAt, f.Pages = 0, f.Pages[:3] }},
		{"texts of 0 and 513 bytes", func(f *image.Field) { f.Was = strings.Repeat("x", 513) }},
		{"0 pieces", func(f *image.Field) { f.At = nil }},
		{"65 pieces", func(f *image.Field) { f.At = make([]image.Range, 65) }},
		{"bytes 4094+0", func(f *image.Field) { f.At[0].Length = 0 }},
		{"bytes -1+4", func(f *image.Field) { f.At[0].Offset = -1 }},
		{"of a disk", func(f *image.Field) { f.At[0].Offset = end - 3 }},
		{"of a disk", func(f *image.Field) { f.SizeAt = end - 3 }},
		{"bytes 4094+9223372036854775", func(f *image.Field) { f.At[0].Length = 1<<63 - 1 }},
		{"room of 65564 bytes", func(f *image.Field) { f.At[0].Length = image.MaxRoom }},
		{"touches 3 pages and has hashes of 2", func(f *image.Field) { f.Pages = f.Pages[:2] }},
		{"share byte 9000", func(f *image.Field) { f.SizeAt = 8998 }},
		{"share byte 9010", func(f *image.Field) { f.At[0] = image.Range{Offset: 9010, Length: 3}; f.Pages = f.Pages[:2] }},
		{"whose length is at 0", func(f *image.Field) { f.SizeAt = 0 }},
		{"whose length is at 5000", func(f *image.Field) { f.Kind = image.FieldFile }},
		{"number of 32 bytes", func(f *image.Field) { f.Kind, f.SizeAt = image.FieldNumber, 0 }},
		{"registry-text that is private", func(f *image.Field) { f.Private = true }},
		{"registry-text with slots", func(f *image.Field) { f.Used = 1 }},
		{"33 bytes used of 32", func(f *image.Field) { answers(f); f.Used = 33 }},
		{"33 slots", func(f *image.Field) { answers(f); f.Slots = make([]image.Slot, 33) }},
		{"is bytes 6+0", func(f *image.Field) { answers(f); f.Slots[1].Offset = 6 }},
		{"is bytes 9+22", func(f *image.Field) { answers(f); f.Slots[1].Length = 22 }},
		{"is bytes 9+9223372036854775807", func(f *image.Field) { answers(f); f.Slots[1].Length = 1<<63 - 1 }},
		{"two slots of one name", func(f *image.Field) { answers(f); f.Slots[1].Name = "a/b" }},
	} {
		f := good()
		c.change(&f)
		if f.SizeAt == 0 && len(f.Pages) == 3 {
			f.Pages = f.Pages[:len(f.PageOffsets())]
		}
		if _, err := encoded(nil, f); !errors.Is(err, image.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", f, err, c.want)
		}
	}
	f := good()
	answers(&f)
	f.Pages = f.Pages[:len(f.PageOffsets())]
	open := f
	f.Private = true
	for _, f := range []image.Field{good(), open, f} {
		if again, err := encoded(nil, f); err != nil || !slices.Contains(again.Needs, f.Kind) || !reflect.DeepEqual(again.Fields, []image.Field{f}) {
			t.Errorf("%+v: read again as %+v, %v", f, again.Fields, err)
		}
	}
	other := good()
	other.At, other.SizeAt, other.Pages[0] = []image.Range{{Offset: 16, Length: 4}}, 20, image.Sum{1}
	other.Pages = other.Pages[:1]
	if _, err := encoded(nil, good(), other); err == nil || !strings.Contains(err.Error(), "another hash of the page at 0") {
		t.Errorf("two hashes of one page: %v", err)
	}
	if _, err := encoded(nil, good(), good()); err == nil || !strings.Contains(err.Error(), "share byte 4094") {
		t.Errorf("a field twice: %v", err)
	}
	unknown := good()
	unknown.Kind, unknown.SizeAt = "utf-16", 0
	if _, err := encoded([]string{"utf-16"}, unknown); !errors.Is(err, image.ErrUnsupported) || !strings.Contains(err.Error(), `needs "utf-16"`) {
		t.Errorf("a kind of field that this program does not know: %v", err)
	}
	if _, err := encoded(nil, make([]image.Field, 257)...); !errors.Is(err, image.ErrInvalid) || !strings.Contains(err.Error(), "257 fields") {
		t.Errorf("too many fields: %v", err)
	}
}
