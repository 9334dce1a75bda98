package foreign

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"unicode/utf16"
)

// Parts of a VHD (Virtual Hard Disk Image Format Specification 1.0). Numbers are big-endian.
const (
	footerSize = 512
	cookie     = "conectix"
	dynCookie  = "cxsparse"

	diskFixed        = 2
	diskDynamic      = 3
	diskDifferencing = 4

	// maxParents bounds a chain.
	maxParents = 64
)

// footer returns where the footer lies, -1 if there is none. The copy at the start is preferred:
// only dynamic and differencing disks have it.
func (f *file) footer() int64 {
	// Before Virtual PC 2004 the footer had 511 bytes.
	for _, off := range []int64{0, f.size - footerSize, f.size - footerSize + 1} {
		if off >= 0 && f.at(off, cookie) {
			return off
		}
	}
	return -1
}

// vhd is what is read of one file.
type vhd struct {
	kind   uint32
	size   int64
	id     [16]byte
	parent [16]byte // of a differencing disk
	name   string   // that it gives its parent
}

func (f *file) vhd() (*vhd, error) {
	off := f.footer()
	if off < 0 {
		return nil, fmt.Errorf("%w: %s is no VHD", ErrNotWhole, f.path)
	}
	b, err := f.bytes(off, footerSize-1)
	if err != nil {
		return nil, err
	}
	be := binary.BigEndian
	v := &vhd{kind: be.Uint32(b[60:]), size: int64(be.Uint64(b[48:])), id: [16]byte(b[68:84])}
	switch v.kind {
	case diskFixed, diskDynamic:
		return v, nil
	case diskDifferencing:
		return v, v.readParent(f, int64(be.Uint64(b[16:])))
	}
	return nil, fmt.Errorf("%w: %s is a VHD of type %d", ErrUnsupported, f.path, v.kind)
}

// readParent reads the dynamic header at off. The name is that of the relative locator, else that
// of the header: the last part of a Windows path.
func (v *vhd) readParent(f *file, off int64) error {
	b, err := f.bytes(off, 1024)
	if err != nil {
		return err
	}
	if string(b[:8]) != dynCookie {
		return fmt.Errorf("%w: %s has no dynamic header where its footer says", ErrDamaged, f.path)
	}
	be := binary.BigEndian
	v.parent, v.name = [16]byte(b[40:56]), decode(b[64:576], be)
	for at := 576; at < 768; at += 24 {
		l := b[at : at+24]
		n := be.Uint32(l[8:])
		if string(l[:4]) != "W2ru" || n == 0 || n > 4096 {
			continue
		}
		text, err := f.bytes(int64(be.Uint64(l[16:])), int(n))
		if err != nil {
			return err
		}
		v.name = strings.TrimPrefix(decode(text, binary.LittleEndian), `.\`)
	}
	return nil
}

func decode(b []byte, order binary.ByteOrder) string {
	var units []uint16
	for i := 0; i+1 < len(b); i += 2 {
		u := order.Uint16(b[i:])
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}

// readVHD follows the parents of a differencing disk: each has to be there, the right one, and in
// the same folder.
func readVHD(f *file) (*Image, error) {
	v, err := f.vhd()
	if err != nil {
		return nil, err
	}
	i := &Image{Size: v.size, driver: "vpc"}
	if v.kind != diskDifferencing {
		return i, nil
	}
	i.Kind, i.driver = "differencing VHD", ""
	for child := f.path; v.kind == diskDifferencing; child = i.Files[len(i.Files)-1] {
		if len(i.Files) == maxParents {
			return nil, fmt.Errorf("%w: %s has more than %d parents", ErrUnsupported, f.path, maxParents)
		}
		path, err := beside(child, v.name)
		if err != nil {
			return nil, err
		}
		below, err := vhdFile(path)
		if err != nil {
			return nil, err
		}
		if below.id != v.parent {
			return nil, fmt.Errorf("%w: %s is not the parent of %s: their identities differ", ErrNotWhole, path, child)
		}
		i.Files, v = append(i.Files, path), below
	}
	return i, nil
}

func vhdFile(path string) (*vhd, error) {
	o, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	st, err := o.Stat()
	if err != nil {
		return nil, err
	}
	return (&file{o, path, st.Size()}).vhd()
}
