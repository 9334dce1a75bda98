package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"testing"

	"troy/chainload/selfboot"
	"troy/diskwriter/machine"
	"troy/diskwriter/pcdisk"
	"troy/server/protocol"
)

// needsWord makes the records of the journal need a word that this program does not know, as an
// agent of a later release does.
func (b *bench) needsWord(word string) {
	b.t.Helper()
	const slot, head = 1 << 20, 64 // package machine describes them
	b.withTarget(func(target *pcdisk.Target) {
		_, err := target.Admit()
		b.must(err)
		f := target.Files().Journal
		changed := 0
		for off := int64(0); off < 12*slot; off += slot {
			p := make([]byte, slot)
			_, err := f.Storage.ReadAt(p, off)
			b.must(err)
			if !bytes.HasPrefix(p, []byte("troyjrn1")) {
				continue
			}
			content := bytes.Clone(p[head : head+int(binary.LittleEndian.Uint32(p[12:]))])
			content = bytes.Replace(content, []byte(`{"format":1`), []byte(`{"format":9,"needs":["`+word+`"]`), 1)
			sum := sha256.Sum256(content)
			copy(p[head:], content)
			copy(p[24:], sum[:])
			binary.LittleEndian.PutUint32(p[12:], uint32(len(content)))
			binary.LittleEndian.PutUint32(p[60:], crc32.Checksum(p[:60], crc32.MakeTable(crc32.Castagnoli)))
			_, err = f.Storage.WriteAt(p, off)
			b.must(err)
			changed++
		}
		b.must(f.Sync())
		if changed < 4 {
			b.t.Fatalf("%d slots of the journal hold a record", changed)
		}
	})
}

// An agent that meets the disk of a newer one (an old stick, the other copy) starts Windows and
// writes nothing, whatever is ordered and permitted: no version, no reset, no note.
func TestDiskOfANewerAgent(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.run()
	b.holds(b.v2)
	b.addVersion(3)
	b.orders.Version, b.orders.Rules.Reset = 3, protocol.ResetBoot
	b.orders.Permits = protocol.Permits{Reinstall: true, Retry: true}
	b.needsWord("drives")
	before := b.digest()
	b.said("waiting", b.run(), ExitUntouched, `the journal of this disk needs "drives"`, "install a newer Troy")
	if r := b.reports; len(r) == 0 || !slices.Equal(r[len(r)-1].Lacks, []string{"drives"}) {
		t.Errorf("it reports %+v", r)
	}
	if b.digest() != before {
		t.Error("the disk was written to")
	}
}

// What only this release reads is written once it is the one that starts next: not while it is on
// trial, and not by a medium beside another release.
func TestSettled(t *testing.T) {
	trial := selfboot.State{Trial: &selfboot.Trial{Version: "2", Copy: selfboot.B}}
	for name, c := range map[string]struct {
		own   ownCopy
		state selfboot.State
		order *protocol.Order
		want  bool
	}{
		"from its copy":               {own: ownCopy{inside: true}, want: true},
		"from its copy, and a newer":  {own: ownCopy{inside: true}, order: &protocol.Order{Agent: "2"}, want: true},
		"on trial":                    {own: ownCopy{inside: true, trial: true}, state: trial},
		"a trial that is not judged":  {own: ownCopy{inside: true}, state: trial},
		"a medium beside a copy":      {},
		"a medium alone":              {own: ownCopy{none: true}, order: &protocol.Order{}, want: true},
		"a medium alone, no server":   {own: ownCopy{none: true}, want: true},
		"a medium, and a release":     {own: ownCopy{none: true}, order: &protocol.Order{Agent: "2"}},
		"a medium beside a copy, too": {order: &protocol.Order{Agent: "2"}},
	} {
		c.own.rec = &records{}
		c.own.rec.Agent = c.state
		if got := c.own.settled(c.order); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}

// The start that is settled raises the journal; one that is not leaves its format as it is.
func TestRaise(t *testing.T) {
	was := machine.JournalKind
	t.Cleanup(func() { machine.JournalKind = was })
	b := newBench(t, protocol.MergeNow)
	b.run()
	machine.JournalKind.Number++ // another release
	formats := func() (n int) {
		b.withTarget(func(target *pcdisk.Target) {
			_, err := target.Admit()
			b.must(err)
			j, err := machine.OpenJournal(target.Files().Journal)
			b.must(err)
			n = j.Head().Format
		})
		return n
	}
	b.run()
	if got := formats(); got != machine.JournalKind.Oldest {
		t.Errorf("a start that is not settled left format %d", got)
	}
	a := b.agent()
	a.own.inside = true
	a.run(t.Context())
	if got := formats(); got != machine.JournalKind.Current() {
		t.Errorf("a start that is settled left format %d, want %d", got, machine.JournalKind.Current())
	}
}
