// Package efitest plays the firmware's boot variables in tests.
package efitest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"syscall"
)

// bootAttributes are those of boot variables: non-volatile, for boot services, at run time (UEFI
// 2.10, 8.2).
const bootAttributes = 7

// Firmware is EFI variables in memory. It implements efiboot.Variables.
type Firmware struct {
	Vars   map[string][]byte
	Refuse map[string]error // writes of these fail
	Most   int              // variables that there is room for; 0: no limit
	Writes []string         // names of all that were tried, in order
}

// New returns firmware without variables.
func New() *Firmware { return &Firmware{Vars: map[string][]byte{}, Refuse: map[string]error{}} }

// Get implements efiboot.Variables.
func (f *Firmware) Get(name string) (uint32, []byte, error) {
	b, ok := f.Vars[name]
	if !ok {
		return 0, nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return bootAttributes, b, nil
}

// Set implements efiboot.Variables. Other attributes than those of boot variables are an error.
func (f *Firmware) Set(name string, attributes uint32, data []byte) error {
	f.Writes = append(f.Writes, name)
	if err := f.Refuse[name]; err != nil {
		return err
	}
	if attributes != bootAttributes {
		return fmt.Errorf("%s: attributes %d", name, attributes)
	}
	if len(data) == 0 {
		delete(f.Vars, name)
		return nil
	}
	if _, there := f.Vars[name]; !there && f.Most > 0 && len(f.Vars) >= f.Most {
		return fmt.Errorf("%s: %w", name, syscall.ENOSPC)
	}
	f.Vars[name] = bytes.Clone(data)
	return nil
}

// List implements efiboot.Variables.
func (f *Firmware) List() ([]string, error) { return slices.Sorted(maps.Keys(f.Vars)), nil }

// Words is numbers as BootOrder has them.
func Words(n ...uint16) (b []byte) {
	for _, w := range n {
		b = binary.LittleEndian.AppendUint16(b, w)
	}
	return b
}
