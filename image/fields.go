package image

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"troy/internal/format"
)

// Bounds of fields, so that their claims are never more than a manifest can hold.
const (
	maxFields = 256      // of a manifest
	MaxPieces = 64       // of a field
	MaxSlots  = 32       // of a field
	MaxText   = 512      // bytes of each text
	MaxRoom   = 64 << 10 // bytes of a field
)

// The kinds of fields: how a value is written. Each is a word that a manifest with such a field
// needs, so that no agent leaves out a field that it does not understand.
const (
	// FieldText is a text of the registry: UTF-16 with a zero at its end, the rest of the room zeros.
	// Its length is written to SizeAt.
	FieldText = "registry-text"
	// FieldNumber is a number of the registry: four bytes, little-endian.
	FieldNumber = "registry-number"
	// FieldFile is a whole file: UTF-8, the rest of the room spaces.
	FieldFile = "text-file"
	// FieldAnswers is an answer file of Windows: texts are put into its slots, and the spaces at its
	// end make up for what they are longer or shorter.
	FieldAnswers = "answer-file"
)

var fieldKinds = []string{FieldText, FieldNumber, FieldFile, FieldAnswers}

// Field is a place in the virtual disk for something of a machine's own, such as its name. What
// stands there in the version itself is a placeholder. No field shares a byte with another one, and
// none holds a byte of the structures of NTFS.
type Field struct {
	// Kind says how a value is written: one of the words above.
	Kind string `json:"kind"`
	// Name says which value it is. Fields of one name all get the same value: Windows keeps some
	// values once per control set, or in two places.
	Name string `json:"name"`
	// Where tells people the place: a key and value of the registry, or the path of a file.
	Where string `json:"where"`
	// Was is the value as published, of names and numbers.
	Was string `json:"was,omitempty"`
	// At is where it is on the virtual disk: the pieces in the order of its bytes.
	At []Range `json:"at"`
	// SizeAt is where the length of a FieldText stands, four bytes, little-endian.
	SizeAt int64 `json:"size_at,omitempty"`
	// Used and Slots are of FieldAnswers: the bytes before the spaces at its end, and where its
	// values stand among them.
	Used  int64  `json:"used,omitempty"`
	Slots []Slot `json:"slots,omitempty"`
	// Private tells that in the version nobody but SYSTEM and administrators may read the file, so
	// that it can take a secret. It is of files and answer files.
	Private bool `json:"private,omitempty"`
	// Pages has the SHA-256 of each page that it touches, as published, in the order of the disk:
	// nothing is written where something else stands.
	Pages []Sum `json:"pages"`

	Unknown format.Unknown `json:",embed"`
}

// Slot is the text of an element in an answer file.
type Slot struct {
	// Name is the path of the element, such as "specialize/Microsoft-Windows-Shell-Setup/ComputerName".
	Name string `json:"name"`
	// Offset counts from the start of the file.
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
}

// Room returns how many bytes there are for the value.
func (f *Field) Room() (n int64) {
	for _, r := range f.At {
		n += r.Length
	}
	return n
}

// Pieces returns all that may be written for the field, sorted.
func (f *Field) Pieces() []Range {
	list := slices.Clone(f.At)
	if f.SizeAt != 0 {
		list = append(list, Range{f.SizeAt, 4})
	}
	slices.SortFunc(list, byOffset)
	return list
}

func byOffset(a, b Range) int { return cmp.Compare(a.Offset, b.Offset) }

// PageOffsets returns where on the disk the pages begin that the field touches, sorted. They are
// those of which Pages has the hashes.
func (f *Field) PageOffsets() (pages []int64) {
	for _, r := range f.Pieces() {
		for at := r.Offset / PageSize * PageSize; at < r.Offset+r.Length; at += PageSize {
			if n := len(pages); n == 0 || pages[n-1] < at {
				pages = append(pages, at)
			}
		}
	}
	return pages
}

