package efiboot

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
)

// ErrRefused is the class of writes that the firmware did not take: it
// reported an error, or did not give back what was written.
var ErrRefused = errors.New("efiboot: the firmware refused the write")

// ErrOrder says that an entry is there, but BootOrder does not name it.
var ErrOrder = errors.New("efiboot: the entry is not in BootOrder")

// attributes: non-volatile, boot service access, runtime access.
const attributes uint32 = 1 | 2 | 4

// Entry is what a boot entry should be.
type Entry struct {
	Partition   HardDrive
	Path        string // of the program on that partition, with backslashes
	Description string // for a new entry; empty: the path
}

// Found is a boot entry of the firmware.
type Found struct {
	Number uint16
	Option *LoadOption
}

// Name returns the name of the variable of entry n.
func Name(n uint16) string { return fmt.Sprintf("Boot%04X", n) }

// number is the inverse of Name.
func number(name string) (uint16, bool) {
	if len(name) != 8 || name[:4] != "Boot" {
		return 0, false
	}
	n, err := strconv.ParseUint(name[4:], 16, 16)
	return uint16(n), err == nil && Name(uint16(n)) == name
}

// Entries returns all boot entries that can be read, those of BootOrder first
// in its order, then the others by number. Entries that break the format are
// left out, but their numbers are taken: see EnsureEntry.
func Entries(v Variables) ([]Found, error) {
	order, err := BootOrder(v)
	if err != nil {
		return nil, err
	}
	numbers, err := entryNumbers(v)
	if err != nil {
		return nil, err
	}
	place := func(n uint16) int {
		if i := slices.Index(order, n); i >= 0 {
			return i
		}
		return len(order) + int(n)
	}
	slices.SortFunc(numbers, func(a, b uint16) int { return cmp.Compare(place(a), place(b)) })
	var found []Found
	for _, n := range numbers {
		_, data, err := v.Get(Name(n))
		if err != nil {
			continue // gone since it was listed, or unreadable: no candidate
		}
		if o, err := ParseLoadOption(data); err == nil {
			found = append(found, Found{Number: n, Option: o})
		}
	}
	return found, nil
}

func entryNumbers(v Variables) ([]uint16, error) {
	names, err := v.List()
	if err != nil {
		return nil, err
	}
	var numbers []uint16
	for _, name := range names {
		if n, ok := number(name); ok {
			numbers = append(numbers, n)
		}
	}
	return numbers, nil
}

// FindEntry returns the first entry (in the order of Entries) that starts that
// file of that partition, or nil.
func FindEntry(v Variables, partition GUID, path string) (*Found, error) {
	entries, err := Entries(v)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Option.Starts(partition, path) {
			return &e, nil
		}
	}
	return nil, nil
}

// EnsureEntry returns the number of the entry that starts e, and creates it
// under the lowest free number when there is none. An entry that was switched
// off is made active, and one that BootOrder does not name becomes the last of it:
// there is firmware that follows BootNext only to entries of the order. The error
// wraps ErrRefused when the firmware does not take it, and ErrOrder too when only
// BootOrder is missing: the entry is there then, and will do for BootNext.
func EnsureEntry(v Variables, e Entry) (n uint16, created bool, err error) {
	f, err := FindEntry(v, e.Partition.GUID, e.Path)
	if err != nil {
		return 0, false, err
	}
	if f != nil {
		if err := activate(v, f); err != nil {
			return f.Number, false, err
		}
		return f.Number, false, appendToOrder(v, f.Number)
	}
	n, err = freeNumber(v)
	if err != nil {
		return 0, false, err
	}
	if err := writeOption(v, n, e.option()); err != nil {
		return 0, false, err
	}
	return n, true, appendToOrder(v, n)
}

func (e Entry) option() *LoadOption {
	description := e.Description
	if description == "" {
		description = e.Path
	}
	return &LoadOption{
		Attributes:  Active,
		Description: description,
		Path:        []Node{e.Partition.Node(), FilePath(e.Path)},
	}
}

