package ntfs

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
)

const (
	entryNode = 1 // an index entry has a sub-node
	entryLast = 2
)

// Entry is one name in a directory. A file with a short DOS name has two.
type Entry struct {
	Name      string
	Reference Reference
}

// index walks an index of one file.
type index struct {
	v       *Volume
	n       *inode
	alloc   *stream // nil for a small index
	unit    int64   // bytes of one sub-node VCN
	size    int     // bytes of an index block
	visited map[int64]bool
	// visit gets an entry, whose key of that many bytes begins at 0x10.
	visit func(e []byte, key int, what string) error
}

// walk calls visit for every entry of a directory.
func (v *Volume) walk(n *inode, visit func(fileName, Reference) error) error {
	if n.flags&recordDirectory == 0 {
		return fmt.Errorf("%s is not a directory: %w", n.what(), ErrNotExist)
	}
	return v.walkIndex(n, "$I30", attrFileName, func(e []byte, key int, what string) error {
		fn, err := parseFileName(e[0x10:][:key], what)
		if err != nil {
			return err
		}
		if fn.parent != n.ref {
			return corrupt(what, -1, "entry belongs to directory %v", fn.parent)
		}
		return visit(fn, Reference(binary.LittleEndian.Uint64(e)))
	})
}

// walkIndex calls visit for every entry of an index of that name, of attributes of that type. It
// reads the whole tree instead of descending by order, so that a key is found whatever the collation
// thinks of it.
func (v *Volume) walkIndex(n *inode, name string, typ uint32, visit func(e []byte, key int, what string) error) error {
	root, err := v.open(n, attrIndexRoot, name)
	if err != nil {
		return err
	}
	b := root.value
	if len(b) < 0x20 || binary.LittleEndian.Uint32(b) != typ {
		return corrupt(n.what(), -1, "index root of %d bytes", len(b))
	}
	d := &index{v: v, n: n, visit: visit, visited: map[int64]bool{},
		size: int(binary.LittleEndian.Uint32(b[8:])), unit: int64(v.geo.ClusterSize)}
	if !powerOfTwo(d.size, maxClusterSize) {
		return corrupt(n.what(), -1, "index blocks of %d bytes", d.size)
	}
	if d.size < v.geo.ClusterSize {
		d.unit = blockSize
	}
	if len(n.segments(attrIndexAlloc, name)) > 0 {
		if d.alloc, err = v.open(n, attrIndexAlloc, name); err != nil {
			return err
		}
	}
	return d.node(b[0x10:], 0)
}

// node walks an index node header and its entries (MS-FSA calls it INDEX_HEADER).
func (d *index) node(b []byte, depth int) error {
	le := binary.LittleEndian
	what := "index of " + d.n.what()
	if depth > 32 || len(b) < 0x10 {
		return corrupt(what, -1, "tree is too deep or cut off")
	}
	first, used := le.Uint32(b), le.Uint32(b[4:])
	if first < 0x10 || first%8 != 0 || first > used || used > uint32(len(b)) {
		return corrupt(what, 0, "entries from %d to %d of %d", first, used, len(b))
	}
	for e := b[first:used]; ; {
		if len(e) < 0x10 {
			return corrupt(what, -1, "entries have no end")
		}
		length, key, flags := int(le.Uint16(e[8:])), int(le.Uint16(e[0xa:])), le.Uint16(e[0xc:])
		if length < 0x10 || length%8 != 0 || length > len(e) || key > length-0x10 ||
			flags&entryNode != 0 && length < 0x18 {
			return corrupt(what, len(b)-len(e), "entry of %d bytes with a key of %d", length, key)
		}
		if flags&entryNode != 0 {
			if err := d.block(int64(le.Uint64(e[length-8:])), depth+1); err != nil {
				return err
			}
		}
		if flags&entryLast != 0 {
			return nil
		}
		if err := d.visit(e[:length], key, what); err != nil {
			return err
		}
		e = e[length:]
	}
}

// block reads the index block at a sub-node VCN, each at most once.
func (d *index) block(vcn int64, depth int) error {
	what := "index of " + d.n.what()
	if d.alloc == nil || vcn < 0 || vcn > d.alloc.size/d.unit || d.visited[vcn] {
		return corrupt(what, -1, "sub-node at VCN %d", vcn)
	}
	d.visited[vcn] = true
	if vcn*d.unit > d.alloc.valid-int64(d.size) {
		return corrupt(what, -1, "sub-node at VCN %d behind the end", vcn)
	}
	b := make([]byte, d.size)
	if _, err := d.alloc.ReadAt(b, vcn*d.unit); err != nil {
		return err
	}
	if err := unprotect(b, "INDX", what); err != nil {
		return err
	}
	if at := int64(binary.LittleEndian.Uint64(b[0x10:])); at != vcn {
		return corrupt(what, 0x10, "block of VCN %d stands at VCN %d", at, vcn)
	}
	return d.node(b[0x18:], depth)
}

// child finds one name in a directory. Two files whose names differ in case only
// are an error: which one Windows means is not for us to guess.
func (v *Volume) child(dir *inode, name string) (Reference, error) {
	units := utf16.Encode([]rune(name))
	var found Reference
	err := v.walk(dir, func(fn fileName, ref Reference) error {
		if !v.upcase.equal(fn.name, units) {
			return nil
		}
		if found != 0 && found != ref {
			return corrupt("index of "+dir.what(), -1, "two files are called %q", name)
		}
		found = ref
		return nil
	})
	if err == nil && found == 0 {
		err = ErrNotExist
	}
	return found, err
}

// Lookup returns the MFT reference of a path from the root such as
// `\Troy\base.vhdx`; slashes do as well, upper and lower case are the same.
// It returns ErrNotExist or a FormatError.
func (v *Volume) Lookup(path string) (Reference, error) {
	n, _, err := v.lookup(path)
	if err != nil {
		return 0, err
	}
	return n.ref, nil
}

// lookup returns the inode of a path and the reference of its directory.
func (v *Volume) lookup(path string) (n *inode, parent Reference, err error) {
	if n, err = v.load(recordRoot); err != nil {
		return nil, 0, err
	}
	for _, name := range strings.FieldsFunc(path, func(c rune) bool { return c == '\\' || c == '/' }) {
		parent = n.ref
		ref, err := v.child(n, name)
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w", path, err)
		}
		if n, err = v.loadRef(ref); err != nil {
			return nil, 0, fmt.Errorf("%s: %w", path, err)
		}
	}
	return n, parent, nil
}

// List returns the names in the directory at path, DOS names left out.
func (v *Volume) List(path string) ([]Entry, error) {
	n, _, err := v.lookup(path)
	if err != nil {
		return nil, err
	}
	var out []Entry
	err = v.walk(n, func(fn fileName, ref Reference) error {
		if fn.space != 2 {
			out = append(out, Entry{Name: utf16String(fn.name), Reference: ref})
		}
		return nil
	})
	return out, err
}
