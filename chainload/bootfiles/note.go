package bootfiles

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"troy/internal/digest"
	"troy/internal/format"
)

// Note is what a machine remembers of the last time that its ESP was right, so that the next start
// need not read the boot files of the image again.
type Note struct {
	Version  string     `json:"version,omitempty"` // whose boot files they are
	Firmware digest.Sum `json:"firmware,omitzero"` // secureboot.Firmware.Digest
	ESP      digest.Sum `json:"esp,omitzero"`      // State
	// Brought is the version that brought the boot manager with the hash Manager.
	Brought string     `json:"brought,omitempty"`
	Manager digest.Sum `json:"manager,omitzero"`

	Unknown format.Unknown `json:",embed"`
}

// ParseNote reads a note as it is kept in JSON; nothing, or null, is the zero note.
func ParseNote(b []byte) (n Note, err error) {
	if len(b) == 0 {
		return n, nil
	}
	if err := format.Unmarshal(b, &n); err != nil {
		return Note{}, fmt.Errorf("bootfiles: note: %w", err)
	}
	return n, nil
}

// Holds tells whether the ESP is as it was when it was right for the version.
func (n *Note) Holds(version string, firmware, state digest.Sum) bool {
	return version != "" && n.Version == version && n.Firmware == firmware && n.ESP == state
}

// State names what stands on the ESP mounted at root in the place of the boot files: names, sizes
// and times, and the content of the programs. What Windows changes at each start is left out.
func State(root string) (digest.Sum, error) {
	h := sha256.New()
	sum := func(name string) error {
		b, err := readFile(root, name)
		content := sha256.Sum256(b)
		fmt.Fprintf(h, "%s %x\n", name, content)
		return err
	}
	top, err := locate(root, espBoot)
	if err != nil {
		return digest.Sum{}, fmt.Errorf("bootfiles: %w", err)
	}
	err = filepath.WalkDir(top, func(at string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(top, at)
		if err != nil || changing(name) {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s %d %d\n", filepath.ToSlash(name), info.Size(), info.ModTime().Unix())
		if strings.EqualFold(filepath.Ext(name), ".efi") {
			return sum(espBoot + "/" + filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return digest.Sum{}, fmt.Errorf("bootfiles: %w", err)
	}
	if err := sum(fallback); err != nil {
		return digest.Sum{}, fmt.Errorf("bootfiles: %w", err)
	}
	return digest.Sum(h.Sum(nil)), nil
}

// changing tells whether Windows Boot Manager writes to the file at each start: its store with the
// logs, and the record of starts.
func changing(name string) bool {
	name = strings.ToLower(name)
	return name == "bcd" || strings.HasPrefix(name, "bcd.") || name == "bootstat.dat"
}
