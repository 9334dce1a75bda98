package pcdisk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"troy/diskwriter/machine"
	"troy/diskwriter/ntfs"
	"troy/internal/block"
	"troy/internal/format"
)

// Mailbox is the file in Folder through which the agent and a service inside Windows tell each other
// something. It is none of Names: what becomes of it stops nothing.
const Mailbox = "mailbox"

// MailboxSize is its size in bytes, which never changes.
const MailboxSize = mib

// mailboxMagic begins each of the two messages.
var mailboxMagic = []byte("troymbx1")

// ErrMailbox is returned where there is no mailbox that may be written to. Nothing was written.
var ErrMailbox = errors.New("there is no mailbox to write to")

// Message is what the agent leaves for Windows. See the package comment for the format.
type Message struct {
	format.Head        // as the journal has it; Leave sets it
	Nonce       string `json:"nonce"`          // of this hand-off: an answer that repeats it is of this start
	Name        string `json:"name,omitempty"` // of the machine, as the server calls it; "" = not known in this start
}

// page is the message as the file has it.
func (m *Message) page() ([]byte, error) {
	text, err := format.Marshal(m)
	const head = 16
	if err == nil && head+len(text) > ntfs.PageSize {
		err = fmt.Errorf("a message of %d bytes", len(text))
	}
	if err != nil {
		return nil, err
	}
	p := block.Aligned(ntfs.PageSize)
	copy(p, mailboxMagic)
	binary.LittleEndian.PutUint32(p[8:], uint32(len(text)))
	binary.LittleEndian.PutUint32(p[12:], crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli)))
	copy(p[head:], text)
	return p, nil
}

// Leave overwrites the mailbox: the message is there, and no answer. Its clusters are looked up each
// time, for Windows may have moved the file, and only on a volume that it closed in order.
func (t *Target) Leave(m Message) error {
	j, err := machine.OpenJournal(t.Files().Journal)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMailbox, err)
	}
	m.Head = j.Head()
	p, err := m.page()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMailbox, err)
	}
	f, err := t.mailbox()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMailbox, err)
	}
	answer := block.Aligned(ntfs.PageSize)
	if _, err := f.WriteAt(answer, ntfs.PageSize); err != nil {
		return err
	}
	if _, err := f.WriteAt(p, 0); err != nil {
		return err
	}
	return f.Sync()
}

// mailbox maps the file.
func (t *Target) mailbox() (*ntfs.MappedFile, error) {
	volume, verdict := ntfs.Judge(t.part, t.part.Size())
	if verdict.Condition != ntfs.Clean {
		return nil, fmt.Errorf("the volume is not clean: %s", verdict)
	}
	f, err := volume.Map(t.part, Folder+Mailbox)
	if err != nil {
		return nil, err
	}
	if f.Size() != MailboxSize {
		return nil, fmt.Errorf("it has %d bytes, not %d", f.Size(), MailboxSize)
	}
	all := []*ntfs.MappedFile{f}
	for _, other := range t.files {
		all = append(all, other)
	}
	return f, ntfs.CheckDisjoint(all...)
}

// emptyMailbox zeroes the file of a disk that is being made: its clusters hold what the disk held.
func (t *Target) emptyMailbox(ctx context.Context, z *zeroer) error {
	f, err := t.mailbox()
	if err != nil {
		return err
	}
	return t.zeroFile(ctx, z, f, 0, f.Size())
}