func activate(v Variables, f *Found) error {
	if f.Option.Attributes&Active != 0 {
		return nil
	}
	o := *f.Option
	o.Attributes |= Active
	return writeOption(v, f.Number, &o)
}

func writeOption(v Variables, n uint16, o *LoadOption) error {
	data, err := o.Marshal()
	if err != nil {
		return err
	}
	return write(v, Name(n), data)
}

func freeNumber(v Variables) (uint16, error) {
	numbers, err := entryNumbers(v)
	if err != nil {
		return 0, err
	}
	for n := range 0x10000 {
		if !slices.Contains(numbers, uint16(n)) {
			return uint16(n), nil
		}
	}
	return 0, fmt.Errorf("%w: all numbers of boot entries are taken", ErrRefused)
}

// write sets a variable unless it holds that already, and reads it back.
func write(v Variables, name string, data []byte) error {
	if _, have, err := v.Get(name); err == nil && bytes.Equal(have, data) {
		return nil
	}
	if err := v.Set(name, attributes, data); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	_, have, err := v.Get(name)
	if err != nil {
		return fmt.Errorf("%w: %s was written and cannot be read back: %w", ErrRefused, name, err)
	}
	if !bytes.Equal(have, data) {
		return fmt.Errorf("%w: %s reads back as %x, written was %x", ErrRefused, name, head(have), head(data))
	}
	return nil
}

func head(b []byte) []byte { return b[:min(len(b), 32)] }

// BootOrder returns the order in which the firmware tries its entries; empty
// when the variable is not there. The error wraps ErrCorrupt for an odd length.
func BootOrder(v Variables) ([]uint16, error) {
	_, data, err := v.Get("BootOrder")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case len(data)%2 != 0:
		return nil, fmt.Errorf("%w: BootOrder of %d bytes", ErrCorrupt, len(data))
	}
	order := make([]uint16, len(data)/2)
	for i := range order {
		order[i] = binary.LittleEndian.Uint16(data[2*i:])
	}
	return order, nil
}

func setBootOrder(v Variables, order []uint16) error {
	var data []byte
	for _, n := range order {
		data = binary.LittleEndian.AppendUint16(data, n)
	}
	return write(v, "BootOrder", data)
}

func appendToOrder(v Variables, n uint16) error {
	order, err := BootOrder(v)
	if err != nil || slices.Contains(order, n) {
		return err
	}
	if err := setBootOrder(v, append(order, n)); err != nil {
		return fmt.Errorf("%w: %w", ErrOrder, err)
	}
	return nil
}

// PutFirst makes entry n the first of BootOrder, leaves the others in their
// order, and tells whether that was a change. The error wraps ErrRefused when
// the firmware does not take it.
func PutFirst(v Variables, n uint16) (changed bool, err error) {
	order, err := BootOrder(v)
	if err != nil || len(order) > 0 && order[0] == n {
		return false, err
	}
	order = slices.DeleteFunc(order, func(o uint16) bool { return o == n })
	return true, setBootOrder(v, append([]uint16{n}, order...))
}

// BootCurrent returns the entry that started this machine; ok is false when
// the firmware does not say.
func BootCurrent(v Variables) (n uint16, ok bool) { return single(v, "BootCurrent") }

// BootNext returns the entry that the firmware will start once; ok is false
// when none is set.
func BootNext(v Variables) (n uint16, ok bool) { return single(v, "BootNext") }

func single(v Variables, name string) (uint16, bool) {
	_, data, err := v.Get(name)
	if err != nil || len(data) != 2 {
		return 0, false
	}
	return binary.LittleEndian.Uint16(data), true
}

// SetBootNext makes the firmware start entry n at the next start, once, and
// reads it back. The error wraps ErrRefused when the firmware does not take it.
func SetBootNext(v Variables, n uint16) error {
	return write(v, "BootNext", binary.LittleEndian.AppendUint16(nil, n))
}
