package machine

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"sync"
	"sync/atomic"

	"troy/internal/block"
)

// The stage log is the last 4 MiB of the journal file: sectors of 512 bytes, each good or bad by
// itself. A sector holds: magic [8], key [16], number of notes u32, CRC-32C u32 of the sector with
// this field zero, and up to 20 notes of 24 bytes: first data page u32, data pages u32, SHA-256
// [16] (shortened) of the SHA-256s of these pages. Data pages are counted in the order of the
// virtual disk. The key is the SHA-256 (shortened) of what is staged and of the slot's
// DataWriteGuid: a sector of anything else counts as empty.
const (
	stageLogOffset = recordCount * 2 * recordSlot
	stageLogSize   = JournalSize - stageLogOffset

	noteSector     = 512
	noteHeader     = 32
	noteSize       = 24
	notesPerSector = (noteSector - noteHeader) / noteSize
	notesPerPage   = notesPerSector * (pageSize / noteSector)

	stageLogStep = 64 << 10 // read at once; a stretch as long without a good sector ends the log
	maxNotePages = pagesPerBlock
)

// How many bytes of payload may be written without a note, and without a flush.
const (
	defaultNoteBytes  = mib
	defaultFlushBytes = 64 * mib
)

var noteMagic = []byte("troystg1")

// logKey ties the log to one request in one slot.
type logKey [16]byte

// pageSum is the SHA-256 of a page.
type pageSum [sha256.Size]byte

// stageNote says that some data pages were written. It is never believed before the pages were read
// and hashed.
type stageNote struct {
	first, count uint32
	sum          [16]byte
}

func sumPages(sums []pageSum) (sum [16]byte) {
	h := sha256.New()
	for i := range sums {
		h.Write(sums[i][:])
	}
	copy(sum[:], h.Sum(nil))
	return sum
}

// openNote is a note that the next data pages may still join.
type openNote struct {
	first uint32
	sums  []pageSum
}

// stageLog adds notes. They are written without a flush: a lost one costs a download, a wrong one
// is found out.
type stageLog struct {
	f          File
	key        logKey
	noteBytes  int64
	flushBytes int64
	unflushed  atomic.Int64 // bytes of payload

	mu      sync.Mutex
	pending []*openNote
	open    map[uint32]*openNote // by the data page that comes next
	unnoted int64                // bytes of payload in pending
	page    []byte               // being filled
	at      int64                // of page in the stage log; stageLogSize when it is full
	n       int                  // notes in page
}

func newStageLog(journal File, key logKey) *stageLog {
	return &stageLog{f: journal, key: key, noteBytes: defaultNoteBytes, flushBytes: defaultFlushBytes,
		open: map[uint32]*openNote{}, page: block.Aligned(pageSize)}
}

// add notes data pages that were written, and writes the log when enough have come together.
func (l *stageLog) add(first uint32, sums []pageSum) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unnoted += int64(len(sums)) * pageSize
	for len(sums) > 0 {
		o := l.open[first]
		if o == nil {
			o = &openNote{first: first}
			l.pending = append(l.pending, o)
		}
		delete(l.open, first)
		n := min(len(sums), maxNotePages-len(o.sums))
		o.sums = append(o.sums, sums[:n]...)
		first, sums = first+uint32(n), sums[n:]
		if len(o.sums) < maxNotePages {
			l.open[first] = o
		}
	}
	if l.unnoted < l.noteBytes {
		return nil
	}
	return l.write()
}

// flush writes what is pending.
func (l *stageLog) flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.write()
}

// write writes the pending notes. After an error they are still pending, and stand there twice in
// the end, which does not matter.
func (l *stageLog) write() error {
	if len(l.pending) == 0 {
		return nil
	}
	for _, o := range l.pending {
		if l.n == notesPerPage {
			if err := l.writePage(); err != nil {
				return err
			}
			l.at, l.n = l.at+pageSize, 0
			clear(l.page)
		}
		l.put(stageNote{o.first, uint32(len(o.sums)), sumPages(o.sums)})
	}
	if err := l.writePage(); err != nil {
		return err
	}
	l.pending, l.unnoted = nil, 0
	clear(l.open)
	return nil
}

func (l *stageLog) writePage() error {
	if l.at >= stageLogSize {
		return nil
	}
	return writeFull(l.f, l.page, stageLogOffset+l.at)
}

func (l *stageLog) put(n stageNote) {
	i := l.n % notesPerSector
	b := l.page[l.n/notesPerSector*noteSector:][:noteSector]
	copy(b, noteMagic)
	copy(b[8:], l.key[:])
	binary.LittleEndian.PutUint32(b[24:], uint32(i+1))
	e := b[noteHeader+i*noteSize:]
	binary.LittleEndian.PutUint32(e, n.first)
	binary.LittleEndian.PutUint32(e[4:], n.count)
	copy(e[8:noteSize], n.sum[:])
	binary.LittleEndian.PutUint32(b[28:], noteSum(b))
	l.n++
}

func noteSum(sector []byte) uint32 {
	return crc32.Update(crc32.Checksum(sector[:28], castagnoli), castagnoli, sector[noteHeader:])
}

// load returns the notes that earlier runs left, and goes on behind them. What cannot be read is no
// note.
func (l *stageLog) load() (notes []stageNote) {
	buf := block.Aligned(stageLogStep)
	for at := int64(0); at < stageLogSize; at += stageLogStep {
		if block.ReadFull(l.f, buf, stageLogOffset+at) != nil {
			break
		}
		before := len(notes)
		for off := 0; off < len(buf); off += noteSector {
			if n := len(notes); l.parse(buf[off:off+noteSector], &notes) && len(notes) > n {
				l.at = block.RoundUp(at+int64(off)+noteSector, pageSize)
			}
		}
		if len(notes) == before {
			break
		}
	}
	return notes
}

func (l *stageLog) parse(b []byte, notes *[]stageNote) bool {
	count := binary.LittleEndian.Uint32(b[24:])
	if !bytes.Equal(b[:8], noteMagic) || !bytes.Equal(b[8:24], l.key[:]) || count > notesPerSector ||
		binary.LittleEndian.Uint32(b[28:]) != noteSum(b) {
		return false
	}
	for i := range int(count) {
		e := b[noteHeader+i*noteSize:]
		n := stageNote{first: binary.LittleEndian.Uint32(e), count: binary.LittleEndian.Uint32(e[4:])}
		copy(n.sum[:], e[8:noteSize])
		*notes = append(*notes, n)
	}
	return true
}
