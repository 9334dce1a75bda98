package ntfs

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// maxAttrList is the size NTFS allows an attribute list to have.
const maxAttrList = 256 << 10

// inode is a base record with the attributes of its extension records.
type inode struct {
	record
	extensions []Reference // extension records, for $LogFile
	hasList    bool
}

func (n *inode) what() string { return fmt.Sprintf("MFT record %d", n.ref.Record()) }

// load reads the base record number rec and every attribute that its attribute list
// names, each exactly where the list says it is.
func (v *Volume) load(rec int64) (*inode, error) {
	r, err := v.record(rec)
	if err != nil {
		return nil, err
	}
	n := &inode{record: *r}
	if r.flags&recordInUse == 0 {
		return nil, corrupt(n.what(), 0x16, "record is not in use")
	}
	if r.base != 0 {
		return nil, corrupt(n.what(), 0x20, "record is an extension of %v", r.base)
	}
	for i := range r.attrs {
		if r.attrs[i].typ == attrList {
			n.hasList = true
			return n, v.loadList(n, &r.attrs[i])
		}
	}
	return n, nil
}

// loadRef loads the base record that ref names and demands its sequence number.
func (v *Volume) loadRef(ref Reference) (*inode, error) {
	n, err := v.load(ref.Record())
	if err != nil {
		return nil, err
	}
	if n.ref.Sequence() != ref.Sequence() {
		return nil, corrupt(n.what(), 0x10, "sequence %d where %d was named", n.ref.Sequence(), ref.Sequence())
	}
	return n, nil
}

func (v *Volume) loadList(n *inode, list *attribute) error {
	s, err := v.segmentStream(n, []attribute{*list})
	if err != nil {
		return err
	}
	if s.size > maxAttrList || s.valid != s.size {
		return corrupt(n.what(), list.offset, "attribute list of %d bytes", s.size)
	}
	b := make([]byte, s.size)
	if _, err := s.ReadAt(b, 0); err != nil && err != io.EOF {
		return err
	}
	entries, err := parseAttrList(b, n.what())
	if err != nil {
		return err
	}
	return v.follow(n, entries)
}

// listEntry is one entry of an attribute list: attribute typ, name, id with the
// given first VCN lies in the record ref.
type listEntry struct {
	typ    uint32
	id     uint16
	name   string
	lowVCN int64
	ref    Reference
}

func parseAttrList(b []byte, what string) ([]listEntry, error) {
	what = "attribute list of " + what
	le := binary.LittleEndian
	var out []listEntry
	for off := 0; off < len(b); {
		e := b[off:]
		if len(e) < 0x1a {
			return nil, corrupt(what, off, "entry cut off")
		}
		length, nameLen, nameOff := int(le.Uint16(e[4:])), int(e[6]), int(e[7])
		if length < 0x1a || length%8 != 0 || length > len(e) || nameLen > 0 && nameOff+2*nameLen > length {
			return nil, corrupt(what, off, "entry of %d bytes", length)
		}
		le := listEntry{typ: le.Uint32(e), lowVCN: int64(le.Uint64(e[8:])),
			ref: Reference(le.Uint64(e[0x10:])), id: le.Uint16(e[0x18:])}
		if nameLen > 0 {
			le.name = utf16String(e[nameOff:][:2*nameLen])
		}
		out = append(out, le)
		off += length
	}
	return out, nil
}

// follow replaces n's attributes by those the entries name.
func (v *Volume) follow(n *inode, entries []listEntry) error {
	records := map[Reference]*record{n.ref: &n.record}
	var attrs []attribute
	for _, e := range entries {
		r := records[e.ref]
		if r == nil {
			var err error
			if r, err = v.extension(n, e.ref); err != nil {
				return err
			}
			records[e.ref] = r
			n.extensions = append(n.extensions, e.ref)
		}
		i := slices.IndexFunc(r.attrs, func(a attribute) bool {
			return a.typ == e.typ && a.id == e.id && a.name == e.name && a.lowVCN == e.lowVCN
		})
		if i < 0 {
			return corrupt(n.what(), -1, "attribute %#x at VCN %d is not in record %v", e.typ, e.lowVCN, e.ref)
		}
		attrs = append(attrs, r.attrs[i])
	}
	n.attrs = attrs
	return nil
}

func (v *Volume) extension(n *inode, ref Reference) (*record, error) {
	r, err := v.record(ref.Record())
	if err != nil {
		return nil, err
	}
	if r.ref != ref || r.base != n.ref || r.flags&recordInUse == 0 {
		return nil, corrupt(n.what(), -1, "record %v is not its extension (base %v)", r.ref, r.base)
	}
	return r, nil
}

// segments returns the attribute's segments in order of VCN.
func (n *inode) segments(typ uint32, name string) []attribute {
	var out []attribute
	for _, a := range n.attrs {
		if a.typ == typ && a.name == name {
			out = append(out, a)
		}
	}
	slices.SortStableFunc(out, func(a, b attribute) int { return cmp.Compare(a.lowVCN, b.lowVCN) })
	return out
}

// first returns the first attribute of the type, whatever its name.
func (n *inode) first(typ uint32) (attribute, bool) {
	for _, a := range n.attrs {
		if a.typ == typ {
			return a, true
		}
	}
	return attribute{}, false
}

// open returns the content of an attribute; ErrNotExist when there is none,
// ErrUnsupported when it is compressed or encrypted.
func (v *Volume) open(n *inode, typ uint32, name string) (*stream, error) {
	segs := n.segments(typ, name)
	if len(segs) == 0 {
		return nil, fmt.Errorf("%w: %s has no attribute %#x %q", ErrNotExist, n.what(), typ, name)
	}
	if segs[0].flags&(flagCompressed|flagEncrypted) != 0 && !segs[0].resident {
		return nil, fmt.Errorf("%s: compressed or encrypted content: %w", n.what(), ErrUnsupported)
	}
	return v.segmentStream(n, segs)
}

func (v *Volume) segmentStream(n *inode, segs []attribute) (*stream, error) {
	if segs[0].resident {
		if len(segs) > 1 {
			return nil, corrupt(n.what(), segs[1].offset, "attribute %#x stands twice", segs[0].typ)
		}
		return residentStream(segs[0].value), nil
	}
	runs, err := v.runs(n, segs)
	if err != nil {
		return nil, err
	}
	return v.newStream(runs, segs[0].size, segs[0].initialized), nil
}

// runs decodes all segments of a non-resident attribute; they must follow each other
// from VCN 0 to the allocated size.
func (v *Volume) runs(n *inode, segs []attribute) ([]Run, error) {
	var runs []Run
	var next int64
	for _, a := range segs {
		if a.resident || a.lowVCN != next {
			return nil, corrupt(n.what(), a.offset, "attribute %#x: VCN %d where %d has to follow", a.typ, a.lowVCN, next)
		}
		r, err := decodeRuns(a.pairs, a.highVCN-a.lowVCN+1, v.geo.Clusters)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.what(), err)
		}
		runs = append(runs, r...)
		next = a.highVCN + 1
	}
	if alloc := segs[0].allocated; alloc%int64(v.geo.ClusterSize) != 0 || alloc/int64(v.geo.ClusterSize) != next {
		return nil, corrupt(n.what(), segs[0].offset, "attribute %#x: %d clusters for %d allocated bytes", segs[0].typ, next, alloc)
	}
	return runs, nil
}
