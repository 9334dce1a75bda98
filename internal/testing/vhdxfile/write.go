package vhdxfile

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"unicode/utf16"

	"troy/internal/block"
	"troy/internal/guid"
)

var le = binary.LittleEndian

// writer writes one file; the first error stays.
type writer struct {
	d         *disk
	f         *os.File
	err       error
	bat, meta int64   // places of the regions
	table     []byte  // the whole BAT
	places    []int64 // of the payload blocks; 0: none
	bitmap    int64   // place of the sector bitmap of a differencing disk
	end       int64   // of the file
}

func (d *disk) write(f *os.File) error {
	w := &writer{d: d, f: f, meta: 2 * mib, bat: 3 * mib}
	if d.qemu {
		w.meta, w.bat = 3*mib, 2*mib
	}
	w.place()
	w.fixed()
	w.put(w.meta, metadata(d))
	w.payload()
	w.tables()
	return w.err
}

func (w *writer) put(off int64, b []byte) {
	if w.err == nil {
		_, w.err = w.f.WriteAt(b, off)
	}
}

// chunk is how many payload blocks one sector bitmap block covers.
func (d *disk) chunk() int64 { return 1 << 23 * 512 / d.block }

func (d *disk) index(block int64) int64 { return block + block/d.chunk() }

// place decides where everything is. The blocks are in the file in the reverse order of the disk.
func (w *writer) place() {
	d := w.d
	entries := d.index(int64(len(d.blocks)-1)) + 1
	if d.parent != "" {
		entries = d.chunk() + 1
	}
	w.table = make([]byte, block.RoundUp(entries*8, mib))
	w.end = max(w.bat+int64(len(w.table)), w.meta+mib)
	if d.parent != "" {
		w.bitmap, w.end = w.end, w.end+mib
		le.PutUint64(w.table[8*d.chunk():], uint64(w.bitmap)|fullyPresent)
	}
	if d.qemu {
		w.end = block.RoundUp(w.end, 8*mib)
	}
	w.places = make([]int64, len(d.blocks))
	for i := range d.blocks {
		b := len(d.blocks) - 1 - i
		if d.fixed {
			b = i
		}
		e := uint64(d.blocks[b])
		if e == fullyPresent || e == partiallyPresent {
			w.places[b], w.end = w.end, w.end+d.block
			e |= uint64(w.places[b])
		}
		le.PutUint64(w.table[8*d.index(int64(b)):], e)
	}
	if d.qemu { // what QEMU before 2023 left where nothing is read
		for i := entries; i < entries+3; i++ {
			le.PutUint64(w.table[8*i:], uint64(w.end+i*d.block)|fullyPresent)
		}
	}
}

// fixed writes file identifier, headers and region tables.
func (w *writer) fixed() {
	w.err = w.f.Truncate(w.end)
	id := make([]byte, 64*kib)
	copy(id, "vhdxfile")
	copy(id[8:], utf16le(w.d.creator))
	w.put(0, id)
	for i := range uint64(2) {
		h := make([]byte, 4096)
		copy(h, "head")
		le.PutUint64(h[8:], 9+i)
		w.guid(h[16:], "file write")
		w.guid(h[32:], "data write")
		if w.d.behind > 0 {
			w.guid(h[48:], "log")
		}
		le.PutUint16(h[66:], 1)
		le.PutUint32(h[68:], mib)
		le.PutUint64(h[72:], mib)
		w.put(int64(64*kib*(i+1)), sealed(h))
	}
	r := make([]byte, 64*kib)
	copy(r, "regi")
	le.PutUint32(r[8:], 2)
	region(r[16:], "2DC27766-F623-4200-9D64-115E9BFD4A08", w.bat, int64(len(w.table)))
	region(r[48:], "8B7CA206-4790-4B9A-B8FE-575F050F886E", w.meta, mib)
	sealed(r)
	w.put(192*kib, r)
	w.put(256*kib, r)
}

