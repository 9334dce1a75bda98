package regf

import (
	"cmp"
	"encoding/binary"
	"slices"
	"troy/internal/utf16le"
	"unicode"
	"unicode/utf16"
)

// defaultSecurity returns the descriptor of a root key that has none: owner
// Administrators, group SYSTEM, inherited full control for these two
// (O:BAG:SYD:PAI(A;CI;KA;;;SY)(A;CI;KA;;;BA), MS-DTYP 2.4.6).
func defaultSecurity() []byte {
	system := []byte{1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0}
	admins := []byte{1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0}
	ace := func(sid []byte) []byte { // allow, CONTAINER_INHERIT, KEY_ALL_ACCESS
		return append([]byte{0, 2, byte(8 + len(sid)), 0, 0x3f, 0, 0x0f, 0}, sid...)
	}
	aces := append(ace(system), ace(admins)...)
	acl := append([]byte{2, 0, byte(8 + len(aces)), 0, 2, 0, 0, 0}, aces...)
	owner := 20 + len(acl)
	// self relative, DACL present, DACL protected and auto-inherited
	d := []byte{1, 0, 0x04, 0x94, byte(owner), 0, 0, 0, byte(owner + len(admins)), 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0}
	return slices.Concat(d, acl, admins, system)
}

// Marshal returns the hive as the bytes of a file, version 1.3, clean. Keys
// and values are written in the order of Windows (upper-case name), whatever
// their order in the tree; the tree is not changed. The error wraps
// ErrUnsupported for a tree that does not fit the format.
func (h *Hive) Marshal() ([]byte, error) {
	if h.Root == nil {
		return nil, unsupported("hive without a root key")
	}
	w := &writer{time: h.Time, security: map[string]uint32{}}
	root, err := w.key(h.Root, none, defaultSecurity(), 0)
	if err != nil {
		return nil, err
	}
	w.closeBin()
	w.linkSecurity()
	if len(w.bins) > MaxSize-baseSize {
		return nil, unsupported("hive of %d bytes, the limit is %d", len(w.bins)+baseSize, MaxSize)
	}
	return append(h.marshalBase(root, len(w.bins)), w.bins...), nil
}

func (h *Hive) marshalBase(root uint32, length int) []byte {
	b := make([]byte, baseSize)
	le := binary.LittleEndian
	copy(b, "regf")
	le.PutUint32(b[4:], h.Sequence)
	le.PutUint32(b[8:], h.Sequence)
	le.PutUint64(b[12:], h.Time)
	le.PutUint32(b[20:], 1)
	le.PutUint32(b[24:], 3)
	le.PutUint32(b[32:], 1)
	le.PutUint32(b[36:], root)
	le.PutUint32(b[40:], uint32(length))
	le.PutUint32(b[44:], 1) // clustering factor
	name := utf16le.Append(nil, h.FileName)
	copy(b[48:110], name[max(0, len(name)-62):])
	le.PutUint32(b[508:], checksum(b))
	return b
}

// writer places cells one after the other into bins.
type writer struct {
	bins     []byte
	binEnd   int // where the open bin ends; equals len(bins) when none is open
	time     uint64
	security map[string]uint32 // descriptor to its sk cell
	skCells  []uint32          // in order of placement
}

// alloc returns the offset of a new cell for n bytes of content. Content is
// reached by at, since the backing array may move.
func (w *writer) alloc(n int) uint32 {
	size := (n + 4 + 7) &^ 7
	if len(w.bins)+size > w.binEnd {
		w.closeBin()
		w.openBin(size)
	}
	off := len(w.bins)
	w.bins = append(w.bins, make([]byte, size)...)
	binary.LittleEndian.PutUint32(w.bins[off:], uint32(-size))
	return uint32(off)
}

// at returns the content of the cell at off.
func (w *writer) at(off uint32) []byte { return w.bins[off+4:] }

func (w *writer) put(content []byte) uint32 {
	off := w.alloc(len(content))
	copy(w.at(off), content)
	return off
}

