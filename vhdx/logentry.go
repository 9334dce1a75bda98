package vhdx

import (
	"troy/internal/block"
)

// LogEntry is one entry of the log (MS-VHDX 2.3.1): a set of page writes that
// replay carries out together or, when the entry is torn, not at all.
type LogEntry struct {
	SequenceNumber    uint64 // > 0, one more than that of the entry before
	Tail              uint32 // place in the log, in bytes, of the oldest entry to be replayed with this one
	LogGUID           GUID   // the one of the header
	FlushedFileOffset int64  // bytes of file that were durable when the entry was written, a multiple of 1 MiB
	LastFileOffset    int64  // bytes that hold all allocated structures, a multiple of 1 MiB
	Descriptors       []LogDescriptor
}

// LogDescriptor is one update of an entry: a page of data, or zeros.
type LogDescriptor struct {
	FileOffset int64  // bytes from the start of the file, a multiple of 4 KiB
	Data       []byte // exactly 4096 bytes, or nil for zeros
	ZeroLength int64  // bytes of zeros, a multiple of 4 KiB; used when Data is nil
}

const (
	logEntrySignature = "loge"
	logDescSignature  = "desc"
	logZeroSignature  = "zero"
	logDataSignature  = "data"
	logEntryHeader    = 64
	logDescriptorSize = 32
	maxLogLength      = 1 * gib
)

// logHeaderLength returns the bytes that the header and n descriptors take:
// 126 fit into the first sector, 128 into each further one.
func logHeaderLength(n int64) int64 {
	return block.RoundUp(logEntryHeader+n*logDescriptorSize, pageSize)
}

// Marshal returns the bytes of the entry, a whole multiple of 4 KiB with its
// checksum, to be written at its place in the log (which may wrap around the
// end). Errors: ErrCorrupt for values that the format cannot hold.
func (e *LogEntry) Marshal() ([]byte, error) {
	if err := e.validate(); err != nil {
		return nil, err
	}
	hdr := logHeaderLength(int64(len(e.Descriptors)))
	length := hdr
	for _, d := range e.Descriptors {
		if d.Data != nil {
			length += pageSize
		}
	}
	if length > maxLogLength {
		return nil, corrupt("log entry", 8, "%d bytes, at most 1 GiB is allowed", length)
	}
	b := make([]byte, hdr, length)
	for i, d := range e.Descriptors {
		b = e.marshalDescriptor(b, b[logEntryHeader+i*logDescriptorSize:], d)
	}
	copy(b, logEntrySignature)
	le.PutUint32(b[8:], uint32(len(b)))
	le.PutUint32(b[12:], e.Tail)
	le.PutUint64(b[16:], e.SequenceNumber)
	le.PutUint32(b[24:], uint32(len(e.Descriptors)))
	copy(b[32:], e.LogGUID[:])
	le.PutUint64(b[48:], uint64(e.FlushedFileOffset))
	le.PutUint64(b[56:], uint64(e.LastFileOffset))
	putChecksum(b)
	return b, nil
}

// marshalDescriptor fills t and appends the data sector, if any, to b.
func (e *LogEntry) marshalDescriptor(b, t []byte, d LogDescriptor) []byte {
	le.PutUint64(t[16:], uint64(d.FileOffset))
	le.PutUint64(t[24:], e.SequenceNumber)
	if d.Data == nil {
		copy(t, logZeroSignature)
		le.PutUint64(t[8:], uint64(d.ZeroLength))
		return b
	}
	copy(t, logDescSignature)
	copy(t[4:8], d.Data[pageSize-4:])
	copy(t[8:16], d.Data[:8])
	s := make([]byte, pageSize)
	copy(s, d.Data)
	copy(s, logDataSignature)
	le.PutUint32(s[4:], uint32(e.SequenceNumber>>32))
	le.PutUint32(s[pageSize-4:], uint32(e.SequenceNumber))
	return append(b, s...)
}