func (w *writer) guid(b []byte, purpose string) { copy(b, w.d.guid(purpose)) }

// guid is an identifier of the disk.
func (d *disk) guid(purpose string) []byte {
	h := d.hash(purpose)
	return h[:16]
}

func region(b []byte, id string, off, n int64) {
	g := guid.Must(id)
	copy(b, g[:])
	le.PutUint64(b[16:], uint64(off))
	le.PutUint32(b[24:], uint32(n))
	le.PutUint32(b[28:], 1)
}

// payload writes the content of the blocks and the sector bitmap. What a sector bitmap gives to the
// parent is noise in the child.
func (w *writer) payload() {
	d := w.d
	if d.parent != "" {
		stale := &disk{name: "stale"}
		stale.noise(0, int(d.block))
		w.put(w.places[0], stale.data[0].b)
		bits := make([]byte, mib)
		for _, s := range d.sectors {
			bits[s/8] |= 1 << (s % 8)
		}
		w.put(w.bitmap, bits)
	}
	for _, x := range d.data {
		for off, b := x.off, x.b; len(b) > 0; {
			n := min(int64(len(b)), d.block-off%d.block)
			w.put(w.places[off/d.block]+off%d.block, b[:n])
			off, b = off+n, b[n:]
		}
	}
}

// tables writes the BAT, or what is there of it while the log has the rest.
func (w *writer) tables() {
	w.put(w.bat, w.table)
	page := w.table[:4096]
	before := make([]byte, 4096)
	switch w.d.behind {
	case 1: // four blocks are there for the log only
		copy(before, page[:14*8])
		w.put(w.bat, before)
		w.put(mib, w.logEntry(0, 1, page, false))
	case 2: // the second entry replaces the page of the first one, and clears a page that nothing reads
		w.put(w.bat, before)
		w.put(w.bat+2*4096, []byte("left behind"))
		copy(before[3*8:], page[3*8:4*8])
		first := w.logEntry(0x8000, 77, before, false)
		w.put(mib+0x8000, first)
		w.put(mib+0x8000+int64(len(first)), w.logEntry(0x8000, 78, page, true))
	}
}

// logEntry is one entry of the log (MS-VHDX 2.3.1), with the first page of the BAT.
func (w *writer) logEntry(tail uint32, seq uint64, page []byte, clearing bool) []byte {
	e := make([]byte, 8192)
	copy(e, "loge")
	le.PutUint32(e[8:], uint32(len(e)))
	le.PutUint32(e[12:], tail)
	le.PutUint64(e[16:], seq)
	le.PutUint32(e[24:], 1)
	w.guid(e[32:], "log")
	le.PutUint64(e[48:], uint64(w.end))
	le.PutUint64(e[56:], uint64(w.end))
	d := e[64:96]
	copy(d, "desc")
	copy(d[4:8], page[4092:])
	copy(d[8:16], page[:8])
	le.PutUint64(d[16:], uint64(w.bat))
	le.PutUint64(d[24:], seq)
	if clearing {
		le.PutUint32(e[24:], 2)
		z := e[96:128]
		copy(z, "zero")
		le.PutUint64(z[8:], 4096)
		le.PutUint64(z[16:], uint64(w.bat+2*4096))
		le.PutUint64(z[24:], seq)
	}
	s := e[4096:]
	copy(s, page)
	copy(s, "data")
	le.PutUint32(s[4:], uint32(seq>>32))
	le.PutUint32(s[4092:], uint32(seq))
	return sealed(e)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sealed puts the CRC-32C of b into it.
func sealed(b []byte) []byte {
	clear(b[4:8])
	le.PutUint32(b[4:], crc32.Checksum(b, castagnoli))
	return b
}

func utf16le(s string) (b []byte) {
	for _, u := range utf16.Encode([]rune(s)) {
		b = le.AppendUint16(b, u)
	}
	return b
}
