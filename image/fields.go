package image

import (
	"fmt"
	"slices"

	"troy/internal/format"
)

const (
	maxFields = 256     // of a manifest
	maxRoom   = 1 << 20 // bytes of a field
)

// Field is a place in the virtual disk for something of a machine's own, such as its name. What
// stands there in the version itself is a placeholder.
type Field struct {
	// Kind says how a value is written there: a word that is among the needs of the manifest, so
	// that no agent leaves out a field that it does not understand.
	Kind string `json:"kind"`
	// Name says which value it is.
	Name string `json:"name"`
	// Offset and Room are where it is, and the bytes that it may fill.
	Offset int64 `json:"offset"`
	Room   int64 `json:"room"`
	// Pages has the SHA-256 of each page that it touches, as published: nothing is written where
	// something else stands.
	Pages []Sum `json:"pages"`

	Unknown format.Unknown `json:",embed"`
}

// checkFields returns why the fields cannot be right.
func (m *Manifest) checkFields() error {
	if len(m.Fields) > maxFields {
		return fmt.Errorf("%d fields, at most %d", len(m.Fields), maxFields)
	}
	for i := range m.Fields {
		f := &m.Fields[i]
		if err := format.CheckNeeds([]string{f.Kind, f.Name}); err != nil {
			return fmt.Errorf("field %d has kind %.40q, name %.40q: %w", i, f.Kind, f.Name, err)
		}
		if f.Room < 1 || f.Room > maxRoom || f.Offset < 0 || f.Offset > m.VirtualSize-f.Room {
			return fmt.Errorf("field %d is bytes %d+%d of a disk of %d", i, f.Offset, f.Room, m.VirtualSize)
		}
		if n := (f.Offset+f.Room-1)/PageSize - f.Offset/PageSize + 1; n != int64(len(f.Pages)) {
			return fmt.Errorf("field %d touches %d pages and has hashes of %d", i, n, len(f.Pages))
		}
		if !slices.Contains(m.Needs, f.Kind) {
			return fmt.Errorf("field %d is of the kind %s, which the manifest does not need", i, f.Kind)
		}
	}
	return nil
}
