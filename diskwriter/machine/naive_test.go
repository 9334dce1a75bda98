package machine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"unicode/utf16"
)

// A second reader of VHDX chains, written from the text of MS-VHDX alone: it shares no code with
// package vhdx, knows nothing of this package, finds parents by relative_path, and checks their
// DataWriteGuid. Slow and plain on purpose.

type naiveFile struct {
	name      string
	r         io.ReaderAt
	size      int64
	replayed  map[int64][]byte // pages that the log rewrites
	dataWrite string           // GUID as text
	dirty     bool
	bat, meta int64
	batLen    int64
	blockSize int64
	virtual   int64
	sector    int64
	hasParent bool
	locator   map[string]string
}

var le = binary.LittleEndian

func crcOK(b []byte, at int) bool {
	c := bytes.Clone(b)
	clear(c[at : at+4])
	return crc32.Checksum(c, crc32.MakeTable(crc32.Castagnoli)) == le.Uint32(b[at:])
}

// guidText is the spelling of a GUID in its little-endian form (MS-DTYP 2.3.4.2).
func guidText(b []byte) string {
	return fmt.Sprintf("%08X-%04X-%04X-%04X-%012X", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}

func naiveOpen(name string, r io.ReaderAt, size int64) (_ *naiveFile, err error) {
	defer func() {
		if p := recover(); p != nil { // a torn structure; nothing here checks lengths
			err = fmt.Errorf("naive reader: %s: %v", name, p)
		}
	}()
	f := &naiveFile{name: name, r: r, size: size, replayed: map[int64][]byte{}}
	for _, step := range []func() error{f.readHeader, f.readRegions, f.readMetadata} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("naive reader: %s: %w", name, err)
		}
	}
	return f, nil
}

// at reads through the replayed pages.
func (f *naiveFile) at(off, n int64) ([]byte, error) {
	b := make([]byte, n)
	if got, err := f.r.ReadAt(b, off); got < len(b) {
		return nil, fmt.Errorf("read %d at %d: %v", n, off, err)
	}
	if len(f.replayed) == 0 {
		return b, nil
	}
	for page := off / 4096 * 4096; page < off+n; page += 4096 {
		if p := f.replayed[page]; p != nil {
			from := max(off, page)
			copy(b[from-off:], p[from-page:])
		}
	}
	return b, nil
}

// 2.2.2
func (f *naiveFile) readHeader() error {
	id, err := f.at(0, 8)
	if err != nil || string(id) != "vhdxfile" {
		return fmt.Errorf("no file identifier: %v", err)
	}
	var cur []byte
	for _, off := range []int64{64 << 10, 128 << 10} {
		h, err := f.at(off, 4096)
		if err != nil {
			continue // the other one counts
		}
		if string(h[:4]) != "head" || !crcOK(h, 4) {
			continue
		}
		if cur == nil || le.Uint64(h[8:]) > le.Uint64(cur[8:]) {
			cur = h
		}
	}
	if cur == nil {
		return errors.New("no valid header")
	}
	if le.Uint16(cur[66:]) != 1 {
		return errors.New("version is not 1")
	}
	f.dataWrite = guidText(cur[32:48])
	if logGUID := cur[48:64]; !bytes.Equal(logGUID, make([]byte, 16)) {
		f.dirty = true
		return f.replay(logGUID, int64(le.Uint64(cur[72:])), int64(le.Uint32(cur[68:])))
	}
	return nil
}

type naiveEntry struct {
	pos, length, tail int64
	seq               uint64
	flushed           int64
	pages             map[int64][]byte
	order             []int64
}

// 2.3.3: the sequence with the greatest head that reaches back to its tail; from the tail on.
func (f *naiveFile) replay(guid []byte, off, length int64) error {
	ring, err := f.at(off, length)
	if err != nil {
		return err
	}
	var best []*naiveEntry
	for start := int64(0); start < length; start += 4096 {
		var seq []*naiveEntry
		for pos := start; ; {
			e := parseNaive(ring, pos, guid)
			if e == nil || len(seq) > 0 && e.seq != seq[len(seq)-1].seq+1 || int64(len(seq)) > length/4096 {
				break
			}
			seq = append(seq, e)
			pos = (pos + e.length) % length
		}
		if len(seq) == 0 {
			continue
		}
		head := seq[len(seq)-1]
		for i, e := range seq {
			if e.pos == head.tail && (best == nil || head.seq > best[len(best)-1].seq) {
				best = seq[i:]
				break
			}
		}
	}
	if best == nil {
		return errors.New("log without a valid sequence")
	}
	if best[len(best)-1].flushed > f.size {
		return errors.New("file was truncated")
	}
	for _, e := range best {
		for _, page := range e.order {
			f.replayed[page] = e.pages[page]
		}
	}
	return nil
}

