package pcdisk

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/diskwriter/ntfs"
	"troy/internal/testing/diskfile"
	"troy/internal/testing/needs"
)

// message reads what Leave wrote, as a service inside Windows does.
func message(p []byte) (m Message, err error) {
	if len(p) < ntfs.PageSize || !bytes.Equal(p[:8], mailboxMagic) {
		return m, errors.New("no message")
	}
	n := binary.LittleEndian.Uint32(p[8:])
	if int64(n) > int64(len(p)-16) || crc32.Checksum(p[16:16+n], crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(p[12:]) {
		return m, errors.New("half a message")
	}
	return m, json.Unmarshal(p[16:16+n], &m)
}

// TestMailbox: a disk is made with an empty mailbox; each hand-off leaves a message and takes the
// answer away; one that is missing or of another size is not written to, and is no reason to stop.
func TestMailbox(t *testing.T) {
	needs.Root(t)
	o := bareOptions()
	path := bareDisk(t, o.Need())
	old := bytes.Repeat([]byte("old "), int(o.Need()/4))
	must(t, os.WriteFile(path, old, 0o644))
	o.Wipe = true
	d, _, err := ProvisionBare(t.Context(), path, o)
	must(t, err)
	must(t, d.Close())
	part := func() []byte {
		t.Helper()
		dir := t.TempDir()
		d, err := Look(path, &blockdev.Options{ReadOnly: true})
		must(t, err)
		defer d.Close()
		file := filepath.Join(dir, "part")
		must(t, diskfile.Copy(file, 0, path, diskfile.Range{Offset: d.Data.Start, Length: d.Data.Size}))
		out, err := exec.Command("ntfscat", "-f", file, "Troy/"+Mailbox).Output()
		must(t, err)
		return out
	}
	if got := part(); int64(len(got)) != MailboxSize || len(bytes.Trim(got, "\x00")) != 0 {
		t.Errorf("a new mailbox has %d bytes and is empty: %t", len(got), len(bytes.Trim(got, "\x00")) == 0)
	}
	d, err = Look(path, nil)
	must(t, err)
	defer d.Close()
	_, err = d.Admit()
	must(t, err)
	for _, want := range []Message{{Nonce: "1", Name: "pc-01"}, {Nonce: "2"}} {
		f, err := d.mailbox()
		must(t, err)
		answer := make([]byte, ntfs.PageSize)
		copy(answer, "an answer")
		_, err = f.WriteAt(answer, ntfs.PageSize)
		must(t, err)
		must(t, d.Leave(want))
		got := part()
		if m, err := message(got); err != nil || m.Nonce != want.Nonce || m.Name != want.Name || m.Format != machine.JournalKind.Oldest {
			t.Errorf("the mailbox says %+v, %v, want %+v", m, err, want)
		}
		if len(bytes.Trim(got[ntfs.PageSize:], "\x00")) != 0 {
			t.Error("the old answer is still there")
		}
	}
	if err := d.Leave(Message{Name: string(bytes.Repeat([]byte("x"), ntfs.PageSize))}); !errors.Is(err, ErrMailbox) {
		t.Errorf("too long: %v", err)
	}
}
