package ntfs

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

const (
	// securityIDAt is where $STANDARD_INFORMATION of NTFS 3.0 and later names the descriptor.
	securityIDAt = 0x34
	// securityHead is what $SDS has before a descriptor, and what $SII says of it: hash, id, offset
	// and length of both together.
	securityHead = 20
	// maxDescriptor is how much of $SDS stands before its copy: no descriptor crosses that.
	maxDescriptor = 256 << 10
)

// SecurityDescriptor returns the security descriptor of the file or folder at path, self-relative as
// MS-DTYP 2.4.6 has it. ErrNotExist: there is no such file, or none says who may read it.
func (v *Volume) SecurityDescriptor(path string) ([]byte, error) {
	n, _, err := v.lookup(path)
	if err != nil {
		return nil, err
	}
	b, err := v.descriptor(n)
	if err != nil {
		return nil, fmt.Errorf("%s: security descriptor: %w", path, err)
	}
	return b, nil
}

// descriptor reads the descriptor of a file: its own, or the one in $Secure that it names.
func (v *Volume) descriptor(n *inode) ([]byte, error) {
	if _, own := n.first(attrSecurity); own {
		s, err := v.open(n, attrSecurity, "")
		if err != nil {
			return nil, err
		}
		return readDescriptor(s, 0, s.size, n.what())
	}
	a, ok := n.first(attrStandard)
	if !ok || !a.resident {
		return nil, corrupt(n.what(), -1, "no $STANDARD_INFORMATION")
	}
	if len(a.value) < securityIDAt+4 {
		return nil, ErrNotExist
	}
	id := binary.LittleEndian.Uint32(a.value[securityIDAt:])
	if id == 0 {
		return nil, ErrNotExist
	}
	return v.shared(id)
}

// securityEntry is what $SII says of a descriptor, and $SDS once more before it.
type securityEntry struct {
	hash, id uint32
	at, size int64 // in $SDS, with the head
}

func parseSecurity(b []byte) securityEntry {
	le := binary.LittleEndian
	return securityEntry{le.Uint32(b), le.Uint32(b[4:]), int64(le.Uint64(b[8:])), int64(le.Uint32(b[16:]))}
}

// parseSecurityEntry reads an entry of $SII: the key is the id.
func parseSecurityEntry(e []byte, key int, what string) (s securityEntry, err error) {
	le := binary.LittleEndian
	off, n := int(le.Uint16(e)), int(le.Uint16(e[2:]))
	if key != 4 || n < securityHead || off < 0x14 || off > len(e)-n {
		return s, corrupt(what, 0, "entry with a key of %d and %d bytes at %d", key, n, off)
	}
	s = parseSecurity(e[off:])
	if s.id != le.Uint32(e[0x10:]) {
		return s, corrupt(what, 0x10, "the entry of descriptor %d is that of %d", le.Uint32(e[0x10:]), s.id)
	}
	return s, nil
}

// shared reads a descriptor of $Secure by its id.
func (v *Volume) shared(id uint32) ([]byte, error) {
	n, err := v.load(recordSecure)
	if err != nil {
		return nil, err
	}
	var found *securityEntry
	err = v.walkIndex(n, "$SII", 0, func(e []byte, key int, what string) error {
		s, err := parseSecurityEntry(e, key, what)
		if err != nil || s.id != id {
			return err
		}
		if found != nil {
			return corrupt(what, -1, "two entries of descriptor %d", id)
		}
		found = &s
		return nil
	})
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, corrupt("$Secure", -1, "no descriptor %d", id)
	}
	sds, err := v.open(n, attrData, "$SDS")
	if err != nil {
		return nil, err
	}
	return readShared(sds, *found)
}

// readShared reads a descriptor of $SDS if everything there says what $SII says.
func readShared(sds *stream, want securityEntry) ([]byte, error) {
	const what = "$Secure:$SDS"
	if want.size <= securityHead || want.at < 0 || want.at > sds.valid-securityHead {
		return nil, corrupt(what, -1, "descriptor %d of %d bytes at %d", want.id, want.size, want.at)
	}
	head := make([]byte, securityHead)
	if _, err := sds.ReadAt(head, want.at); err != nil {
		return nil, err
	}
	if parseSecurity(head) != want {
		return nil, corrupt(what, int(want.at), "the head of descriptor %d is not as $SII has it", want.id)
	}
	b, err := readDescriptor(sds, want.at+securityHead, want.size-securityHead, what)
	if err == nil && securityHash(b) != want.hash {
		return nil, corrupt(what, int(want.at), "descriptor %d has another hash", want.id)
	}
	return b, err
}

// readDescriptor reads n bytes, if so many are there.
func readDescriptor(s *stream, at, n int64, what string) ([]byte, error) {
	if n < 20 || n > maxDescriptor || at > s.valid-n {
		return nil, corrupt(what, -1, "security descriptor of %d bytes", n)
	}
	b := make([]byte, n)
	_, err := s.ReadAt(b, at)
	return b, err
}

// securityHash is the one by which $SDH finds descriptors that are equal.
func securityHash(b []byte) (h uint32) {
	for ; len(b) >= 4; b = b[4:] {
		h = bits.RotateLeft32(h, 3) + binary.LittleEndian.Uint32(b)
	}
	return h
}

// SecurityPatches computes what would give the file at path another descriptor of its own: its MFT
// record, with new fixups. It takes a file that has one which is at least as long, as programs of
// ntfs-3g make them. The rules of AllocatePatches hold for who writes them.
func (v *Volume) SecurityPatches(path string, d []byte) ([]Patch, error) {
	n, _, err := v.lookup(path)
	if err != nil {
		return nil, err
	}
	segs := n.segments(attrSecurity, "")
	if n.hasList || len(segs) != 1 || !segs[0].resident || len(segs[0].value) < len(d) {
		return nil, fmt.Errorf("%s: %w: it has no security descriptor with room for %d bytes", path, ErrUnsupported, len(d))
	}
	b, err := v.rawRecord(n.ref.Record())
	if err != nil {
		return nil, err
	}
	if err := unprotect(b, "FILE", n.what()); err != nil {
		return nil, err
	}
	at := segs[0].offset + int(binary.LittleEndian.Uint16(b[segs[0].offset+0x14:]))
	old := b[at:][:len(segs[0].value)]
	clear(old)
	copy(old, d)
	protect(b)
	return v.recordPatches(n.ref, b), nil
}