// checkFields returns why the fields cannot be right.
func (m *Manifest) checkFields() error {
	if len(m.Fields) > maxFields {
		return fmt.Errorf("%d fields, at most %d", len(m.Fields), maxFields)
	}
	var all []Range
	sums := map[int64]Sum{}
	for i := range m.Fields {
		f := &m.Fields[i]
		if err := f.check(m.VirtualSize); err != nil {
			return fmt.Errorf("field %d: %w", i, err)
		}
		if !slices.Contains(m.Needs, f.Kind) {
			return fmt.Errorf("field %d is of the kind %s, which the manifest does not need", i, f.Kind)
		}
		all = append(all, f.Pieces()...)
		for k, at := range f.PageOffsets() {
			if was, there := sums[at]; there && was != f.Pages[k] {
				return fmt.Errorf("field %d has another hash of the page at %d than a field before it", i, at)
			}
			sums[at] = f.Pages[k]
		}
	}
	return disjoint(all)
}

// disjoint returns an error if two of the ranges share a byte.
func disjoint(all []Range) error {
	slices.SortFunc(all, byOffset)
	for i := 1; i < len(all); i++ {
		if all[i].Offset < all[i-1].Offset+all[i-1].Length {
			return fmt.Errorf("two fields share byte %d", all[i].Offset)
		}
	}
	return nil
}

// check looks at one field of a disk of size bytes.
func (f *Field) check(size int64) error {
	if err := format.CheckNeeds([]string{f.Kind, f.Name}); err != nil {
		return fmt.Errorf("kind %.40q, name %.40q: %w", f.Kind, f.Name, err)
	}
	if len(f.Where) > MaxText || len(f.Was) > MaxText {
		return fmt.Errorf("texts of %d and %d bytes, at most %d", len(f.Where), len(f.Was), MaxText)
	}
	if len(f.At) < 1 || len(f.At) > MaxPieces {
		return fmt.Errorf("%d pieces, want 1 to %d", len(f.At), MaxPieces)
	}
	room := int64(0)
	for _, r := range append(f.At[:len(f.At):len(f.At)], Range{f.SizeAt, 4}) {
		if r.Length < 1 || r.Length > MaxRoom || r.Offset < 0 || r.Offset > size-r.Length {
			return fmt.Errorf("bytes %d+%d of a disk of %d", r.Offset, r.Length, size)
		}
		room += r.Length
	}
	if room -= 4; room > MaxRoom {
		return fmt.Errorf("room of %d bytes, at most %d", room, MaxRoom)
	}
	if n := len(f.PageOffsets()); n != len(f.Pages) {
		return fmt.Errorf("it touches %d pages and has hashes of %d", n, len(f.Pages))
	}
	return f.checkKind(room)
}

// checkKind looks at what the kinds of fields differ in.
func (f *Field) checkKind(room int64) error {
	text, answers := f.Kind == FieldText, f.Kind == FieldAnswers
	switch {
	case text != (f.SizeAt != 0):
		return fmt.Errorf("a %s whose length is at %d", f.Kind, f.SizeAt)
	case f.Kind == FieldNumber && room != 4:
		return fmt.Errorf("a number of %d bytes", room)
	case f.Private && !answers && f.Kind != FieldFile:
		return fmt.Errorf("a %s that is private", f.Kind)
	case !answers && (f.Used != 0 || len(f.Slots) > 0):
		return fmt.Errorf("a %s with slots", f.Kind)
	case f.Used < 0 || f.Used > room || len(f.Slots) > MaxSlots:
		return fmt.Errorf("%d bytes used of %d, %d slots, at most %d", f.Used, room, len(f.Slots), MaxSlots)
	}
	end := int64(0)
	for _, s := range f.Slots {
		if s.Name == "" || len(s.Name) > MaxText || s.Offset < end || s.Length < 0 || s.Length > f.Used || s.Offset > f.Used-s.Length {
			return fmt.Errorf("slot %.60q is bytes %d+%d of %d", s.Name, s.Offset, s.Length, f.Used)
		}
		end = s.Offset + s.Length
	}
	names := map[string]bool{}
	for _, s := range f.Slots {
		if names[s.Name] {
			return errors.New("two slots of one name")
		}
		names[s.Name] = true
	}
	return nil
}
