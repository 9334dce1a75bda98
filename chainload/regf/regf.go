package regf

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"troy/internal/utf16le"
	"unicode/utf16"
)

// Limits of what is read and written.
const (
	// MaxSize is the longest hive that Parse and Marshal take, in bytes. A boot
	// store has some 30 KiB.
	MaxSize = 16 << 20
	// maxSubkeys is the largest number of subkeys of one key that Marshal writes.
	maxSubkeys = 500
	// maxDepth is the deepest nesting of keys, as in Windows.
	maxDepth = 512
)

// Type is the type of a value's data.
type Type uint32

// Types of values (winnt.h names).
const (
	SZ      Type = 1
	Binary  Type = 3
	DWORD   Type = 4
	MultiSZ Type = 7
)

// Hive is a registry hive.
type Hive struct {
	Root *Key
	// FileName is what the base block keeps of the hive's name: at most its
	// last 31 UTF-16 units. It is information only.
	FileName string
	// Sequence is the number of the last complete write.
	Sequence uint32
	// Dirty tells that the last write of the hive did not end. Marshal always
	// writes a clean hive.
	Dirty bool
	// Time is when the hive was last written, in 100 ns since 1601.
	Time uint64
}

// Key is a key with all that it holds. In names, of values as well, a surrogate without a partner
// is kept as the three bytes that the scheme of UTF-8 gives it.
type Key struct {
	Name   string
	Keys   []*Key
	Values []*Value
	// Flags are the nk flags; Marshal sets the name bit (0x20) itself.
	Flags uint16
	// Time is when the key was last written, in 100 ns since 1601.
	Time uint64
	// Class is the raw class name, nil for none.
	Class []byte
	// Security is the self-relative security descriptor; nil takes the parent's,
	// and at the root defaultSecurity.
	Security []byte
}

// Value is a named value. The data of a parsed value aliases the bytes given
// to Parse.
type Value struct {
	Name string
	Type Type
	Data []byte
}

// Key returns the subkey of that name (case does not matter), or nil. It may
// be called on nil, so that paths can be walked without checks between.
func (k *Key) Key(name string) *Key {
	if k == nil {
		return nil
	}
	for _, s := range k.Keys {
		if strings.EqualFold(s.Name, name) {
			return s
		}
	}
	return nil
}

// Value returns the value of that name (case does not matter), or nil. It may
// be called on nil.
func (k *Key) Value(name string) *Value {
	if k == nil {
		return nil
	}
	for _, v := range k.Values {
		if strings.EqualFold(v.Name, name) {
			return v
		}
	}
	return nil
}

// Make returns the subkey of that name and adds it when there is none.
func (k *Key) Make(name string) *Key {
	if s := k.Key(name); s != nil {
		return s
	}
	s := &Key{Name: name}
	k.Keys = append(k.Keys, s)
	return s
}

// Set puts a value, replacing one of the same name.
func (k *Key) Set(name string, t Type, data []byte) {
	if v := k.Value(name); v != nil {
		v.Type, v.Data = t, data
		return
	}
	k.Values = append(k.Values, &Value{Name: name, Type: t, Data: data})
}

// Text decodes REG_SZ data: UTF-16 up to the first NUL or the end. It
// returns an error that wraps ErrCorrupt for data that is no UTF-16.
func (v *Value) Text() (string, error) {
	s, ok := decodeUTF16(v.Data)
	if !ok {
		return "", fmt.Errorf("%w: value %q: data is not UTF-16", ErrCorrupt, v.Name)
	}
	s, _, _ = strings.Cut(s, "\x00")
	return s, nil
}

// Number returns the number of a REG_DWORD; ok is false for a value of another type or length.
func (v *Value) Number() (n uint32, ok bool) {
	if v.Type != DWORD || len(v.Data) != 4 {
		return 0, false
	}
	return binary.LittleEndian.Uint32(v.Data), true
}

// EncodeSZ returns the data of a REG_SZ value.
func EncodeSZ(s string) []byte { return utf16le.Append(nil, s+"\x00") }

// EncodeMultiSZ returns the data of a REG_MULTI_SZ value.
func EncodeMultiSZ(list ...string) []byte {
	return utf16le.Append(nil, strings.Join(list, "\x00")+"\x00\x00")
}

// EncodeDWORD returns the data of a REG_DWORD value.
func EncodeDWORD(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }

// decodeUTF16 fails on odd lengths and unpaired surrogates, which are no text.
func decodeUTF16(b []byte) (string, bool) {
	if len(b)%2 != 0 {
		return "", false
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	runes := utf16.Decode(units)
	if !slices.Equal(utf16.Encode(runes), units) {
		return "", false
	}
	return string(runes), true
}

// checksum is the XOR of the first 127 words of the base block; 0 and -1 are
// not used as results.
func checksum(base []byte) uint32 {
	var x uint32
	for i := 0; i < 508; i += 4 {
		x ^= binary.LittleEndian.Uint32(base[i:])
	}
	switch x {
	case 0:
		return 1
	case 0xffffffff:
		return 0xfffffffe
	}
	return x
}
