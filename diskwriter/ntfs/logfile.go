package ntfs

import (
	"encoding/binary"
	"fmt"
)

// LogInfo is what the restart pages of $LogFile say.
type LogInfo struct {
	// Empty: never used or wiped, every byte is FF.
	Empty bool
	// Major and Minor are the LFS version: 1.1, or 2.0 while Windows 8 and later
	// have the volume mounted and after they lost it without dismounting.
	Major, Minor int
	// InUse: a client still has the log open, and the volume was not marked clean.
	InUse bool
	// Problem is not empty when the pages cannot be read; InUse then says nothing.
	Problem string
}

// Clean reports whether the log leaves nothing to do: no client in use, and
// not in the 2.0 form that Windows leaves only where it has not dismounted.
func (l LogInfo) Clean() bool {
	return l.Problem == "" && (l.Empty || !l.InUse && l.Major < 2)
}

// String says it in a few words.
func (l LogInfo) String() string {
	switch {
	case l.Problem != "":
		return "$LogFile: " + l.Problem
	case l.Empty:
		return "$LogFile is empty"
	case l.InUse:
		return fmt.Sprintf("$LogFile %d.%d is in use", l.Major, l.Minor)
	}
	return fmt.Sprintf("$LogFile %d.%d is closed", l.Major, l.Minor)
}

// restart is one checked restart page.
type restart struct {
	major, minor   int
	pageSize       int64  // of log record pages
	currentLSN     uint64 // last LSN known when the page was written
	seqBits        uint
	fileSize       int64
	recordHeader   int // bytes before a record's client data
	pageData       int // byte of a record page at which data begins
	volumeClean    bool
	clientInUse    bool
	oldestLSN      uint64 // the client still needs records from here
	clientRestart  uint64
	clientInUseRef uint16
}

const (
	logClean    = 2      // restart area flag: the volume is clean
	logNoClient = 0xffff // end of a list of clients
)

// parseRestart decodes a restart page (which it changes).
func parseRestart(b []byte) (*restart, error) {
	const what = "$LogFile restart page"
	le := binary.LittleEndian
	if err := unprotect(b, "RSTR", what); err != nil {
		return nil, err
	}
	area := int(le.Uint16(b[0x18:]))
	if area < 0x1e || area%8 != 0 || area+0x30 > len(b) {
		return nil, corrupt(what, 0x18, "restart area at %#x", area)
	}
	a := b[area:]
	r := &restart{major: int(int16(le.Uint16(b[0x1c:]))), minor: int(int16(le.Uint16(b[0x1a:]))),
		pageSize: int64(le.Uint32(b[0x14:])), currentLSN: le.Uint64(a), seqBits: uint(le.Uint32(a[0x10:])),
		fileSize: int64(le.Uint64(a[0x18:])), recordHeader: int(le.Uint16(a[0x24:])),
		pageData: int(le.Uint16(a[0x26:])), volumeClean: le.Uint16(a[0xe:])&logClean != 0}
	if int(le.Uint32(b[0x10:])) != len(b) || r.pageSize != logPage {
		return nil, corrupt(what, 0x10, "pages of %d and %d bytes", le.Uint32(b[0x10:]), r.pageSize)
	}
	if r.seqBits < 8 || r.seqBits > 60 || r.recordHeader != logRecordHeader || r.pageData < 0x28 ||
		r.pageData%8 != 0 || r.pageData > blockSize || r.fileSize < 16*logPage || r.fileSize%logPage != 0 {
		return nil, corrupt(what, area, "sequence bits %d, headers of %d and %d, file of %d",
			r.seqBits, r.recordHeader, r.pageData, r.fileSize)
	}
	return r, r.parseClient(a, le.Uint16(a[0xc:]))
}

// parseClient reads the client in use; NTFS is the only client a log has.
func (r *restart) parseClient(a []byte, inUse uint16) error {
	if inUse == logNoClient {
		return nil
	}
	const what = "$LogFile restart page"
	le := binary.LittleEndian
	clients, at := le.Uint16(a[8:]), int(le.Uint16(a[0x16:]))+160*int(inUse)
	if inUse >= clients || at < 0x30 || at+160 > len(a) {
		return corrupt(what, 0, "client %d of %d at %#x", inUse, clients, at)
	}
	r.clientInUse, r.clientInUseRef = true, inUse
	r.oldestLSN, r.clientRestart = le.Uint64(a[at:]), le.Uint64(a[at+8:])
	return nil
}

// logFile opens $LogFile; its content counts as a whole, whatever its valid length.
func (v *Volume) logFile() (*stream, error) {
	n, err := v.load(recordLogFile)
	if err != nil {
		return nil, err
	}
	s, err := v.open(n, attrData, "")
	if err != nil {
		return nil, err
	}
	if s.size < 16*logPage || s.valid != s.size {
		return nil, corrupt("$LogFile", -1, "%d of %d bytes valid", s.valid, s.size)
	}
	return s, nil
}

// readRestart returns the current restart page: of the two that with the higher LSN;
// nil when the log is empty.
func readRestart(s *stream) (*restart, error) {
	var best *restart
	var firstErr error
	empty := true
	for i := range int64(2) {
		b := make([]byte, logPage)
		if _, err := s.ReadAt(b, i*logPage); err != nil {
			return nil, err
		}
		for _, c := range b {
			empty = empty && c == 0xff
		}
		r, err := parseRestart(b)
		if err != nil {
			firstErr = err
		} else if best == nil || r.currentLSN > best.currentLSN {
			best = r
		}
	}
	if best != nil || empty {
		return best, nil
	}
	return nil, firstErr
}

// Log reads what the restart pages say. Trouble with the log itself is not an error:
// it is told in Problem.
func (v *Volume) Log() LogInfo {
	s, err := v.logFile()
	if err != nil {
		return LogInfo{Problem: err.Error()}
	}
	r, err := readRestart(s)
	if err != nil {
		return LogInfo{Problem: err.Error()}
	}
	if r == nil {
		return LogInfo{Empty: true}
	}
	return LogInfo{Major: r.major, Minor: r.minor, InUse: r.clientInUse && !r.volumeClean}
}