// validate tells whether Marshal can express e.
func (e *LogEntry) validate() error {
	const s = "log entry"
	switch {
	case e.SequenceNumber == 0:
		return corrupt(s, 16, "sequence number 0")
	case e.Tail%pageSize != 0:
		return corrupt(s, 12, "tail %#x is not a multiple of 4 KiB", e.Tail)
	case e.LogGUID.IsZero():
		return corrupt(s, 32, "the log GUID is zero")
	case !validFileOffset(e.FlushedFileOffset, mib):
		return corrupt(s, 48, "FlushedFileOffset %#x is not a multiple of 1 MiB", e.FlushedFileOffset)
	case !validFileOffset(e.LastFileOffset, mib):
		return corrupt(s, 56, "LastFileOffset %#x is not a multiple of 1 MiB", e.LastFileOffset)
	case int64(len(e.Descriptors)) > maxLogLength/pageSize:
		return corrupt(s, 24, "%d descriptors are too many", len(e.Descriptors))
	}
	for _, d := range e.Descriptors {
		if err := d.validate(); err != nil {
			return err
		}
	}
	return nil
}

// validFileOffset reports whether off is a multiple of unit that a file can have.
func validFileOffset(off, unit int64) bool {
	return off >= 0 && off <= maxFileSize && off%unit == 0
}

func (d *LogDescriptor) validate() error {
	const s = "log descriptor"
	if d.Data != nil && len(d.Data) != pageSize {
		return corrupt(s, 0, "%d bytes of data instead of 4096", len(d.Data))
	}
	// The headers are never logged: replay itself depends on them.
	if !validFileOffset(d.FileOffset, pageSize) || d.FileOffset < RegionTable1Offset {
		return corrupt(s, 16, "file offset %#x is not a page past the headers", d.FileOffset)
	}
	if d.Data == nil && (d.ZeroLength <= 0 || !validFileOffset(d.ZeroLength, pageSize) || d.FileOffset+d.ZeroLength > maxFileSize) {
		return corrupt(s, 8, "zero length %#x is impossible", d.ZeroLength)
	}
	return nil
}

// rawLogEntry is an entry header with the lengths that it claims.
type rawLogEntry struct {
	LogEntry
	length int64 // bytes of the whole entry
	count  int64 // descriptors
}

// parseLogEntryHeader checks every field of the header except the checksum,
// which covers the whole entry.
func parseLogEntryHeader(b []byte) (*rawLogEntry, error) {
	const s = "log entry"
	if len(b) < pageSize {
		return nil, corrupt(s, 0, "cut off after %d bytes", len(b))
	}
	if string(b[:4]) != logEntrySignature {
		return nil, corrupt(s, 0, "signature is not %q", logEntrySignature)
	}
	h := &rawLogEntry{
		LogEntry: LogEntry{
			SequenceNumber:    le.Uint64(b[16:]),
			Tail:              le.Uint32(b[12:]),
			LogGUID:           GUID(b[32:48]),
			FlushedFileOffset: int64(le.Uint64(b[48:])),
			LastFileOffset:    int64(le.Uint64(b[56:])),
		},
		length: int64(le.Uint32(b[8:])),
		count:  int64(le.Uint32(b[24:])),
	}
	if err := h.LogEntry.validate(); err != nil {
		return nil, err
	}
	if h.length == 0 || h.length%pageSize != 0 || h.length > maxLogLength {
		return nil, corrupt(s, 8, "entry length %d is not a multiple of 4 KiB", h.length)
	}
	if logHeaderLength(h.count) > h.length {
		return nil, corrupt(s, 24, "%d descriptors do not fit into %d bytes", h.count, h.length)
	}
	return h, nil
}

// parseLogDescriptor reads one descriptor; the data itself stands elsewhere.
func parseLogDescriptor(t []byte, seq uint64) (d LogDescriptor, isData bool, err error) {
	const s = "log descriptor"
	switch string(t[:4]) {
	case logDescSignature:
		isData = true
	case logZeroSignature:
		d.ZeroLength = int64(le.Uint64(t[8:]))
	default:
		return d, false, corrupt(s, 0, "signature %q is unknown", t[:4])
	}
	if le.Uint64(t[24:]) != seq {
		return d, false, corrupt(s, 24, "sequence number %d is not that of the entry", le.Uint64(t[24:]))
	}
	d.FileOffset = int64(le.Uint64(t[16:]))
	probe := d
	if isData {
		probe.Data = zeroPage[:]
	}
	return d, isData, probe.validate()
}

// zeroPage is read from only.
var zeroPage [pageSize]byte
