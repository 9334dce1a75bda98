package vhdx

import (
	"math"
	"slices"

	"troy/internal/guid"
	"troy/internal/utf16le"
)

// Keys of the VHDX parent locator (MS-VHDX 2.6.2.6.3).
const (
	KeyParentLinkage     = "parent_linkage"
	KeyParentLinkage2    = "parent_linkage2"
	KeyRelativePath      = "relative_path"
	KeyVolumePath        = "volume_path"
	KeyAbsoluteWin32Path = "absolute_win32_path"
)

// locatorTypeVHDX is the only locator type that MS-VHDX defines.
var locatorTypeVHDX = guid.Must("B04AEFB7-D19E-4A81-B789-25B8E9445913")

const (
	locatorHeader     = 20
	locatorEntry      = 12
	maxLocatorEntries = 256
)

// ParentLocator is the parent locator item of a differencing disk: pairs of
// strings, in file order (MS-VHDX 2.6.2.6).
type ParentLocator struct {
	Entries []LocatorEntry
}

// LocatorEntry is one pair of a parent locator. A surrogate without a partner is kept as the three
// bytes that the scheme of UTF-8 gives it.
type LocatorEntry struct {
	Key, Value string
}

// NewParentLocator returns a locator that names a parent by its DataWriteGUID
// and by a path relative to the child, with `\` as separator.
func NewParentLocator(linkage GUID, relativePath string) *ParentLocator {
	l := &ParentLocator{}
	l.Set(KeyParentLinkage, bracedGUID(linkage))
	l.Set(KeyRelativePath, relativePath)
	return l
}

// bracedGUID is the form that Windows writes; libvhdi reads no upper case.
func bracedGUID(g GUID) string { return "{" + g.String() + "}" }

// Get returns the value of key and whether it is present.
func (l *ParentLocator) Get(key string) (string, bool) {
	for _, e := range l.Entries {
		if e.Key == key {
			return e.Value, true
		}
	}
	return "", false
}

// Set changes the value of key, or appends the pair. An empty value removes it:
// the format has no empty strings.
func (l *ParentLocator) Set(key, value string) {
	i := slices.IndexFunc(l.Entries, func(e LocatorEntry) bool { return e.Key == key })
	switch {
	case value == "" && i >= 0:
		l.Entries = slices.Delete(l.Entries, i, i+1)
	case value == "":
	case i >= 0:
		l.Entries[i].Value = value
	default:
		l.Entries = append(l.Entries, LocatorEntry{key, value})
	}
}

// Clone returns a copy that shares nothing with l.
func (l *ParentLocator) Clone() *ParentLocator {
	return &ParentLocator{Entries: slices.Clone(l.Entries)}
}

// Linkage returns parent_linkage: the DataWriteGUID of the parent this child
// was made for. A missing or unreadable value is a *FormatError.
func (l *ParentLocator) Linkage() (GUID, error) {
	s, ok := l.Get(KeyParentLinkage)
	if !ok {
		return GUID{}, corrupt("parent locator", 0, "%s is missing", KeyParentLinkage)
	}
	return parseLinkage(KeyParentLinkage, s)
}

// Linkage2 returns parent_linkage2, the second DataWriteGUID that is accepted
// while a merge is under way, or the zero GUID, which means none.
func (l *ParentLocator) Linkage2() (GUID, error) {
	s, ok := l.Get(KeyParentLinkage2)
	if !ok {
		return GUID{}, nil
	}
	return parseLinkage(KeyParentLinkage2, s)
}

func parseLinkage(key, s string) (GUID, error) {
	g, err := guid.Parse(s)
	if err != nil {
		return GUID{}, corrupt("parent locator", 0, "%s %.60q is not a GUID", key, s)
	}
	return g, nil
}

