package secureboot

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrProgram is the class of files that are no EFI programs.
var ErrProgram = errors.New("not an EFI program")

// Program is what an EFI program tells about itself.
type Program struct {
	Version Version
	// Hash is the Authenticode hash: of all but checksum and signatures.
	Hash [sha256.Size]byte
	// Signers has for each signature the common names of those who vouch for it: the issuer of the
	// signer's certificate first, then the issuers above that are in the file.
	Signers [][]string
	// Damaged: a signature names another hash.
	Damaged bool
	SBAT    SBAT // nil: it has no such section
}

// pe is a program while it is read. Offsets in the file are claims; at checks them.
type pe struct {
	b        []byte
	sections []section
	checksum int // where it stands in the header
	certs    int // where the directory of signatures stands
	signedAt int // where the signatures stand; the end of the file if there are none
	signed   []byte
	rsrc     uint32 // address of the resources, 0: none
}

type section struct {
	name                        string
	address, size, raw, rawSize uint32
}

// Sizes and places of the headers (Microsoft, PE Format).
const (
	peHeader       = 24 // signature and COFF header
	optionalPlus   = 112
	magicPlus      = 0x20b
	maxSections    = 96
	sectionHeader  = 40
	directoryRsrc  = 2
	directoryCerts = 4
)

// Parse reads a program. Errors: ErrProgram.
func Parse(b []byte) (*Program, error) {
	f, err := parsePE(b)
	if err != nil {
		return nil, err
	}
	p := &Program{Version: f.version(), Hash: f.hash(), SBAT: f.sbat()}
	for _, der := range certificates(f.signed) {
		s, err := parseSignature(der)
		if err != nil {
			continue // another kind of signature; the firmware passes it over as well
		}
		p.Signers = append(p.Signers, s.issuers)
		p.Damaged = p.Damaged || !bytes.Equal(s.digest, p.Hash[:])
	}
	if p.Damaged {
		p.Version = Version{}
	}
	return p, nil
}

// at returns bytes of the file, nil if it has not as many there.
func (f *pe) at(off, n int64) []byte {
	if off < 0 || n < 0 || off > int64(len(f.b)) || n > int64(len(f.b))-off {
		return nil
	}
	return f.b[off : off+n]
}

func parsePE(b []byte) (*pe, error) {
	le := binary.LittleEndian
	f := &pe{b: b}
	head := f.at(0, 0x40)
	if head == nil || !bytes.HasPrefix(head, []byte("MZ")) {
		return nil, fmt.Errorf("%w: no MZ header", ErrProgram)
	}
	start := int64(le.Uint32(head[0x3c:]))
	coff, optional := f.at(start, peHeader), f.at(start+peHeader, optionalPlus)
	if coff == nil || string(coff[:4]) != "PE\x00\x00" || optional == nil || le.Uint16(optional) != magicPlus {
		return nil, fmt.Errorf("%w: no PE32+ header at %d", ErrProgram, start)
	}
	f.checksum = int(start) + peHeader + 64
	f.certs = int(start) + peHeader + optionalPlus + 8*directoryCerts
	size, count := int64(le.Uint16(coff[20:])), int64(le.Uint16(coff[6:]))
	directories := int64(le.Uint32(optional[108:]))
	if directories <= directoryCerts || optionalPlus+8*directories > size {
		return nil, fmt.Errorf("%w: %d data directories in a header of %d bytes", ErrProgram, directories, size)
	}
	dirs, table := f.at(start+peHeader+optionalPlus, 8*directories), f.at(start+peHeader+size, count*sectionHeader)
	if dirs == nil || table == nil || count > maxSections {
		return nil, fmt.Errorf("%w: %d sections in %d bytes", ErrProgram, count, len(b))
	}
	for ; len(table) > 0; table = table[sectionHeader:] {
		f.sections = append(f.sections, section{string(bytes.TrimRight(table[:8], "\x00")),
			le.Uint32(table[12:]), le.Uint32(table[8:]), le.Uint32(table[20:]), le.Uint32(table[16:])})
	}
	f.rsrc = le.Uint32(dirs[8*directoryRsrc:])
	off, n := int64(le.Uint32(dirs[8*directoryCerts:])), int64(le.Uint32(dirs[8*directoryCerts+4:]))
	if n == 0 {
		off = int64(len(b))
	}
	if f.signed, f.signedAt = f.at(off, n), int(off); f.signed == nil || off < int64(f.certs)+8 {
		return nil, fmt.Errorf("%w: signatures at %d of %d bytes", ErrProgram, off, n)
	}
	return f, nil
}

