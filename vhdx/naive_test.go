package vhdx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// naiveDisk is a second reader, written straight from MS-VHDX for the tests:
// slow, simple, and sharing no code with the package.
type naiveDisk struct {
	r        io.ReaderAt
	patch    map[uint64][]byte // file pages that the log replaces
	bat, md  uint64
	bs, lss  uint64
	size     uint64
	diff     bool
	dataGUID [16]byte
	parent   *naiveDisk
}

func (d *naiveDisk) raw(off, n uint64) []byte {
	b := make([]byte, n)
	d.r.ReadAt(b, int64(off)) // past the end: zeros
	return b
}

// at reads the file as it is after replay.
func (d *naiveDisk) at(off, n uint64) []byte {
	b := d.raw(off, n)
	if len(d.patch) == 0 {
		return b
	}
	for i := range b {
		if p := d.patch[(off+uint64(i))/4096]; p != nil {
			b[i] = p[(off+uint64(i))%4096]
		}
	}
	return b
}

func naiveCRC(b []byte) bool {
	c := append([]byte(nil), b...)
	copy(c[4:8], []byte{0, 0, 0, 0})
	return crc32.Checksum(c, crc32.MakeTable(crc32.Castagnoli)) == binary.LittleEndian.Uint32(b[4:])
}

func openNaive(r io.ReaderAt) (*naiveDisk, error) {
	d := &naiveDisk{r: r, patch: map[uint64][]byte{}}
	if string(d.raw(0, 8)) != "vhdxfile" {
		return nil, errors.New("naive: no vhdx")
	}
	var head []byte
	for _, off := range []uint64{0x10000, 0x20000} {
		h := d.raw(off, 4096)
		if string(h[:4]) == "head" && naiveCRC(h) && (head == nil || u64(h, 8) > u64(head, 8)) {
			head = h
		}
	}
	if head == nil {
		return nil, errors.New("naive: no header")
	}
	copy(d.dataGUID[:], head[32:])
	if [16]byte(head[48:64]) != [16]byte{} {
		if err := d.replay(head); err != nil {
			return nil, err
		}
	}
	return d, d.layout()
}

func u64(b []byte, i int) uint64 { return binary.LittleEndian.Uint64(b[i:]) }
func u32(b []byte, i int) uint64 { return uint64(binary.LittleEndian.Uint32(b[i:])) }

// replay tries every sector as the start of a sequence (MS-VHDX 2.3.3).
func (d *naiveDisk) replay(head []byte) error {
	n, off := u32(head, 68), u64(head, 72)
	log := d.raw(off, n)
	ring := append(append([]byte(nil), log...), log...) // entries may wrap
	entry := func(pos uint64) []byte {
		h := ring[pos:]
		if string(h[:4]) != "loge" || [16]byte(h[32:48]) != [16]byte(head[48:64]) || u64(h, 16) == 0 {
			return nil
		}
		l := u32(h, 8)
		if l == 0 || l > n || l%4096 != 0 || u32(h, 12)%4096 != 0 || 64+32*u32(h, 24) > l || !naiveCRC(h[:l]) {
			return nil
		}
		seq, data := u64(h, 16), (64+32*u32(h, 24)+4095)/4096*4096
		for i := uint64(0); i < u32(h, 24); i++ {
			t := h[64+32*i:]
			if u64(t, 24) != seq {
				return nil
			}
			switch string(t[:4]) {
			case "zero":
			case "desc":
				s := h[data:]
				if string(s[:4]) != "data" || u32(s, 4) != seq>>32 || u32(s, 4092) != seq&0xffffffff {
					return nil
				}
				data += 4096
			default:
				return nil
			}
		}
		if data != l {
			return nil
		}
		return h[:l]
	}
	var best [][]byte
	for start := uint64(0); start < n; start += 4096 {
		var run [][]byte
		pos, seen := start, map[uint64]int{}
		for {
			e := entry(pos % n)
			if e == nil || len(run) > 0 && u64(e, 16) != u64(run[len(run)-1], 16)+1 {
				break
			}
			seen[pos%n] = len(run)
			run = append(run, e)
			pos += uint64(len(e))
		}
		if len(run) == 0 {
			continue
		}
		last := run[len(run)-1]
		tail, ok := seen[u32(last, 12)]
		if ok && (best == nil || u64(last, 16) > u64(best[len(best)-1], 16)) {
			best = run[tail:]
		}
	}
	if best == nil {
		return errors.New("naive: log without valid sequence")
	}
	for _, e := range best {
		data := (64 + 32*u32(e, 24) + 4095) / 4096 * 4096
		for i := uint64(0); i < u32(e, 24); i++ {
			t := e[64+32*i:]
			if string(t[:4]) == "zero" {
				for p := uint64(0); p < u64(t, 8); p += 4096 {
					d.patch[(u64(t, 16)+p)/4096] = make([]byte, 4096)
				}
				continue
			}
			p := append([]byte(nil), e[data:data+4096]...)
			copy(p, t[8:16])
			copy(p[4092:], t[4:8])
			d.patch[u64(t, 16)/4096] = p
			data += 4096
		}
	}
	return nil
}

