package selfboot

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// ErrManifest is the class of manifests that cannot be believed.
var ErrManifest = errors.New("selfboot: bad manifest")

// manifestName is the file in each copy that says what belongs to it; it is
// written last and removed first.
const manifestName = "manifest.json"

// Limits of a copy.
const (
	maxFiles    = 32
	maxFile     = 1 << 30  // bytes
	maxManifest = 64 << 10 // bytes
	maxGRUB     = 64 << 20 // bytes
	maxVersion  = 128
	format      = 1
)

// Hash is a SHA-256; hexadecimal in JSON.
type Hash [sha256.Size]byte

// MarshalText returns the hash in hexadecimal.
func (h Hash) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h[:])), nil }

// UnmarshalText reads 64 hexadecimal digits.
func (h *Hash) UnmarshalText(b []byte) error {
	if len(b) != 2*len(h) {
		return fmt.Errorf("a hash of %d digits", len(b))
	}
	_, err := hex.Decode(h[:], b)
	return err
}

// manifest says what a copy consists of.
type manifest struct {
	Format  int            `json:"format"`
	Version string         `json:"version"`
	Start   string         `json:"start"`
	Files   []manifestFile `json:"files"`
}

type manifestFile struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 Hash   `json:"sha256"`
}

// marshal returns one line of JSON and one with its hash.
func (m *manifest) marshal() ([]byte, error) {
	line, err := json.Marshal(m)
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
	if err := json.Unmarshal(line, &m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	return &m, nil
}

func (m *manifest) check() error {
	if m.Format != format {
		return fmt.Errorf("format %d is not known", m.Format)
	}
	if m.Version == "" || len(m.Version) > maxVersion || strings.ContainsFunc(m.Version, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("version %.40q is no word of printable ASCII", m.Version)
	}
	if len(m.Files) > maxFiles {
		return fmt.Errorf("%d files", len(m.Files))
	}
	seen := map[string]bool{strings.ToLower(manifestName): true}
	for _, f := range m.Files {
		name := strings.ToLower(f.Name)
		switch {
		case !goodName(f.Name):
			return fmt.Errorf("file name %.80q", f.Name)
		case seen[name]:
			return fmt.Errorf("two files %s", f.Name)
		case f.Size < 0 || f.Size > maxFile:
			return fmt.Errorf("%s of %d bytes", f.Name, f.Size)
		}
		seen[name] = true
	}
	if !slices.ContainsFunc(m.Files, func(f manifestFile) bool { return f.Name == m.Start }) {
		return fmt.Errorf("%.80q is started, but no file of it", m.Start)
	}
	return nil
}

// goodName tells whether a name is plain enough for FAT, GRUB and boot entries.
func goodName(name string) bool {
	return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`).MatchString(name) && !strings.HasSuffix(name, ".")
}
