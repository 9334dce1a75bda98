package ntfs

import (
	"encoding/binary"
	"fmt"
)

// Patch is bytes that a caller could write at a byte offset of the volume.
type Patch struct {
	Offset int64
	Data   []byte
}

// AllocatePatches computes what would turn the empty file at path into one of the
// given runs, not sparse, its valid length equal to its size (as SetFileValidData
// does in Windows): the bytes of $Bitmap and the MFT record, whole, with new fixups.
// The size is that of the runs.
//
// The reader itself writes nothing. Only a caller that has just made the volume and
// has it unmounted may write the patches; the file then reads as whatever the disk
// holds at its clusters. Several files are done one by one, each on a Volume opened
// after the patches before it were written.
func (v *Volume) AllocatePatches(path string, runs []Run) ([]Patch, error) {
	n, _, err := v.lookup(path)
	if err != nil {
		return nil, err
	}
	segs := n.segments(attrData, "")
	if n.hasList || len(segs) != 1 || !segs[0].resident || len(segs[0].value) != 0 || segs[0].flags != 0 {
		return nil, fmt.Errorf("%s: %w: only a new and empty file can be allocated", path, ErrUnsupported)
	}
	bits, err := v.bitmapPatches(runs)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	b, err := v.rawRecord(n.ref.Record())
	if err != nil {
		return nil, err
	}
	if err := unprotect(b, "FILE", n.what()); err != nil {
		return nil, err
	}
	if err := v.setData(b, segs[0], runs); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	protect(b)
	return append(bits, v.recordPatches(n.ref, b)...), nil
}

// setData replaces the resident $DATA header d in the record b by a non-resident one.
func (v *Volume) setData(b []byte, d attribute, runs []Run) error {
	var clusters int64
	for _, r := range runs {
		clusters += r.Length
	}
	size := uint64(clusters) * uint64(v.geo.ClusterSize)
	le := binary.LittleEndian
	pairs := encodeRuns(runs)
	attr := make([]byte, (0x40+len(pairs)+7)&^7)
	le.PutUint32(attr, attrData)
	le.PutUint32(attr[4:], uint32(len(attr)))
	attr[8] = 1 // non-resident
	le.PutUint16(attr[0x0a:], 0x40)
	le.PutUint16(attr[0x0e:], d.id)
	le.PutUint64(attr[0x18:], uint64(clusters-1))
	le.PutUint16(attr[0x20:], 0x40)
	le.PutUint64(attr[0x28:], size)
	le.PutUint64(attr[0x30:], size)
	le.PutUint64(attr[0x38:], size)
	copy(attr[0x40:], pairs)

	used := int(le.Uint32(b[0x18:]))
	tail := append([]byte(nil), b[d.offset+d.length:used]...)
	end := d.offset + len(attr) + len(tail)
	if end > len(b) {
		return fmt.Errorf("%w: %d runs do not fit one MFT record", ErrUnsupported, len(runs))
	}
	copy(b[d.offset:], attr)
	copy(b[d.offset+len(attr):], tail)
	le.PutUint32(b[0x18:], uint32(end))
	return nil
}

// encodeRuns is the reverse of decodeRuns for runs without holes.
func encodeRuns(runs []Run) []byte {
	var out []byte
	var last int64
	for _, r := range runs {
		n, d := signedBytes(r.Length), signedBytes(r.LCN-last)
		out = append(append(append(out, byte(len(n)|len(d)<<4)), n...), d...)
		last = r.LCN
	}
	return append(out, 0)
}

// signedBytes is the reverse of signed, as short as it can be.
func signedBytes(v int64) []byte {
	var b []byte
	for x := v; ; x >>= 8 {
		if b = append(b, byte(x)); signed(b) == v {
			return b
		}
	}
}

// bitmapPatches sets the bits of the runs, all of which must be clear.
func (v *Volume) bitmapPatches(runs []Run) ([]Patch, error) {
	low, high := v.geo.Clusters, int64(0)
	for _, r := range runs {
		if r.LCN < 0 || r.Length <= 0 || r.LCN > v.geo.Clusters-r.Length {
			return nil, corrupt("runs to allocate", -1, "clusters %d+%d of %d", r.LCN, r.Length, v.geo.Clusters)
		}
		low, high = min(low, r.LCN), max(high, r.LCN+r.Length)
	}
	if low >= high {
		return nil, fmt.Errorf("%w: no clusters to allocate", ErrUnsupported)
	}
	first := low / 8
	b := make([]byte, (high+7)/8-first)
	if _, err := v.bitmap.ReadAt(b, first); err != nil {
		return nil, err
	}
	for _, r := range runs {
		for lcn := r.LCN; lcn < r.LCN+r.Length; lcn++ {
			c, bit := &b[lcn/8-first], byte(1)<<(lcn%8)
			if *c&bit != 0 {
				return nil, fmt.Errorf("%w: cluster %d is in use", ErrOverlap, lcn)
			}
			*c |= bit
		}
	}
	return v.streamPatches(v.bitmap, first, b), nil
}

// recordPatches says where the bytes of an MFT record go: one place, or several when
// clusters are smaller than a record.
func (v *Volume) recordPatches(ref Reference, b []byte) []Patch {
	return v.streamPatches(v.mft, ref.Record()*int64(v.geo.RecordSize), b)
}

// streamPatches says where the bytes b at byte at of a stream go. The stream has
// been read there before, so clusters stand behind it.
func (v *Volume) streamPatches(s *stream, at int64, b []byte) []Patch {
	var out []Patch
	for len(b) > 0 {
		pos, n := s.locate(at)
		n = min(n, int64(len(b)))
		out = append(out, Patch{Offset: pos, Data: b[:n:n]})
		at, b = at+n, b[n:]
	}
	return out
}

// FreeRuns returns the runs that $Bitmap marks free, in ascending order.
func (v *Volume) FreeRuns() ([]Run, error) {
	var out []Run
	buf := make([]byte, 64<<10)
	for lcn := int64(0); lcn < v.geo.Clusters; {
		b := buf[:min(int64(len(buf)), (v.geo.Clusters-lcn+7)/8)]
		if _, err := v.bitmap.ReadAt(b, lcn/8); err != nil {
			return nil, fmt.Errorf("$Bitmap: %w", err)
		}
		for end := min(lcn+int64(len(b))*8, v.geo.Clusters); lcn < end; lcn++ {
			if b[lcn/8%int64(len(buf))]>>(lcn%8)&1 != 0 {
				continue
			}
			if n := len(out) - 1; n >= 0 && out[n].LCN+out[n].Length == lcn {
				out[n].Length++
			} else {
				out = append(out, Run{LCN: lcn, Length: 1})
			}
		}
	}
	return out, nil
}
