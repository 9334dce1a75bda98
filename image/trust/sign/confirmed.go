package sign

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// confirmedName is the file beside the admin key with the machines that the admin has confirmed.
const confirmedName = "confirmed.json"

// maxConfirmed bounds what is read of it, in bytes.
const maxConfirmed = 32 << 20

// Confirmed is a machine as the admin has confirmed it: what a permit can name without asking a
// server who that is.
type Confirmed struct {
	Name  string    `json:"name"`
	Room  string    `json:"room"`
	Key   string    `json:"key"`             // see internal/tlskey
	Board string    `json:"board,omitempty"` // serial number that the firmware tells
	Disks []string  `json:"disks,omitempty"` // serial numbers
	Time  time.Time `json:"time"`
}

// confirmedList is the file.
type confirmedList struct {
	Format   int         `json:"format"` // 1
	Machines []Confirmed `json:"machines"`
}

// Confirmed returns the machines that the admin has confirmed, by name.
func (r *Repository) Confirmed() ([]Confirmed, error) {
	path := filepath.Join(r.keys, confirmedName)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfirmed+1))
	var list confirmedList
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		err = d.Decode(&list)
	}
	if err == nil && (list.Format != 1 || len(b) > maxConfirmed) {
		err = fmt.Errorf("format %d, %d bytes; this program reads format 1", list.Format, len(b))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNoTrust, path, err)
	}
	return list.Machines, nil
}

// Confirm notes machines beside the admin key, in place of those of the same name.
func (r *Repository) Confirm(machines []Confirmed) error {
	list, err := r.Confirmed()
	if err != nil {
		return err
	}
	for _, m := range machines {
		list = append(slices.DeleteFunc(list, func(o Confirmed) bool { return o.Name == m.Name || o.Key == m.Key }), m)
	}
	slices.SortFunc(list, func(a, b Confirmed) int { return strings.Compare(a.Name, b.Name) })
	b, err := json.MarshalIndent(confirmedList{Format: 1, Machines: list}, "", "  ")
	if err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	return writeFile(filepath.Join(r.keys, confirmedName), append(b, '\n'), 0o644)
}