func (w *writer) openBin(cell int) {
	size := (binHead + cell + binAlign - 1) &^ (binAlign - 1)
	off := len(w.bins)
	h := make([]byte, binHead)
	copy(h, "hbin")
	binary.LittleEndian.PutUint32(h[4:], uint32(off))
	binary.LittleEndian.PutUint32(h[8:], uint32(size))
	if off == 0 {
		binary.LittleEndian.PutUint64(h[20:], w.time)
	}
	w.bins = append(w.bins, h...)
	w.binEnd = off + size
}

// closeBin makes what is left of the open bin one free cell.
func (w *writer) closeBin() {
	left := w.binEnd - len(w.bins)
	if left > 0 {
		free := make([]byte, left)
		binary.LittleEndian.PutUint32(free, uint32(left))
		w.bins = append(w.bins, free...)
	}
}

// key writes a key and all below it and returns the offset of its nk cell.
// inherited is the security descriptor of the parent.
func (w *writer) key(k *Key, parent uint32, inherited []byte, depth int) (uint32, error) {
	name, latin1 := encodeName(k.Name)
	switch {
	case depth > maxDepth:
		return 0, unsupported("keys nest deeper than %d", maxDepth)
	case len(name) == 0 || utf16Len(k.Name) > 255:
		return 0, unsupported("key name of %d bytes, want 1 to 255 characters", len(name))
	case len(k.Keys) > maxSubkeys:
		return 0, unsupported("key %q with %d subkeys, the limit is %d", k.Name, len(k.Keys), maxSubkeys)
	case len(k.Class) > 0xffff:
		return 0, unsupported("key %q: class name of %d bytes", k.Name, len(k.Class))
	}
	security := k.Security
	if security == nil {
		security = inherited
	}
	off := w.alloc(0x4c + len(name))
	w.keyHead(off, k, parent, name, latin1, depth == 0)
	w.setKey(off, 0x2c, w.securityCell(security))
	if len(k.Class) > 0 {
		w.setKey(off, 0x30, w.put(k.Class))
	}
	if err := w.values(off, k); err != nil {
		return 0, err
	}
	return off, w.subkeys(off, k, security, depth)
}

// keyHead fills what an nk cell holds before anything below the key is placed.
func (w *writer) keyHead(off uint32, k *Key, parent uint32, name []byte, latin1, root bool) {
	flags := k.Flags &^ flagLatin1
	if latin1 {
		flags |= flagLatin1
	}
	if root {
		flags |= flagRoot | flagNoDelete
	}
	c, le := w.at(off), binary.LittleEndian
	copy(c, "nk")
	le.PutUint16(c[2:], flags)
	le.PutUint64(c[4:], k.Time)
	le.PutUint32(c[0x10:], parent)
	for _, list := range []int{0x1c, 0x20, 0x28, 0x2c, 0x30} {
		le.PutUint32(c[list:], none)
	}
	le.PutUint16(c[0x48:], uint16(len(name)))
	le.PutUint16(c[0x4a:], uint16(len(k.Class)))
	copy(c[0x4c:], name)
}

func (w *writer) setKey(off uint32, field int, v uint32) {
	binary.LittleEndian.PutUint32(w.at(off)[field:], v)
}

func (w *writer) values(off uint32, k *Key) error {
	if len(k.Values) == 0 {
		return nil
	}
	var longestName, longestData int
	list := w.alloc(4 * len(k.Values))
	for i, v := range k.Values {
		cell, err := w.value(v)
		if err != nil {
			return err
		}
		w.setKey(list, 4*i, cell)
		longestName = max(longestName, 2*utf16Len(v.Name))
		longestData = max(longestData, len(v.Data))
	}
	w.setKey(off, 0x24, uint32(len(k.Values)))
	w.setKey(off, 0x28, list)
	w.setKey(off, 0x3c, uint32(longestName))
	w.setKey(off, 0x40, uint32(longestData))
	return nil
}

