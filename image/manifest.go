package image

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"troy/image/internal/fault"
	"troy/image/internal/layer"
	"troy/image/internal/pages"
	"troy/internal/errline"
	"troy/internal/format"
)

const (
	maxIndexSize    = 4 << 20
	maxManifestSize = 64 << 10
)

// MaxVersion is the highest number of a version: nobody can use them up, and none is so large that
// it does not fit somewhere.
const MaxVersion = 1_000_000

// Figures says what publishing a version found, in bytes.
// Changed = Equal + Zero + Undefined + Copied + Shipped.
type Figures struct {
	// Scanned was read from the disk that was published.
	Scanned int64 `json:"scanned"`
	// Changed is in pages that the child names, or that must be sent because the version below
	// leaves them undefined. For version 1: the virtual disk.
	Changed int64 `json:"changed"`
	// Equal was dropped: the same bytes as in the version below.
	Equal int64 `json:"equal"`
	// Zero became zeros: told, not shipped.
	Zero int64 `json:"zero"`
	// Undefined was dropped: no file uses it.
	Undefined int64 `json:"undefined"`
	// Copied stands elsewhere in the version below: told, not shipped.
	Copied int64 `json:"copied"`
	// Shipped is in the pack, before compression.
	Shipped int64 `json:"shipped"`
	// Packed is the size of the pack.
	Packed int64 `json:"packed"`
	// Table is the size of the layer table.
	Table int64 `json:"table"`
}

// Ratio returns Shipped / Packed, or 1 when nothing was shipped.
func (f Figures) Ratio() float64 {
	if f.Shipped == 0 {
		return 1
	}
	return float64(f.Shipped) / float64(f.Packed)
}

// Manifest is the document of one version.
type Manifest struct {
	format.Head
	// Image and Version name it; Parent is the version below, 0 for none.
	Image   string `json:"image"`
	Version int    `json:"version"`
	Parent  int    `json:"parent"`
	// VirtualSize and SectorSize describe the virtual disk, in bytes.
	VirtualSize int64  `json:"virtual_size"`
	SectorSize  uint32 `json:"sector_size"`
	// DataWriteGUID is that of the leaf that was published: the next child's parent_linkage.
	DataWriteGUID string `json:"data_write_guid"`
	// Table, Pack and Map are the three objects of the version.
	Table Object `json:"table"`
	Pack  Object `json:"pack"`
	Map   Object `json:"map"`
	// Setup says that the setup of Windows has not run to its end in this version: what it does at
	// its first starts must not be reset, replaced or merged. Then SetupWord is among the needs.
	Setup bool `json:"setup,omitempty"`
	// Fields are the places that get something of each machine's own. Their kinds are among the needs.
	Fields []Field `json:"fields,omitempty"`
	// Figures are those of publishing.
	Figures Figures `json:"figures"`
	// Published is when the version was made, in UTC and by the clock of who published it; zero where
	// that was not said. Note is what they say of it, see CheckNote. Nothing depends on them.
	Published time.Time `json:"published,omitzero"`
	Note      string    `json:"note,omitempty"`
	// Notes are what the filter said, a line each: which volumes it looked into, and why not.
	Notes []string `json:"notes,omitempty"`

	// SHA256 is that of the document, once it was read: by it machines know the version. It is no
	// part of the document.
	SHA256 Sum `json:"-"`
}

// Entry is one version in the index of an image.
type Entry struct {
	Version int `json:"version"`
	// Parent is the version below, 0 for none.
	Parent   int    `json:"parent"`
	Manifest Object `json:"manifest"`

	Unknown format.Unknown `json:",embed"`
}

// Index is the document images/NAME/versions.json: which versions an image has. It is the only file
// of the tree that changes.
type Index struct {
	format.Head
	Image string `json:"image"`
	// Next is the number that the next version gets. Numbers are never used twice, not even after a
	// version was removed.
	Next int `json:"next"`
	// Versions is sorted by version.
	Versions []Entry `json:"versions"`

	Unknown format.Unknown `json:",embed"`
}

// Latest returns the newest version, 0 if there is none.
func (x *Index) Latest() int {
	if len(x.Versions) == 0 {
		return 0
	}
	return x.Versions[len(x.Versions)-1].Version
}

// Entry returns the entry of a version, or ErrNotFound.
func (x *Index) Entry(version int) (*Entry, error) {
	for i := range x.Versions {
		if x.Versions[i].Version == version {
			return &x.Versions[i], nil
		}
	}
	return nil, fmt.Errorf("%w: %s has no version %d (the newest is %d)", ErrNotFound, x.Image, version, x.Latest())
}

// IndexName returns where the index of an image lies in the tree.
func IndexName(image string) string { return "images/" + image + "/versions.json" }

func manifestName(image string, version int) string {
	return "images/" + image + "/" + strconv.Itoa(version) + ".json"
}

