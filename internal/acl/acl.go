// Package acl makes and judges the security descriptors of files that only SYSTEM and administrators
// may read: who else could is said by the bytes that NTFS keeps (MS-DTYP 2.4.6, self-relative).
package acl

import "encoding/binary"

// Lengths of the parts of a descriptor, and what its first bytes say.
const (
	headSize = 20
	listHead = 8 // of an access list
	aceHead  = 8 // of an entry, with its mask
	sidHead  = 8

	fullAccess   = 0x1f01ff
	listPresent  = 0x0004
	protected    = 0x1000 // entries of the folder are not inherited
	selfRelative = 0x8000
	inheritance  = 3 // an entry is also that of files and folders in a folder
)

// Kinds of entries. Others that let somebody do something are none of a file, or not known: they
// make a file not private.
const (
	aceAllow        = 0x00
	aceDeny         = 0x01
	aceDenyCallback = 0x0a
)

// The two that may read a private file.
var (
	system = sid(18)
	admins = sid(32, 544)
)

// sid is a security identifier of the NT authority.
func sid(parts ...uint32) []byte {
	b := []byte{1, byte(len(parts)), 0, 0, 0, 0, 0, 5}
	for _, p := range parts {
		b = binary.LittleEndian.AppendUint32(b, p)
	}
	return b
}

// Private is the descriptor O:BAG:SYD:P(A;;FA;;;SY)(A;;FA;;;BA). That of a folder is inherited by what
// is made there later.
func Private(folder bool) []byte {
	flags := byte(0)
	if folder {
		flags = inheritance
	}
	return descriptor(flags, system, admins)
}

// System is the descriptor O:BAG:SYD:P(A;;FA;;;SY), of 76 bytes. Administrators own the file, so they
// can let themselves in.
func System() []byte { return descriptor(0, system) }

// descriptor gives each of a list full access.
func descriptor(flags byte, list ...[]byte) []byte {
	le := binary.LittleEndian
	var aces []byte
	for _, who := range list {
		ace := make([]byte, aceHead, aceHead+len(who))
		ace[1] = flags
		le.PutUint16(ace[2:], uint16(aceHead+len(who)))
		le.PutUint32(ace[4:], fullAccess)
		aces = append(aces, append(ace, who...)...)
	}
	d := make([]byte, headSize)
	d[0] = 1
	le.PutUint16(d[2:], selfRelative|protected|listPresent)
	le.PutUint32(d[4:], headSize)
	le.PutUint32(d[8:], uint32(headSize+len(admins)))
	le.PutUint32(d[16:], uint32(headSize+len(admins)+len(system)))
	d = append(append(d, admins...), system...)
	head := make([]byte, listHead)
	head[0] = 2
	le.PutUint16(head[2:], uint16(listHead+len(aces)))
	le.PutUint16(head[4:], uint16(len(list)))
	return append(append(d, head...), aces...)
}
