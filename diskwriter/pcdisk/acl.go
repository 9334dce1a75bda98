package pcdisk

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// aclAttribute is where ntfs-3g takes a whole security descriptor.
const aclAttribute = "system.ntfs_acl"

// protect lets only SYSTEM and Administrators have a file or folder: the journal holds the machine's
// key, and students could change what they boot.
func protect(path string, folder bool) error {
	if err := unix.Setxattr(path, aclAttribute, ownersOnly(folder), 0); err != nil {
		return fmt.Errorf("%w: ntfs-3g does not take the access list of %s: %w", ErrTool, path, err)
	}
	return nil
}

// ownersOnly is the security descriptor O:BAG:SYD:P(A;;FA;;;SY)(A;;FA;;;BA), self-relative as NTFS
// keeps it (MS-DTYP 2.4.6). What is made in a folder later gets the same entries.
func ownersOnly(folder bool) []byte {
	const (
		head       = 20
		aclHead    = 8
		aceHead    = 8
		fullAccess = 0x1f01ff
		present    = 0x8000 | 0x1000 | 0x0004 // self-relative, access list protected and present
		inherited  = 3                        // by files and folders
	)
	system, admins := sid(18), sid(32, 544)
	var aces []byte
	for _, who := range [][]byte{system, admins} {
		ace := make([]byte, aceHead, aceHead+len(who))
		if folder {
			ace[1] = inherited
		}
		binary.LittleEndian.PutUint16(ace[2:], uint16(aceHead+len(who)))
		binary.LittleEndian.PutUint32(ace[4:], fullAccess)
		aces = append(aces, append(ace, who...)...)
	}
	d := make([]byte, head)
	d[0] = 1
	binary.LittleEndian.PutUint16(d[2:], present)
	binary.LittleEndian.PutUint32(d[4:], head)
	binary.LittleEndian.PutUint32(d[8:], uint32(head+len(admins)))
	binary.LittleEndian.PutUint32(d[16:], uint32(head+len(admins)+len(system)))
	d = append(append(d, admins...), system...)
	acl := make([]byte, aclHead)
	acl[0] = 2
	binary.LittleEndian.PutUint16(acl[2:], uint16(aclHead+len(aces)))
	binary.LittleEndian.PutUint16(acl[4:], 2)
	return append(append(d, acl...), aces...)
}

// sid is a security identifier of the NT authority.
func sid(parts ...uint32) []byte {
	b := []byte{1, byte(len(parts)), 0, 0, 0, 0, 0, 5}
	for _, p := range parts {
		b = binary.LittleEndian.AppendUint32(b, p)
	}
	return b
}
