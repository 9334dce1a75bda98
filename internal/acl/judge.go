package acl

import (
	"bytes"
	"encoding/binary"
)

// IsPrivate tells whether nobody but SYSTEM and administrators can read a file with that descriptor,
// or let others read it: they own it, and each entry that allows anything is theirs. Whatever is cut
// off, contradicts itself or is not known is not private; nor is a file without an access list,
// which everyone may read.
func IsPrivate(d []byte) bool {
	le := binary.LittleEndian
	if len(d) < headSize || d[0] != 1 || le.Uint16(d[2:])&(selfRelative|listPresent) != selfRelative|listPresent {
		return false
	}
	if !isOurs(at(d, le.Uint32(d[4:]))) {
		return false
	}
	list := at(d, le.Uint32(d[16:]))
	if len(list) < listHead {
		return false
	}
	size := int(le.Uint16(list[2:]))
	if size < listHead || size > len(list) {
		return false
	}
	return entriesArePrivate(list[listHead:size], int(le.Uint16(list[4:])))
}

// at returns what begins at an offset of a descriptor; nil for 0, which stands for nothing.
func at(d []byte, off uint32) []byte {
	if off < headSize || uint64(off) > uint64(len(d)) {
		return nil
	}
	return d[off:]
}

// entriesArePrivate looks at n entries of an access list.
func entriesArePrivate(b []byte, n int) bool {
	for range n {
		if len(b) < aceHead {
			return false
		}
		size := int(binary.LittleEndian.Uint16(b[2:]))
		if size < aceHead || size > len(b) {
			return false
		}
		switch b[0] {
		case aceDeny, aceDenyCallback: // it lets nobody in
		case aceAllow:
			if !isOurs(b[aceHead:size]) {
				return false
			}
		default:
			return false
		}
		b = b[size:]
	}
	return true
}

// isOurs tells whether bytes begin with the identifier of SYSTEM or of administrators.
func isOurs(b []byte) bool {
	return len(b) >= sidHead && (bytes.HasPrefix(b, system) || bytes.HasPrefix(b, admins))
}
