package vm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"troy/internal/guid"
	"troy/internal/utf16le"
)

// SetVariable puts a variable into a file of OVMF's variables, in place of one of that name: also
// one that no operating system may write. The format is that of EDK2: a firmware volume, in it a
// store (VARIABLE_STORE_HEADER), in it AUTHENTICATED_VARIABLE_HEADERs with name and data.
func SetVariable(path, name string, vendor guid.GUID, attributes uint32, data []byte) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	store, err := variableStore(b)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	key := utf16le.Append(nil, name+"\x00")
	at := 0
	for at+variableHeader <= len(store) && store[at] == 0xaa && store[at+1] == 0x55 {
		size := int(binary.LittleEndian.Uint32(store[at+36:]))
		next := at + variableHeader + size + int(binary.LittleEndian.Uint32(store[at+40:]))
		if next > len(store) {
			return fmt.Errorf("%s: a variable at %d ends at %d of %d", path, at, next, len(store))
		}
		if bytes.Equal(store[at+44:at+60], vendor[:]) && bytes.Equal(store[at+variableHeader:][:size], key) {
			store[at+2] &= variableDeleted
		}
		at = (next + 3) &^ 3
	}
	le := binary.LittleEndian
	v := le.AppendUint32([]byte{0xaa, 0x55, variableAdded, 0}, attributes)
	v = append(v, make([]byte, 28)...) // count, time, key
	v = le.AppendUint32(le.AppendUint32(v, uint32(len(key))), uint32(len(data)))
	v = append(append(append(v, vendor[:]...), key...), data...)
	if at+len(v) > len(store) {
		return fmt.Errorf("%s: no room for %s", path, name)
	}
	copy(store[at:], v)
	return os.WriteFile(path, b, 0o644)
}

const (
	variableHeader  = 60
	variableAdded   = 0x3f
	variableDeleted = 0xfd
)

// variableStore is the part of a firmware volume where variables stand.
func variableStore(b []byte) ([]byte, error) {
	const header = 28
	if len(b) < 0x38 || string(b[0x28:0x2c]) != "_FVH" {
		return nil, errors.New("no firmware volume")
	}
	from := int(binary.LittleEndian.Uint16(b[0x30:]))
	if from+header > len(b) {
		return nil, errors.New("no store of variables")
	}
	size := int(binary.LittleEndian.Uint32(b[from+16:]))
	if size < header || from+size > len(b) {
		return nil, fmt.Errorf("a store of variables of %d bytes", size)
	}
	return b[from+header : from+size], nil
}