// 2.3.1
func parseNaive(ring []byte, pos int64, guid []byte) *naiveEntry {
	get := func(at, n int64) []byte {
		b := make([]byte, 0, n)
		for ; n > 0; at, n = at+4096, n-4096 {
			p := at % int64(len(ring))
			b = append(b, ring[p:p+min(4096, n)]...)
		}
		return b
	}
	h := ring[pos : pos+64]
	length := int64(le.Uint32(h[8:]))
	if string(h[:4]) != "loge" || length == 0 || length%4096 != 0 || length > int64(len(ring)) || !bytes.Equal(h[32:48], guid) {
		return nil
	}
	b := get(pos, length)
	if !crcOK(b, 4) {
		return nil
	}
	e := &naiveEntry{pos: pos, length: length, tail: int64(le.Uint32(b[12:])), seq: le.Uint64(b[16:]), flushed: int64(le.Uint64(b[48:])), pages: map[int64][]byte{}}
	count := int64(le.Uint32(b[24:]))
	data := (64 + 32*count + 4095) / 4096 * 4096
	for i := range count {
		d := b[64+32*i:][:32]
		target := int64(le.Uint64(d[16:]))
		if le.Uint64(d[24:]) != e.seq {
			return nil
		}
		switch string(d[:4]) {
		case "zero":
			for n := int64(0); n < int64(le.Uint64(d[8:])); n += 4096 {
				e.add(target+n, make([]byte, 4096))
			}
		case "desc":
			s := b[data:][:4096]
			data += 4096
			if string(s[:4]) != "data" || uint64(le.Uint32(s[4:]))<<32|uint64(le.Uint32(s[4092:])) != e.seq {
				return nil
			}
			page := append(append(bytes.Clone(d[8:16]), s[8:4092]...), d[4:8]...)
			e.add(target, page)
		default:
			return nil
		}
	}
	return e
}

func (e *naiveEntry) add(off int64, page []byte) {
	e.pages[off] = page
	e.order = append(e.order, off)
}

// 2.2.3
func (f *naiveFile) readRegions() error {
	t, err := f.at(192<<10, 64<<10)
	if err != nil || string(t[:4]) != "regi" || !crcOK(t, 4) {
		t, err = f.at(256<<10, 64<<10)
	}
	if err != nil || string(t[:4]) != "regi" || !crcOK(t, 4) {
		return errors.New("bad region tables")
	}
	for i := range le.Uint32(t[8:]) {
		e := t[16+32*i:]
		switch guidText(e) {
		case "2DC27766-F623-4200-9D64-115E9BFD4A08":
			f.bat, f.batLen = int64(le.Uint64(e[16:])), int64(le.Uint32(e[24:]))
		case "8B7CA206-4790-4B9A-B8FE-575F050F886E":
			f.meta = int64(le.Uint64(e[16:]))
		default:
			return errors.New("unknown region")
		}
	}
	if f.bat == 0 || f.meta == 0 {
		return errors.New("a region is missing")
	}
	return nil
}

// 2.6
func (f *naiveFile) readMetadata() error {
	t, err := f.at(f.meta, 64<<10)
	if err != nil {
		return err
	}
	if string(t[:8]) != "metadata" {
		return errors.New("no metadata table")
	}
	for i := range int(le.Uint16(t[10:])) {
		e := t[32+32*i:]
		item, err := f.at(f.meta+int64(le.Uint32(e[16:])), int64(le.Uint32(e[20:])))
		if err != nil {
			return err
		}
		switch guidText(e) {
		case "CAA16737-FA36-4D43-B3B6-33F0AA44E76B":
			f.blockSize, f.hasParent = int64(le.Uint32(item)), item[4]&2 != 0
		case "2FA54224-CD1B-4876-B211-5DBED83BF4B8":
			f.virtual = int64(le.Uint64(item))
		case "8141BF1D-A96F-4709-BA47-F233A8FAAB5F":
			f.sector = int64(le.Uint32(item))
		case "A8D35F2D-B30B-454D-ABF7-D3D84834AB0C":
			f.locator = naiveLocator(item)
		}
	}
	if f.blockSize == 0 || f.virtual == 0 || f.sector == 0 {
		return errors.New("a metadata item is missing")
	}
	return nil
}

