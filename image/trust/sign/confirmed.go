package sign

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"troy/internal/format"
)

// ConfirmedKind is the format of confirmed.json.
var ConfirmedKind = format.Kind{Name: confirmedName, Number: 1, Oldest: 1}

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

	Unknown format.Unknown `json:",embed"`
}

// confirmedList is the file.
type confirmedList struct {
	format.Head
	Machines []Confirmed `json:"machines"`

	Unknown format.Unknown `json:",embed"`
}

// Confirmed returns the machines that the admin has confirmed, by name.
func (r *Repository) Confirmed() ([]Confirmed, error) {
	list, err := r.confirmed()
	return list.Machines, err
}

func (r *Repository) confirmed() (list confirmedList, err error) {
	path := filepath.Join(r.keys, confirmedName)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return list, nil
	}
	if err != nil {
		return list, fmt.Errorf("trust: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfirmed+1))
	if err == nil && len(b) > maxConfirmed {
		err = fmt.Errorf("more than %d bytes", maxConfirmed)
	}
	if err == nil {
		err = ConfirmedKind.Read(b, &list)
	}
	if err != nil {
		return confirmedList{}, fmt.Errorf("%w: %s: %w", ErrNoTrust, path, err)
	}
	return list, nil
}

// Confirm notes machines beside the admin key, in place of those of the same name.
func (r *Repository) Confirm(machines []Confirmed) error {
	list, err := r.confirmed()
	if err != nil {
		return err
	}
	for _, m := range machines {
		list.Machines = append(slices.DeleteFunc(list.Machines, func(o Confirmed) bool { return o.Name == m.Name || o.Key == m.Key }), m)
	}
	slices.SortFunc(list.Machines, func(a, b Confirmed) int { return strings.Compare(a.Name, b.Name) })
	ConfirmedKind.Stamp(&list.Head)
	b, err := format.Indent(&list)
	if err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	return writeFile(filepath.Join(r.keys, confirmedName), b, 0o644)
}
