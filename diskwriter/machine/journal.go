package machine

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sync"

	"troy/internal/block"
	"troy/internal/format"
)

// JournalKind is the format of the records of a journal, and of the mailbox: the same programs
// write all of them.
var JournalKind = format.Kind{Name: "the journal of this disk", Number: 1, Oldest: 1}

// JournalSize is the size of the journal file, in bytes: 6 records of two slots of 1 MiB, and the
// stage log.
const JournalSize = 16 << 20

// Record numbers a record of the journal.
type Record int

// The records. RecordMachine belongs to this package; the others are kept for the agent as they
// are.
const (
	RecordMachine Record = iota // what each file holds, progress
	RecordDisk                  // GPT ids, runlists and file references as found at provisioning
	RecordTrust                 // trusted TUF metadata
	RecordAgent                 // whatever else the agent has to remember
	RecordKey                   // by which servers know the machine (internal/tlskey)
	recordCount   = 6
)

// maxRecord is the largest record, in bytes.
const maxRecord = recordSlot - recordHeader - maxHead

const (
	recordSlot   = 1 << 20
	recordHeader = 64
	maxHead      = 4 << 10
	pageSize     = 4096
)

// A record slot begins with: magic [8], record u32, length u32, sequence u64, SHA-256 of the
// content [32], zero u32, CRC-32C of the 60 bytes before u32. The content follows at once, zero
// padded to whole pages: a line with the head, then what the record says.
var recordMagic = []byte("troyjrn1")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Journal is a file of records, each in two slots that hold the same once Put returned: whatever
// moment the power goes, one of the two is whole, and no slot that rots brings an older state back.
// A slot that cannot be read is as good as damaged, while the other one can be. A record that reads
// as absent was never written, or both its slots are damaged. Safe for concurrent use.
type Journal struct {
	mu      sync.Mutex
	f       File
	settled bool // everything that can be read is durable
}

// OpenJournal reads the heads of all records; a file of zeros or garbage is a journal without
// records. Size must be JournalSize at least. A journal of which any record needs what this program
// does not understand is a *format.NeedsError: nothing may be written to such a disk.
func OpenJournal(f File) (*Journal, error) {
	if f.Storage == nil || f.Size < JournalSize {
		return nil, fmt.Errorf("%w: the journal file has %d bytes, not %d", ErrRecord, f.Size, JournalSize)
	}
	j := &Journal{f: f}
	for r := range Record(recordCount) {
		if now := j.newest(r); now.content != nil {
			if _, _, err := splitHead(now.content); err != nil {
				return nil, err
			}
		}
	}
	return j, nil
}

