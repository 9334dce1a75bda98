package selfboot

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"troy/chainload/esp"
	"troy/chainload/release"
	"troy/internal/format"
)

// ManifestKind is the format of the manifest of a copy. It needs no words: the agents of two releases
// look at each other's copies.
var ManifestKind = format.Kind{Name: esp.AgentManifest, Number: 1, Oldest: 1, Bare: true}

// ErrManifest is the class of manifests that cannot be believed.
var ErrManifest = errors.New("selfboot: bad manifest")

// Limits of a copy.
const (
	maxManifest = 64 << 10 // bytes
	maxGRUB     = 64 << 20 // bytes
	maxVersion  = 128
)

// manifest says what a copy consists of: the release, and GRUB's configuration for this copy.
type manifest struct {
	format.Head
	release.Release
}

// marshal returns one line of JSON and one with its hash.
func (m *manifest) marshal() ([]byte, error) {
	c := *m
	ManifestKind.Stamp(&c.Head)
	line, err := format.Marshal(&c)
	if err != nil {
		return nil, err
	}
	line = append(line, '\n')
	return append(line, sum(line)...), nil
}

func sum(line []byte) []byte {
	h := sha256.Sum256(line)
	return []byte(hex.EncodeToString(h[:]) + "\n")
}

// parseManifest reads what marshal made. The error wraps ErrManifest.
func parseManifest(b []byte) (*manifest, error) {
	line, rest, ok := bytes.Cut(b, []byte("\n"))
	if !ok || len(b) > maxManifest || !bytes.Equal(rest, sum(b[:len(line)+1])) {
		return nil, fmt.Errorf("%w: its own hash does not fit", ErrManifest)
	}
	var m manifest
	if err := ManifestKind.Read(line, &m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	return &m, nil
}

func (m *manifest) check() error {
	if m.Version == "" || len(m.Version) > maxVersion || strings.ContainsFunc(m.Version, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("version %.40q is no word of printable ASCII", m.Version)
	}
	if err := m.Release.Check(); err != nil {
		return err
	}
	for _, f := range m.Files {
		// A copy is one directory, and FAT drops dots at the end of names.
		if strings.ContainsAny(f.Name, "/") || strings.HasSuffix(f.Name, ".") || strings.EqualFold(f.Name, esp.AgentManifest) {
			return fmt.Errorf("%q cannot be the name of a file of a copy", f.Name)
		}
	}
	for _, name := range release.Files() {
		if m.File(name) == nil {
			return fmt.Errorf("%s is missing", name)
		}
	}
	return nil
}
