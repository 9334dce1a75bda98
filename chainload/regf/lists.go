package regf

import (
	"encoding/binary"
	"fmt"
)

func unsupported(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnsupported, fmt.Sprintf(format, args...))
}

// subkeys reads the list of subkeys of k, whose nk cell stands at off.
func (p *parser) subkeys(k *Key, off, list, count uint32, depth int) error {
	if count == 0 {
		return nil
	}
	cells, err := p.list(list, true)
	if err != nil {
		return err
	}
	if int64(len(cells)) != int64(count) {
		return corrupt("nk", fileOffset(off), "%d subkeys announced, %d listed", count, len(cells))
	}
	k.Keys = make([]*Key, len(cells))
	for i, c := range cells {
		if k.Keys[i], err = p.key(c, off, depth+1); err != nil {
			return err
		}
	}
	return sorted(k, off)
}

// sorted refuses a list that binary search, as Windows does it, would miss
// keys in.
func sorted(k *Key, off uint32) error {
	for i := 1; i < len(k.Keys); i++ {
		if compareNames(k.Keys[i-1].Name, k.Keys[i].Name) >= 0 {
			return corrupt("nk", fileOffset(off), "subkeys %q and %q out of order or equal", k.Keys[i-1].Name, k.Keys[i].Name)
		}
	}
	return nil
}

// list returns the nk offsets of an lf, lh, li or, one level deep, ri list.
func (p *parser) list(off uint32, nested bool) ([]uint32, error) {
	c, err := p.cell(off, "subkey list", 4)
	if err != nil {
		return nil, err
	}
	kind, count := string(c[:2]), int(binary.LittleEndian.Uint16(c[2:]))
	stride := map[string]int{"lf": 8, "lh": 8, "li": 4, "ri": 4}[kind]
	if stride == 0 || kind == "ri" && !nested {
		return nil, corrupt("subkey list", fileOffset(off), "signature %q", kind)
	}
	if 4+count*stride > len(c) {
		return nil, corrupt(kind, fileOffset(off), "%d entries in a cell of %d bytes", count, len(c))
	}
	if kind == "ri" && p.owned[off] {
		return nil, corrupt(kind, fileOffset(off), "belongs to two owners")
	}
	p.owned[off] = true
	var out []uint32
	for i := range count {
		entry := binary.LittleEndian.Uint32(c[4+i*stride:])
		if kind != "ri" {
			out = append(out, entry)
			continue
		}
		// An inner list counted twice would make the work quadratic.
		if p.owned[entry] {
			return nil, corrupt(kind, fileOffset(off), "list at %#x belongs to two owners", fileOffset(entry))
		}
		inner, err := p.list(entry, false)
		if err != nil {
			return nil, err
		}
		out = append(out, inner...)
	}
	return out, nil
}
