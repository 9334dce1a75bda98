package vhdx

import (
	"io"
	"unicode/utf16"

	"troy/internal/block"
)

const (
	fileIDSignature = "vhdxfile"
	fileIDSize      = 64 * kib
	creatorSize     = 512
)

// MarshalFileIdentifier returns the file identifier object, 64 KiB, the first
// bytes of every VHDX file (MS-VHDX 2.2.1). The creator is for diagnosis only
// and is cut at 256 UTF-16 units.
func MarshalFileIdentifier(creator string) []byte {
	b := make([]byte, fileIDSize)
	copy(b, fileIDSignature)
	for i, u := range utf16.Encode([]rune(creator)) {
		if i >= creatorSize/2 {
			break
		}
		le.PutUint16(b[8+2*i:], u)
	}
	return b
}

// readFileIdentifier checks the signature and returns the creator.
func readFileIdentifier(r io.ReaderAt) (creator string, err error) {
	b := make([]byte, 8+creatorSize)
	if err := block.ReadFull(r, b, 0); err == io.ErrUnexpectedEOF {
		return "", corrupt("file identifier", 0, "the file is too short to be a VHDX")
	} else if err != nil {
		return "", err
	}
	if string(b[:8]) != fileIDSignature {
		return "", corrupt("file identifier", 0, "signature %q is not %q: this is no VHDX file", b[:8], fileIDSignature)
	}
	var u []uint16
	for i := 8; i < len(b) && le.Uint16(b[i:]) != 0; i += 2 {
		u = append(u, le.Uint16(b[i:]))
	}
	return string(utf16.Decode(u)), nil
}
