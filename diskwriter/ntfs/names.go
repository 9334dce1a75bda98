package ntfs

import (
	"encoding/binary"
	"unicode/utf16"
)

const upcaseSize = 1 << 17 // 65536 UTF-16 units

func utf16Units(b []byte) []uint16 {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return u
}

func utf16String(b []byte) string { return string(utf16.Decode(utf16Units(b))) }

// upcase folds names as the volume's $UpCase says; nil folds ASCII alone.
type upcase []uint16

// loadUpcase reads $UpCase; a table that does not fold ASCII as it has to is not used.
func (v *Volume) loadUpcase() upcase {
	n, err := v.load(recordUpCase)
	if err != nil {
		return nil
	}
	s, err := v.open(n, attrData, "")
	if err != nil || s.size != upcaseSize {
		return nil
	}
	b := make([]byte, upcaseSize)
	if k, _ := s.ReadAt(b, 0); k != len(b) {
		return nil
	}
	u := upcase(utf16Units(b))
	for c := range uint16(128) {
		if u[c] != upcase(nil).fold(c) {
			return nil
		}
	}
	return u
}

func (u upcase) fold(c uint16) uint16 {
	if u != nil {
		return u[c]
	}
	if c >= 'a' && c <= 'z' {
		return c - 'a' + 'A'
	}
	return c
}

// equal compares a name on disk (UTF-16LE) with units, both folded.
func (u upcase) equal(disk []byte, name []uint16) bool {
	if len(disk) != 2*len(name) {
		return false
	}
	for i, c := range name {
		if u.fold(binary.LittleEndian.Uint16(disk[2*i:])) != u.fold(c) {
			return false
		}
	}
	return true
}

// fileName is the value of a $FILE_NAME attribute, which is also the key of a
// directory's index entry.
type fileName struct {
	parent Reference
	name   []byte // UTF-16LE
	space  byte   // 0 POSIX, 1 Win32, 2 DOS, 3 both
}

func parseFileName(b []byte, what string) (fileName, error) {
	if len(b) < 0x42 || len(b) < 0x42+2*int(b[0x40]) || b[0x40] == 0 {
		return fileName{}, corrupt(what, -1, "file name of %d bytes", len(b))
	}
	return fileName{parent: Reference(binary.LittleEndian.Uint64(b)), space: b[0x41],
		name: b[0x42:][:2*int(b[0x40])]}, nil
}
