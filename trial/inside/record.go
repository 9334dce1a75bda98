package inside

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"troy/gates"
)

// The file with the records, in bytes.
const (
	SlotSize = 4096
	Slots    = 64
	FileSize = SlotSize * Slots
)

// Where the files lie in the Windows volume.
const (
	Folder      = `\Troy\`
	RecordFile  = Folder + "trial.bin"
	BallastFile = Folder + "ballast.bin"
)

var (
	// ErrTorn: a record was not written to its end.
	ErrTorn = errors.New("a record is torn")
	// ErrRecord: something is no record.
	ErrRecord = errors.New("bad record")
)

const (
	slotMagic  = "TROY"
	slotHeader = 12 // magic, CRC-32C of all that follows it, length of the JSON
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Record is what the program found and did at one start.
type Record struct {
	Order   int      `json:"order"`              // the number of the order
	Phase   Phase    `json:"phase"`              // how far it was
	Time    string   `json:"time"`               // Windows' own clock, RFC 3339
	Name    string   `json:"name,omitempty"`     // of the computer; a trial has no other's
	Ballast Stamps   `json:"ballast"`            // what it held before the order was carried out
	Did     []Action `json:"did,omitempty"`      // of the order
	Failed  []string `json:"failed,omitempty"`   // what could not be done: "fill: …"
	Events  []string `json:"events,omitempty"`   // of disks and volumes in the log of this start
	Facts   Facts    `json:"facts"`              // what can only be seen from inside
	PC      gates.PC `json:"pc"`                 // as troy-gates.exe sees it
	NotTold string   `json:"not_told,omitempty"` // why the trial could not be told over the network
}

// Phase is how far a start came.
type Phase string

// Phases.
const (
	Desktop Phase = "desktop" // the first logon, after setup
	Up      Phase = "up"      // the service
)

// Facts are answers to gates that need no order. What is empty is not known.
type Facts struct {
	HostLetter string   `json:"host_letter,omitempty"` // of the partition with \Troy\base.vhdx, such as "D:"; "none" (W8)
	PageFiles  []string `json:"page_files,omitempty"`  // where they are: "boot child", "host", "other" (W8)
	Mailbox    string   `json:"mailbox,omitempty"`     // "opened", or why not (W12)
	// Chain are the disks in \Troy that could be opened for writing (W12). Which of them are files
	// of the running chain, only the trial knows.
	Chain      []string `json:"chain,omitempty"`
	ChainTried int      `json:"chain_tried,omitempty"` // how many were tried
}

// Put writes a record into its slot. Where it is too long, its texts are shortened.
func Put(w io.WriterAt, r *Record) error {
	text, err := r.encode()
	if err != nil {
		return err
	}
	if r.Order < 1 || len(text) > room {
		return fmt.Errorf("%w: order %d, %d bytes of at most %d", ErrRecord, r.Order, len(text), room)
	}
	slot := make([]byte, SlotSize)
	copy(slot, slotMagic)
	binary.LittleEndian.PutUint32(slot[8:], uint32(len(text)))
	copy(slot[slotHeader:], text)
	binary.LittleEndian.PutUint32(slot[4:], crc32.Checksum(slot[8:], castagnoli))
	_, err = w.WriteAt(slot, int64(r.Order%Slots)*SlotSize)
	return err
}

// All returns the records of a file by their orders, the oldest first. Slots that were cut are left
// out, and make an [ErrTorn] beside the others.
func All(r io.ReaderAt) ([]Record, error) {
	file := make([]byte, FileSize)
	if _, err := r.ReadAt(file, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var all []Record
	var torn error
	for i := range Slots {
		slot := file[i*SlotSize:][:SlotSize]
		if !slices.ContainsFunc(slot, func(b byte) bool { return b != 0 }) {
			continue
		}
		record, err := parseSlot(slot)
		if err != nil {
			torn = errors.Join(torn, fmt.Errorf("slot %d: %w", i, err))
			continue
		}
		all = append(all, *record)
	}
	slices.SortFunc(all, func(a, b Record) int { return a.Order - b.Order })
	return all, torn
}

// Of returns the record of an order; nil: there is none.
func Of(r io.ReaderAt, order int) (*Record, error) {
	all, err := All(r)
	for i := range all {
		if all[i].Order == order {
			return &all[i], nil
		}
	}
	return nil, err
}

func parseSlot(slot []byte) (*Record, error) {
	length := binary.LittleEndian.Uint32(slot[8:])
	if !bytes.HasPrefix(slot, []byte(slotMagic)) || length > room ||
		crc32.Checksum(slot[8:], castagnoli) != binary.LittleEndian.Uint32(slot[4:]) {
		return nil, ErrTorn
	}
	r := new(Record)
	if err := json.Unmarshal(slot[slotHeader:slotHeader+length], r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if r.Order < 1 {
		return nil, fmt.Errorf("%w: order %d", ErrRecord, r.Order)
	}
	return r, nil
}