// Marshal returns the content of the metadata item: header, entry table, then
// the strings back to back as Windows packs them. Errors: ErrCorrupt for an
// empty or a repeated key and for an empty value, ErrUnsupported for more than
// 256 entries, 32767 UTF-16 units in a string, or 1 MiB in all.
func (l *ParentLocator) Marshal() ([]byte, error) {
	if err := l.validate(); err != nil {
		return nil, err
	}
	b := make([]byte, locatorHeader+locatorEntry*len(l.Entries))
	copy(b, locatorTypeVHDX[:])
	le.PutUint16(b[18:], uint16(len(l.Entries)))
	for i, e := range l.Entries {
		k, v := utf16le.Append(nil, e.Key), utf16le.Append(nil, e.Value)
		t := b[locatorHeader+i*locatorEntry:]
		le.PutUint32(t[0:], uint32(len(b)))
		le.PutUint32(t[4:], uint32(len(b)+len(k)))
		le.PutUint16(t[8:], uint16(len(k)))
		le.PutUint16(t[10:], uint16(len(v)))
		b = append(append(b, k...), v...)
	}
	return b, nil
}

// validate tells whether Marshal can express l.
func (l *ParentLocator) validate() error {
	if len(l.Entries) > maxLocatorEntries {
		return unsupported("parent locator", 18, "%d entries, at most %d are written", len(l.Entries), maxLocatorEntries)
	}
	size := locatorHeader + locatorEntry*len(l.Entries)
	seen := make(map[string]bool, len(l.Entries))
	for _, e := range l.Entries {
		if e.Key == "" || e.Value == "" {
			return corrupt("parent locator", 0, "the entry %.40q has an empty key or value", e.Key)
		}
		if seen[e.Key] {
			return corrupt("parent locator", 0, "key %.40q is there twice", e.Key)
		}
		seen[e.Key] = true
		k, v := 2*len(utf16le.Units(e.Key)), 2*len(utf16le.Units(e.Value))
		if k > math.MaxUint16 || v > math.MaxUint16 {
			return unsupported("parent locator", 0, "the key or value of %.40q is longer than 32767 characters", e.Key)
		}
		size += k + v
	}
	if size > maxItemSize {
		return unsupported("parent locator", 0, "a locator of %d bytes, at most 1 MiB is allowed", size)
	}
	return nil
}

// ParseParentLocator reads the content of a parent locator item. Errors:
// *FormatError, and *UnsupportedError for another locator type.
func ParseParentLocator(b []byte) (*ParentLocator, error) {
	if len(b) < locatorHeader {
		return nil, corrupt("parent locator", 0, "cut off after %d bytes", len(b))
	}
	if t := GUID(b[:16]); t != locatorTypeVHDX {
		return nil, unsupported("parent locator", 0, "locator type %v", t)
	}
	n := int(le.Uint16(b[18:]))
	if n > maxLocatorEntries || locatorHeader+n*locatorEntry > len(b) {
		return nil, corrupt("parent locator", 18, "%d entries do not fit", n)
	}
	l := &ParentLocator{Entries: make([]LocatorEntry, 0, n)}
	for i := range n {
		off := locatorHeader + i*locatorEntry
		e, err := parseLocatorEntry(b, b[off:off+locatorEntry])
		if err != nil {
			return nil, moveError(err, int64(off))
		}
		if _, dup := l.Get(e.Key); dup {
			return nil, corrupt("parent locator", int64(off), "key %.40q is there twice", e.Key)
		}
		l.Entries = append(l.Entries, e)
	}
	return l, nil
}

func parseLocatorEntry(b, t []byte) (e LocatorEntry, err error) {
	if e.Key, err = locatorString(b, le.Uint32(t[0:]), le.Uint16(t[8:])); err != nil {
		return e, err
	}
	e.Value, err = locatorString(b, le.Uint32(t[4:]), le.Uint16(t[10:]))
	return e, err
}

func locatorString(b []byte, off uint32, n uint16) (string, error) {
	if off == 0 || n == 0 || n%2 != 0 {
		return "", corrupt("parent locator", 0, "a string of %d bytes at %#x is impossible", n, off)
	}
	if uint64(off)+uint64(n) > uint64(len(b)) {
		return "", corrupt("parent locator", 0, "a string of %d bytes at %#x lies outside the item", n, off)
	}
	return utf16le.String(b[off : int(off)+int(n)]), nil
}