func (d *naiveDisk) layout() error {
	for _, base := range []uint64{0x30000, 0x40000} {
		t := d.at(base, 65536)
		if string(t[:4]) != "regi" || !naiveCRC(t) {
			continue
		}
		for i := 0; i < int(u32(t, 8)); i++ {
			switch e := t[16+32*i:]; e[0] {
			case 0x66: // first byte of the BAT's GUID on disk
				d.bat = u64(e, 16)
			case 0x06:
				d.md = u64(e, 16)
			}
		}
		break
	}
	if d.bat == 0 || d.md == 0 {
		return errors.New("naive: regions")
	}
	t := d.at(d.md, 65536)
	for i := 0; i < int(binary.LittleEndian.Uint16(t[10:])); i++ {
		e := t[32+32*i:]
		v := d.at(d.md+u32(e, 16), 8)
		switch binary.LittleEndian.Uint32(e) {
		case 0xCAA16737:
			d.bs, d.diff = u32(v, 0), v[4]&2 != 0
		case 0x2FA54224:
			d.size = u64(v, 0)
		case 0x8141BF1D:
			d.lss = u32(v, 0)
		}
	}
	return nil
}

// entry returns the BAT entry of a block and that of its sector bitmap.
func (d *naiveDisk) entry(block uint64) (e, sb uint64) {
	ratio := (uint64(1) << 23) * d.lss / d.bs
	chunk := block / ratio
	e = u64(d.at(d.bat+8*(block+chunk), 8), 0)
	if d.diff {
		sb = u64(d.at(d.bat+8*((chunk+1)*(ratio+1)-1), 8), 0)
	}
	return e, sb
}

// read returns n bytes at off, sector by sector.
func (d *naiveDisk) read(off, n uint64) ([]byte, error) {
	var out []byte
	for end := off + n; off < end; {
		k := min(d.lss-off%d.lss, end-off)
		b, err := d.sector(off, k)
		if err != nil {
			return nil, err
		}
		out = append(out, b...)
		off += k
	}
	return out, nil
}

func (d *naiveDisk) sector(off, n uint64) ([]byte, error) {
	if off >= d.size {
		return make([]byte, n), nil
	}
	block := off / d.bs
	e, sb := d.entry(block)
	here := e>>20<<20 + off%d.bs
	switch e & 7 {
	case 0:
		if d.diff {
			return d.parent.read(off, n)
		}
		return make([]byte, n), nil
	case 1, 2, 3, 5:
		return make([]byte, n), nil
	case 6:
		return d.at(here, n), nil
	case 7:
		if !d.diff || sb&7 != 6 {
			return nil, fmt.Errorf("naive: block %d partially present without bitmap", block)
		}
		s := off / d.lss % (1 << 23)
		if d.at(sb>>20<<20+s/8, 1)[0]>>(s%8)&1 == 1 {
			return d.at(here, n), nil
		}
		return d.parent.read(off, n)
	}
	return nil, fmt.Errorf("naive: block %d has state %d", block, e&7)
}
