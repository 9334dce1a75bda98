package vhdx

import (
	"io"

	"troy/internal/block"
	"troy/internal/utf16le"
)

const (
	fileIDSignature = "vhdxfile"
	fileIDSize      = 64 * kib
	creatorSize     = 512
)

// MarshalFileIdentifier returns the file identifier object, 64 KiB, the first
// bytes of every VHDX file (MS-VHDX 2.2.1). The creator is for diagnosis only.
// Errors: ErrUnsupported for one of more than 256 UTF-16 units.
func MarshalFileIdentifier(creator string) ([]byte, error) {
	name := utf16le.Append(nil, creator)
	if len(name) > creatorSize {
		return nil, unsupported("file identifier", 8, "a creator of %d characters, at most %d are allowed", len(name)/2, creatorSize/2)
	}
	b := make([]byte, fileIDSize)
	copy(b, fileIDSignature)
	copy(b[8:], name)
	return b, nil
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
	end := 8
	for end < len(b) && le.Uint16(b[end:]) != 0 {
		end += 2
	}
	return utf16le.String(b[8:end]), nil
}