// Get returns the content of a record; nil without error means that there is none. Error:
// ErrUnreadable.
func (j *Journal) Get(r Record) ([]byte, error) {
	if r < 0 || r >= recordCount {
		return nil, fmt.Errorf("%w: number %d", ErrRecord, r)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.newest(r)
	if now.unread != nil {
		return nil, fmt.Errorf("journal record %d: %w: %w", r, ErrUnreadable, now.unread)
	}
	if now.content == nil {
		return nil, nil
	}
	_, p, err := splitHead(now.content)
	return p, err
}

// recordState is what the slots of a record hold.
type recordState struct {
	content []byte // of the newest; nil: there is none
	seq     uint64 // of it
	slot    int    // where it is
	twice   bool   // the other slot holds the same
	unread  error  // why no slot can be read; nil: one can
}

func (j *Journal) newest(r Record) recordState {
	var slots [2]recordState
	for i := range slots {
		p, seq, err := j.readSlot(r, i)
		slots[i] = recordState{content: p, seq: seq, slot: i, unread: err}
	}
	a, b := slots[0], slots[1]
	if a.unread == nil || b.unread == nil {
		a.unread, b.unread = nil, nil
	}
	if b.content != nil && (a.content == nil || b.seq > a.seq) {
		a, b = b, a
	}
	a.twice = a.content != nil && b.content != nil && a.seq == b.seq && bytes.Equal(a.content, b.content)
	return a
}

// Put replaces a record and returns when it is durable in both slots; the worse slot is written
// first. p may have up to maxRecord bytes. The record keeps its head (see Raise).
func (j *Journal) Put(r Record, p []byte) error {
	if r < 0 || r >= recordCount || len(p) > maxRecord {
		return fmt.Errorf("%w: number %d, %d bytes of %d", ErrRecord, r, len(p), maxRecord)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.newest(r)
	if now.content == nil {
		return j.replace(r, now, &recordHead{Head: j.head()}, p)
	}
	h, _, err := splitHead(now.content)
	if err != nil {
		return err
	}
	return j.replace(r, now, &h, p)
}

// replace writes a record after what newest found of it.
func (j *Journal) replace(r Record, now recordState, h *recordHead, p []byte) error {
	content, err := h.join(p)
	if err != nil {
		return err
	}
	if err := j.settle(); err != nil {
		return err
	}
	return j.write(r, now.seq+1, content, 1-now.slot, now.slot)
}

// mend writes the newest content of each record over a slot that is damaged, older, or cannot be
// read.
func (j *Journal) mend() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for r := range Record(recordCount) {
		now := j.newest(r)
		if now.content == nil || now.twice {
			continue
		}
		if err := j.settle(); err != nil {
			return err
		}
		if err := j.write(r, now.seq, now.content, 1-now.slot); err != nil {
			return err
		}
	}
	return nil
}

// write fills slots one after the other, each durable and read back before the next.
func (j *Journal) write(r Record, seq uint64, p []byte, slots ...int) error {
	b := marshalRecord(r, seq, p)
	for _, slot := range slots {
		j.settled = false
		if err := writeFull(j.f, b, slotOffset(r, slot)); err != nil {
			return fmt.Errorf("journal record %d: %w", r, err)
		}
		if err := j.settle(); err != nil {
			return err
		}
		have := make([]byte, len(b))
		if err := j.read(have, slotOffset(r, slot)); err != nil {
			return fmt.Errorf("journal record %d: read back: %w", r, err)
		}
		if !bytes.Equal(have, b) {
			return fmt.Errorf("journal record %d: %w: slot %d", r, ErrVerify, slot)
		}
	}
	return nil
}

// settle flushes unless nothing was written since the last flush. Before a slot is overwritten, the
// other one has to be durable: a process that was killed, or a flush that failed, may have left it
// in a cache.
func (j *Journal) settle() error {
	if j.settled {
		return nil
	}
	if err := j.f.Sync(); err != nil {
		return fmt.Errorf("journal: flush: %w", err)
	}
	j.settled = true
	return nil
}

func slotOffset(r Record, slot int) int64 { return (int64(r)*2 + int64(slot)) * recordSlot }

func marshalRecord(r Record, seq uint64, p []byte) []byte {
	b := make([]byte, block.RoundUp(recordHeader+int64(len(p)), pageSize))
	copy(b, recordMagic)
	binary.LittleEndian.PutUint32(b[8:], uint32(r))
	binary.LittleEndian.PutUint32(b[12:], uint32(len(p)))
	binary.LittleEndian.PutUint64(b[16:], seq)
	sum := sha256.Sum256(p)
	copy(b[24:56], sum[:])
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	copy(b[recordHeader:], p)
	return b
}

// readSlot returns nil content for a slot that is not whole. The error is that of reading.
func (j *Journal) readSlot(r Record, slot int) ([]byte, uint64, error) {
	off := slotOffset(r, slot)
	first := make([]byte, pageSize)
	if err := j.read(first, off); err != nil {
		return nil, 0, err
	}
	length := binary.LittleEndian.Uint32(first[12:])
	if !bytes.Equal(first[:8], recordMagic) || binary.LittleEndian.Uint32(first[8:]) != uint32(r) || length > maxRecord+maxHead ||
		crc32.Checksum(first[:60], castagnoli) != binary.LittleEndian.Uint32(first[60:]) {
		return nil, 0, nil
	}
	content := make([]byte, length)
	n := copy(content, first[recordHeader:])
	if n < len(content) {
		if err := j.read(content[n:], off+pageSize); err != nil {
			return nil, 0, err
		}
	}
	if sum := sha256.Sum256(content); !bytes.Equal(sum[:], first[24:56]) {
		return nil, 0, nil
	}
	return content, binary.LittleEndian.Uint64(first[16:]), nil
}

// read asks once more for what cannot be read: the other slot may be older.
func (j *Journal) read(p []byte, off int64) error {
	if block.ReadFull(j.f, p, off) == nil {
		return nil
	}
	return block.ReadFull(j.f, p, off)
}
