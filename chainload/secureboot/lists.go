package secureboot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"troy/internal/guid"
)

// ErrSignatures is the class of db and dbx variables that break their format.
var ErrSignatures = errors.New("corrupt EFI signature list")

// Types of signatures, and the GUID of Windows Boot Manager among the hashes of dbx.
var (
	typeX509       = guid.GUID{0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72}
	typeSHA256     = guid.GUID{0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40, 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28}
	typeX509SHA256 = guid.GUID{0x92, 0xa4, 0xd2, 0x3b, 0xc0, 0x96, 0x79, 0x40, 0xb4, 0x20, 0xfc, 0xf9, 0x8e, 0xf1, 0x03, 0xed}
	bootManager    = guid.GUID{0x61, 0x2b, 0x13, 0x9d, 0xd5, 0x59, 0x88, 0x43, 0xab, 0x1c, 0x18, 0x5c, 0x3c, 0xb2, 0xeb, 0x92}
)

// signature is one entry of db or dbx.
type signature struct {
	kind guid.GUID // of the list that it stands in
	data []byte    // of the variable's own memory
}

// parseSignatures reads the data of db or dbx: lists of signatures one after the other (UEFI 2.10,
// 32.4.1). Errors: ErrSignatures.
func parseSignatures(b []byte) ([]signature, error) {
	const header, owner = 28, 16
	var out []signature
	for at := 0; at < len(b); {
		rest := b[at:]
		if len(rest) < header {
			return nil, fmt.Errorf("%w: %d bytes behind the last list, at %d", ErrSignatures, len(rest), at)
		}
		le := binary.LittleEndian
		size, skip, each := int64(le.Uint32(rest[16:])), int64(le.Uint32(rest[20:])), int64(le.Uint32(rest[24:]))
		room := size - header - skip
		if size > int64(len(rest)) || room < 0 || each < owner || room%each != 0 {
			return nil, fmt.Errorf("%w: list at %d of %d bytes with a header of %d and signatures of %d", ErrSignatures, at, size, skip, each)
		}
		for p := rest[header+skip : size]; len(p) > 0; p = p[each:] {
			out = append(out, signature{guid.GUID(rest[:16]), p[owner:each:each]})
		}
		at += int(size)
	}
	return out, nil
}

// efiTime reads an EFI_TIME; the zero time if it is none.
func efiTime(b []byte) time.Time {
	year, month, day := int(binary.LittleEndian.Uint16(b)), time.Month(b[2]), int(b[3])
	t := time.Date(year, month, day, int(b[4]), int(b[5]), int(b[6]), 0, time.UTC)
	if t.Year() != year || t.Month() != month || t.Day() != day || year < 2000 || year > 2200 {
		return time.Time{}
	}
	return t
}