// hash is the Authenticode hash of a file whose sections lie one behind the other, as linkers write
// them.
func (f *pe) hash() (sum [sha256.Size]byte) {
	h := sha256.New()
	h.Write(f.b[:f.checksum])
	h.Write(f.b[f.checksum+4 : f.certs])
	h.Write(f.b[f.certs+8 : f.signedAt])
	h.Write(f.b[f.signedAt+len(f.signed):])
	return [sha256.Size]byte(h.Sum(nil))
}

// content is what a section holds, nil if there is none of that name.
func (f *pe) content(name string) []byte {
	for _, s := range f.sections {
		if s.name == name {
			return f.at(int64(s.raw), int64(min(s.size, s.rawSize)))
		}
	}
	return nil
}

// loaded returns n bytes from where they are when the program is loaded.
func (f *pe) loaded(address, n uint32) []byte {
	for _, s := range f.sections {
		if address >= s.address && uint64(address)+uint64(n) <= uint64(s.address)+uint64(s.rawSize) {
			return f.at(int64(s.raw)+int64(address-s.address), int64(n))
		}
	}
	return nil
}

// Kinds and the name of resources.
const (
	resourceData    = 10 // RT_RCDATA
	resourceVersion = 16 // RT_VERSION
	resourceSVN     = "BOOTMGRSECURITYVERSIONNUMBER"
)

// version reads the two resources.
func (f *pe) version() (v Version) {
	le := binary.LittleEndian
	if b := f.resource(resourceData, resourceSVN); len(b) == 4 {
		v.SVN = SVN(le.Uint32(b)) // minor, then major
	}
	info := f.resource(resourceVersion, "")
	if i := bytes.Index(info, []byte{0xbd, 0x04, 0xef, 0xfe}); i >= 0 && len(info) >= i+16 { // VS_FIXEDFILEINFO
		v.File = FileVersion(uint64(le.Uint32(info[i+8:]))<<32 | uint64(le.Uint32(info[i+12:])))
	}
	return v
}

// resource finds one by its kind and name, "" = the first: three levels of folders, the last of
// which is of languages.
func (f *pe) resource(kind uint32, name string) []byte {
	if f.rsrc == 0 {
		return nil
	}
	at, ok := f.entry(0, func(id uint32) bool { return id == kind })
	if ok {
		at, ok = f.entry(at, func(id uint32) bool { return name == "" || f.named(id, name) })
	}
	if ok {
		at, ok = f.entry(at, func(uint32) bool { return true })
	}
	if !ok {
		return nil
	}
	b := f.loaded(f.rsrc+at, 8)
	if b == nil {
		return nil
	}
	return f.loaded(binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]))
}

const below = 1 << 31 // flag of an entry that is a folder, and of an id that is a name

// entry finds an entry of the folder at an offset of the resources, and where it leads.
func (f *pe) entry(at uint32, want func(id uint32) bool) (uint32, bool) {
	le := binary.LittleEndian
	head := f.loaded(f.rsrc+at, 16)
	if head == nil {
		return 0, false
	}
	n := uint32(le.Uint16(head[12:])) + uint32(le.Uint16(head[14:]))
	list := f.loaded(f.rsrc+at+16, 8*n)
	for ; len(list) > 0; list = list[8:] {
		if want(le.Uint32(list)) {
			return le.Uint32(list[4:]) &^ below, true
		}
	}
	return 0, false
}

// named tells whether an id is that name.
func (f *pe) named(id uint32, name string) bool {
	if id&below == 0 {
		return false
	}
	size := f.loaded(f.rsrc+id&^below, 2)
	if size == nil || int(binary.LittleEndian.Uint16(size)) != len(name) {
		return false
	}
	text := f.loaded(f.rsrc+id&^below+2, uint32(2*len(name)))
	for i := 0; i+1 < len(text); i += 2 {
		if text[i] != name[i/2] || text[i+1] != 0 {
			return false
		}
	}
	return text != nil
}
