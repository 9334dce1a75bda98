package vhdx

import (
	"bytes"
	"errors"
	"io"
)

// Header is the VHDX header (MS-VHDX 2.2.2). Two copies stand in a file; the
// valid one with the higher sequence number is current.
type Header struct {
	SequenceNumber uint64
	FileWriteGUID  GUID // changes before the first write to the file in a session
	DataWriteGUID  GUID // changes before the first change of what the virtual disk shows
	LogGUID        GUID // zero: no log to replay
	LogVersion     uint16
	Version        uint16
	LogLength      uint32 // bytes, a multiple of 1 MiB
	LogOffset      uint64 // bytes from the start of the file, a multiple of 1 MiB
}

const headerSignature = "head"

// Marshal returns the 4096 bytes of the header with its checksum.
func (h *Header) Marshal() []byte {
	b := make([]byte, headerSize)
	copy(b, headerSignature)
	le.PutUint64(b[8:], h.SequenceNumber)
	copy(b[16:], h.FileWriteGUID[:])
	copy(b[32:], h.DataWriteGUID[:])
	copy(b[48:], h.LogGUID[:])
	le.PutUint16(b[64:], h.LogVersion)
	le.PutUint16(b[66:], h.Version)
	le.PutUint32(b[68:], h.LogLength)
	le.PutUint64(b[72:], h.LogOffset)
	putChecksum(b)
	return b
}

// ParseHeader reads one header copy of 4096 bytes. A *FormatError means that
// this copy is not valid: wrong signature or checksum. Whether its values can
// be used is checked by ReadHeaders for the current copy alone, as MS-VHDX
// makes validity depend on signature and checksum only.
func ParseHeader(b []byte) (*Header, error) {
	if len(b) < headerSize {
		return nil, corrupt("header", 0, "cut off after %d bytes", len(b))
	}
	b = b[:headerSize]
	if string(b[:4]) != headerSignature {
		return nil, corrupt("header", 0, "signature is not %q", headerSignature)
	}
	if !checksumOK(b) {
		return nil, corrupt("header", 0, "checksum is wrong")
	}
	h := &Header{
		SequenceNumber: le.Uint64(b[8:]),
		FileWriteGUID:  GUID(b[16:32]),
		DataWriteGUID:  GUID(b[32:48]),
		LogGUID:        GUID(b[48:64]),
		LogVersion:     le.Uint16(b[64:]),
		Version:        le.Uint16(b[66:]),
		LogLength:      le.Uint32(b[68:]),
		LogOffset:      le.Uint64(b[72:]),
	}
	return h, nil
}

// validate checks the values that a reader depends on.
func (h *Header) validate() error {
	if h.Version != 1 {
		return unsupported("header", 66, "version %d, only 1 is known", h.Version)
	}
	if h.LogVersion != 0 && !h.LogGUID.IsZero() {
		return unsupported("header", 64, "log version %d, only 0 is known", h.LogVersion)
	}
	if h.LogOffset%mib != 0 || h.LogLength%mib != 0 {
		return corrupt("header", 68, "log at %#x, length %#x is not aligned to 1 MiB", h.LogOffset, h.LogLength)
	}
	if h.LogLength == 0 {
		if !h.LogGUID.IsZero() {
			return corrupt("header", 68, "a log is in use but its length is 0")
		}
		return nil
	}
	if h.LogOffset < headerSection || h.LogOffset > maxFileSize {
		return corrupt("header", 72, "log offset %#x is impossible", h.LogOffset)
	}
	return nil
}

// ReadHeaders reads both header copies and returns the current one and its
// slot: 0 for the copy at Header1Offset, 1 for that at Header2Offset. A copy
// that cannot be read counts as not valid, as long as the other one is. Two
// valid copies with the same sequence number are accepted only if identical,
// as Disk2vhd leaves them; slot is 0 then. Errors: *FormatError when no copy
// is valid or the values are impossible, *UnsupportedError for another
// version, and the read error when that is why no copy is left.
func ReadHeaders(r io.ReaderAt) (cur *Header, slot int, err error) {
	var raw [2][]byte
	var h [2]*Header
	var bad [2]error
	for i, off := range headerOffsets {
		raw[i], h[i], bad[i] = readHeaderCopy(r, off)
	}
	switch {
	case h[0] == nil && h[1] == nil:
		if err := unreadable(bad[0], bad[1]); err != nil {
			return nil, 0, err
		}
		return nil, 0, corrupt("header", Header1Offset, "neither copy is valid (first: %s; second: %s)", reasonOf(bad[0]), reasonOf(bad[1]))
	case h[0] == nil:
		slot = 1
	case h[1] == nil:
		slot = 0
	case h[0].SequenceNumber == h[1].SequenceNumber:
		if !bytes.Equal(raw[0], raw[1]) {
			return nil, 0, corrupt("header", Header1Offset, "both copies have sequence number %d but differ", h[0].SequenceNumber)
		}
	case h[1].SequenceNumber > h[0].SequenceNumber:
		slot = 1
	}
	if err := h[slot].validate(); err != nil {
		return nil, 0, moveError(err, headerOffsets[slot])
	}
	return h[slot], slot, nil
}

var headerOffsets = [2]int64{Header1Offset, Header2Offset}

// readHeaderCopy returns why a copy does not count in bad.
func readHeaderCopy(r io.ReaderAt, off int64) (raw []byte, h *Header, bad error) {
	raw = make([]byte, headerSize)
	if bad = readCopy(r, raw, off, "header"); bad != nil {
		return nil, nil, bad
	}
	h, bad = ParseHeader(raw)
	return raw, h, bad
}

// reasonOf returns the bare reason of a format error.
func reasonOf(err error) string {
	var fe *FormatError
	if errors.As(err, &fe) {
		return fe.Reason
	}
	return err.Error()
}