// CheckName returns ErrInvalid unless name can be an image's: 1 to 63 of a-z, 0-9, dot, dash,
// underscore, starting with a letter or digit.
func CheckName(name string) error {
	ok := len(name) >= 1 && len(name) <= 63
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		alnum := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		ok = alnum || i > 0 && (c == '.' || c == '-' || c == '_')
	}
	if !ok {
		return fault.Invalidf("image name %q: 1 to 63 characters of a-z 0-9 . - _ and the first a letter or digit", name)
	}
	return nil
}

// noteMost is the most characters of a note: it is shown in one line.
const noteMost = 200

// CheckNote returns ErrInvalid unless text can be the note of a version: one line of at most 200
// characters.
func CheckNote(text string) error {
	if n := utf8.RuneCountInString(text); n > noteMost {
		return fault.Invalidf("a note of %d characters: at most %d", n, noteMost)
	}
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fault.Invalidf("the note %q: one line of characters that can be printed", text)
	}
	return nil
}

// Encode returns the document as a store has it, or ErrInvalid for one with too many versions.
func (x *Index) Encode() ([]byte, error) {
	d := *x
	IndexKind.Stamp(&d.Head)
	b, err := format.Indent(&d)
	if err == nil && int64(len(b)) > maxIndexSize {
		err = fault.Invalidf("%s has too many versions for one index", x.Image)
	}
	return b, err
}

// Encode returns the document as a store has it, and the entry by which an index names it. It
// returns ErrInvalid for a manifest that could not be read again.
func (m *Manifest) Encode() ([]byte, Entry, error) {
	e := Entry{Version: m.Version, Parent: m.Parent}
	d := *m
	if d.Setup {
		d.need(SetupWord)
	}
	for i := range d.Fields {
		if slices.Contains(fieldKinds, d.Fields[i].Kind) {
			d.need(d.Fields[i].Kind)
		}
	}
	ManifestKind.Stamp(&d.Head)
	b, err := format.Indent(&d)
	if err != nil {
		return nil, e, err
	}
	if _, err := ParseManifest(b, m.Image, &e); err != nil || len(b) > maxManifestSize {
		return nil, e, errline.Join(fault.Invalidf("the manifest of version %d, %d bytes, could not be read again", m.Version, len(b)), err)
	}
	e.Manifest = Object{Name: manifestName(m.Image, m.Version), Size: int64(len(b)), SHA256: sha256.Sum256(b)}
	return b, e, nil
}

// need adds a word to the needs.
func (m *Manifest) need(word string) {
	if !slices.Contains(m.Needs, word) {
		m.Needs = append(slices.Clip(m.Needs), word)
	}
}

// ParseIndex reads the index of an image and checks all its claims. Its errors are ErrCorrupt and
// ErrUnsupported.
func ParseIndex(b []byte, image string) (*Index, error) {
	var x Index
	if err := decode(&IndexKind, b, &x); err != nil {
		return nil, err
	}
	if x.Image != image || CheckName(image) != nil {
		return nil, fault.Corruptf("index is of image %q, not %q", x.Image, image)
	}
	last := 0
	known := map[int]bool{0: true}
	for i := range x.Versions {
		e := &x.Versions[i]
		if e.Version <= last || e.Version > MaxVersion || !known[e.Parent] {
			return nil, fault.Corruptf("index: version %d on %d after %d", e.Version, e.Parent, last)
		}
		if e.Manifest.Name != manifestName(image, e.Version) || e.Manifest.Size <= 0 || e.Manifest.Size > maxManifestSize {
			return nil, fault.Corruptf("index: version %d has manifest %q of %d bytes", e.Version, e.Manifest.Name, e.Manifest.Size)
		}
		last = e.Version
		known[last] = true
	}
	if x.Next <= last || x.Next > MaxVersion {
		return nil, fault.Corruptf("index: next version is %d after %d", x.Next, last)
	}
	return &x, nil
}

// ParseManifest reads the manifest that an index entry names and checks all its claims; the caller
// has checked its hash. Its errors are ErrCorrupt and ErrUnsupported.
func ParseManifest(b []byte, image string, e *Entry) (*Manifest, error) {
	var m Manifest
	if err := decode(&ManifestKind, b, &m); err != nil {
		return nil, err
	}
	if m.Image != image || m.Version != e.Version || m.Parent != e.Parent {
		return nil, fault.Corruptf("manifest is of %s version %d on %d, wanted %s version %d on %d", m.Image, m.Version, m.Parent, image, e.Version, e.Parent)
	}
	if m.SectorSize != 512 && m.SectorSize != 4096 {
		return nil, fault.Corruptf("manifest: sectors of %d bytes", m.SectorSize)
	}
	if m.Setup != slices.Contains(m.Needs, SetupWord) {
		return nil, fault.Corruptf("manifest: setup is %v, and its needs say otherwise", m.Setup)
	}
	err := errline.Join(pages.CheckDisk(m.VirtualSize), m.checkFields(), CheckNote(m.Note), m.Table.check(KindTable, layer.MaxSize),
		m.Pack.check(KindPack, layer.MaxPackSize), m.Map.check(KindMap, maxMapSize))
	if err != nil {
		return nil, fault.Corruptf("manifest: %v", err)
	}
	return &m, nil
}