// 2.6.2.6
func naiveLocator(b []byte) map[string]string {
	text := func(off uint32, n uint16) string {
		var u []uint16
		for _, c := range [][]byte{b[off : off+uint32(n)]} {
			for ; len(c) > 1; c = c[2:] {
				u = append(u, le.Uint16(c))
			}
		}
		return string(utf16.Decode(u))
	}
	m := map[string]string{}
	for i := range int(le.Uint16(b[18:])) {
		e := b[20+12*i:]
		m[text(le.Uint32(e), le.Uint16(e[8:]))] = text(le.Uint32(e[4:]), le.Uint16(e[10:]))
	}
	return m
}

// piece is a stretch of the virtual disk in one file, or zeros if file is "".
type piece struct {
	virtual, length int64
	file            string
	off             int64
}

// naiveChain opens leaf and parents. open returns the file of a name.
func naiveChain(leaf string, open func(name string) (io.ReaderAt, int64)) ([]*naiveFile, error) {
	var chain []*naiveFile
	for name := leaf; ; {
		r, size := open(name)
		if r == nil {
			return nil, fmt.Errorf("naive reader: no file %q", name)
		}
		f, err := naiveOpen(name, r, size)
		if err != nil {
			return nil, err
		}
		if n := len(chain); n > 0 && !strings.EqualFold(chain[n-1].locator["parent_linkage"], "{"+f.dataWrite+"}") {
			return nil, fmt.Errorf("naive reader: %s has DataWriteGuid %s, its child wants %s", name, f.dataWrite, chain[n-1].locator["parent_linkage"])
		} else if n > 0 && f.dirty {
			return nil, fmt.Errorf("naive reader: parent %s has a log to replay", name)
		}
		if chain = append(chain, f); !f.hasParent {
			return chain, nil
		}
		name = strings.TrimPrefix(f.locator["relative_path"], `.\`)
		if len(chain) > 4 {
			return nil, errors.New("naive reader: endless chain")
		}
	}
}

// naivePieces maps a stretch of the disk through the chain.
func naivePieces(chain []*naiveFile, off, n int64, out []piece) ([]piece, error) {
	f := chain[0]
	for end := off + n; off < end; {
		block := off / f.blockSize
		n := min(end, (block+1)*f.blockSize) - off
		ratio := (1 << 23) * f.sector / f.blockSize
		raw, err := f.at(f.bat+(block+block/ratio)*8, 8)
		if err != nil {
			return nil, err
		}
		e := le.Uint64(raw)
		place := int64(e>>20)<<20 + off%f.blockSize
		switch state := e & 7; {
		case state == 6:
			out = append(out, piece{off, n, f.name, place})
		case state == 7:
			out, err = f.partial(chain, block, ratio, off, n, place, out)
		case state == 0 && f.hasParent:
			out, err = naivePieces(chain[1:], off, n, out)
		case state <= 3:
			out = append(out, piece{off, n, "", 0})
		default:
			err = fmt.Errorf("naive reader: %s: block %d in state %d", f.name, block, state)
		}
		if err != nil {
			return nil, err
		}
		off += n
	}
	return out, nil
}

// partial follows the sector bitmap (2.4).
func (f *naiveFile) partial(chain []*naiveFile, block, ratio, off, n, place int64, out []piece) ([]piece, error) {
	raw, err := f.at(f.bat+((block/ratio)*(ratio+1)+ratio)*8, 8)
	if err != nil {
		return nil, err
	}
	if le.Uint64(raw)&7 != 6 || !f.hasParent {
		return nil, fmt.Errorf("naive reader: %s: block %d has no sector bitmap", f.name, block)
	}
	chunkSector := off / f.sector % (1 << 23)
	from, to := chunkSector/8, (chunkSector+n/f.sector+7)/8
	bitmap, err := f.at(int64(le.Uint64(raw)>>20)<<20+from, to-from)
	if err != nil {
		return nil, err
	}
	bit := func(i int64) bool { i += chunkSector - from*8; return bitmap[i/8]>>(i%8)&1 != 0 }
	for i := int64(0); i < n/f.sector; {
		k := i + 1
		for k < n/f.sector && bit(k) == bit(i) {
			k++
		}
		if bit(i) {
			out = append(out, piece{off + i*f.sector, (k - i) * f.sector, f.name, place + i*f.sector})
		} else if out, err = naivePieces(chain[1:], off+i*f.sector, (k-i)*f.sector, out); err != nil {
			return nil, err
		}
		i = k
	}
	return out, nil
}