func (w *writer) value(v *Value) (uint32, error) {
	name, latin1 := encodeName(v.Name)
	if len(name) > 0xffff || len(v.Data) > MaxSize {
		return 0, unsupported("value with a name of %d and data of %d bytes", len(name), len(v.Data))
	}
	off := w.alloc(0x14 + len(name))
	c, le := w.at(off), binary.LittleEndian
	copy(c, "vk")
	le.PutUint16(c[2:], uint16(len(name)))
	le.PutUint32(c[4:], uint32(len(v.Data)))
	le.PutUint32(c[12:], uint32(v.Type))
	if latin1 && len(name) > 0 {
		le.PutUint16(c[16:], vkLatin1)
	}
	copy(c[0x14:], name)
	if len(v.Data) <= 4 {
		le.PutUint32(c[4:], inline|uint32(len(v.Data)))
		copy(c[8:12], v.Data)
		return off, nil
	}
	w.setKey(off, 8, w.put(v.Data))
	return off, nil
}

// subkeys writes the keys below k and their lf list.
func (w *writer) subkeys(off uint32, k *Key, security []byte, depth int) error {
	if len(k.Keys) == 0 {
		return nil
	}
	keys := slices.SortedStableFunc(slices.Values(k.Keys), func(a, b *Key) int { return compareNames(a.Name, b.Name) })
	list := w.alloc(4 + 8*len(keys))
	c := w.at(list)
	copy(c, "lf")
	binary.LittleEndian.PutUint16(c[2:], uint16(len(keys)))
	var longest int
	for i, s := range keys {
		if i > 0 && compareNames(keys[i-1].Name, s.Name) == 0 {
			return unsupported("key %q has two subkeys %q", k.Name, s.Name)
		}
		cell, err := w.key(s, off, security, depth+1)
		if err != nil {
			return err
		}
		w.setKey(list, 4+8*i, cell)
		copy(w.at(list)[8+8*i:12+8*i], hint(s.Name))
		longest = max(longest, 2*utf16Len(s.Name))
	}
	w.setKey(off, 0x14, uint32(len(keys)))
	w.setKey(off, 0x1c, list)
	w.setKey(off, 0x34, uint32(longest))
	return nil
}

// securityCell returns the sk cell of a descriptor and counts its use.
func (w *writer) securityCell(d []byte) uint32 {
	off, ok := w.security[string(d)]
	if !ok {
		off = w.alloc(20 + len(d))
		c := w.at(off)
		copy(c, "sk")
		binary.LittleEndian.PutUint32(c[16:], uint32(len(d)))
		copy(c[20:], d)
		w.security[string(d)] = off
		w.skCells = append(w.skCells, off)
	}
	uses := w.at(off)[12:]
	binary.LittleEndian.PutUint32(uses, binary.LittleEndian.Uint32(uses)+1)
	return off
}

// linkSecurity closes the ring of sk cells.
func (w *writer) linkSecurity() {
	for i, off := range w.skCells {
		next := w.skCells[(i+1)%len(w.skCells)]
		w.setKey(off, 4, next)
		w.setKey(next, 8, off)
	}
}

// encodeName gives a name one byte per character where that can hold it.
func encodeName(s string) (name []byte, latin1 bool) {
	for _, r := range s {
		if r > 0xff {
			return utf16le.Append(nil, s), false
		}
		name = append(name, byte(r))
	}
	return name, true
}

// hint is the start of the name that an lf list repeats; none for names
// beyond one byte per character.
func hint(s string) []byte {
	name, latin1 := encodeName(s)
	if !latin1 {
		return nil
	}
	return name[:min(4, len(name))]
}

func utf16Len(s string) int { return len(utf16le.Units(s)) }

// compareNames orders keys as Windows does: UTF-16 units of the upper-case name.
func compareNames(a, b string) int {
	return slices.CompareFunc(upper(a), upper(b), cmp.Compare)
}

func upper(s string) []uint16 {
	units := utf16le.Units(s)
	for i, u := range units {
		if r := rune(u); !utf16.IsSurrogate(r) {
			units[i] = uint16(unicode.ToUpper(r))
		}
	}
	return units
}
