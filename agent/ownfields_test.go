package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"unicode/utf16"

	"troy/diskwriter/pcdisk"
	"troy/image"
	"troy/image/fields"
)

// fieldsAt is where versions 1 and 2 have their fields, for pages move between versions.
var fieldsAt = [2]int64{19 << 20, 21 << 20}

const (
	ownerSlot   = "oobeSystem/Shell/Owner"
	accountSlot = "specialize/Join/AccountData"
	answersText = "<u><n>*</n><o>me</o><a></a></u>"
	answersRoom = 5000
)

// putFields puts placeholders where a version has its fields.
func putFields(disk []byte, at int64) {
	clear(disk[at : at+8*image.PageSize])
	copy(disk[at+4096:at+2*4096], "{}"+strings.Repeat(" ", 4094))
	copy(disk[at+2*4096:][:answersRoom], answersText+strings.Repeat(" ", answersRoom))
	for _, r := range placesOf(at) {
		if r.Kind == image.FieldText {
			write16(disk, &r, "MASTER")
		}
	}
}

func write16(disk []byte, f *image.Field, text string) {
	b := binary.LittleEndian.AppendUint16(nil, 0)[:0]
	for _, u := range append(utf16.Encode([]rune(text)), 0) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	binary.LittleEndian.PutUint32(disk[f.SizeAt:], uint32(len(b)))
	for _, r := range f.At {
		n := copy(disk[r.Offset:r.Offset+r.Length], b)
		b = b[n:]
	}
}

// placesOf are the fields without the hashes of their pages: one name lies across two pages.
func placesOf(at int64) []image.Field {
	text := func(name string, size int64, in ...image.Range) image.Field {
		return image.Field{Kind: image.FieldText, Name: name, Where: name, Was: "MASTER", SizeAt: at + size, At: in}
	}
	return []image.Field{
		text(fields.ComputerName, 100, image.Range{Offset: at + 104, Length: 36}),
		text(fields.ComputerName, 600, image.Range{Offset: at + 5*4096 - 6, Length: 16}, image.Range{Offset: at + 500, Length: 20}),
		text(fields.Hostname, 200, image.Range{Offset: at + 204, Length: 36}),
		text(fields.NVHostname, 300, image.Range{Offset: at + 304, Length: 36}),
		{Kind: image.FieldNumber, Name: fields.DisablePasswordChange, Where: "number", At: []image.Range{{Offset: at + 400, Length: 4}}},
		{Kind: image.FieldFile, Name: fields.MachineFile, Private: true, Where: `\Troy\machine.json`, At: []image.Range{{Offset: at + 4096, Length: 4096}}},
		{Kind: image.FieldAnswers, Name: fields.AnswerFile, Private: true, Where: `\Windows\Panther\unattend.xml`, At: []image.Range{{Offset: at + 2*4096, Length: answersRoom}},
			Used: int64(len(answersText)), Slots: []image.Slot{
				{Name: fields.NameSlot, Offset: int64(strings.Index(answersText, "*")), Length: 1},
				{Name: ownerSlot, Offset: int64(strings.Index(answersText, "me")), Length: 2},
				{Name: accountSlot, Offset: int64(strings.Index(answersText, "</a>"))}}},
	}
}

// fields are those of a version, if it has any: layouts of other tests have none.
func (b *bench) fields(version int) []image.Field {
	b.t.Helper()
	disk := b.read([]string{b.v1, b.v2}[version-1])
	at := fieldsAt[version-1]
	if !bytes.HasPrefix(disk[at+4096:], []byte("{}  ")) {
		return nil
	}
	list := placesOf(at)
	for i := range list {
		for _, p := range list[i].PageOffsets() {
			list[i].Pages = append(list[i].Pages, sha256.Sum256(disk[p:p+image.PageSize]))
		}
	}
	return list
}

// own is what Windows finds in the fields, by an eye that knows nothing of package fields.
type found struct {
	names         [4]string
	number        uint32
	machine, file string
}

// published is what Windows finds where nothing was written.
var published = found{names: [4]string{"MASTER", "MASTER", "MASTER", "MASTER"}, machine: "{}", file: answersText}

// finds reads the fields as Windows would, and fails if anything else of the version is changed.
func (b *bench) finds(version int) (is found) {
	b.t.Helper()
	return b.findsIn(b.shows(), version)
}

// shows is the virtual disk of Windows, session and all.
func (b *bench) shows() (have []byte) {
	b.t.Helper()
	b.withTarget(func(t *pcdisk.Target) {
		_, _, err := t.Open()
		b.must(err)
		chain, err := pcdisk.Chain(t.Files())
		b.must(err)
		have = make([]byte, chain.Size())
		_, err = chain.ReadAt(have, 0)
		b.must(err)
	})
	return have
}

func (b *bench) findsIn(have []byte, version int) (is found) {
	b.t.Helper()
	want := b.read([]string{b.v1, b.v2}[version-1])
	names := 0
	for _, f := range placesOf(fieldsAt[version-1]) {
		var all []byte
		for _, r := range f.At {
			all = append(all, have[r.Offset:r.Offset+r.Length]...)
		}
		switch f.Kind {
		case image.FieldText:
			n := binary.LittleEndian.Uint32(have[f.SizeAt:])
			var text []uint16
			for i := range int(n)/2 - 1 {
				text = append(text, binary.LittleEndian.Uint16(all[2*i:]))
			}
			if len(bytes.Trim(all[n-2:], "\x00")) > 0 {
				b.t.Errorf("%s: something follows the name", f.Name)
			}
			is.names[names] = string(utf16.Decode(text))
			names++
		case image.FieldNumber:
			is.number = binary.LittleEndian.Uint32(all)
		case image.FieldFile:
			is.machine = string(bytes.TrimRight(all, " "))
		case image.FieldAnswers:
			is.file = string(bytes.TrimRight(all, " "))
		}
		for _, r := range f.Pieces() {
			copy(have[r.Offset:], want[r.Offset:r.Offset+r.Length])
		}
	}
	if !bytes.Equal(have, want) {
		b.t.Errorf("outside of the fields the machine does not hold version %d", version)
	}
	return is
}

// called is a machine whose names are given, and nothing else but what follows.
func called(name string, machine, answers string) found {
	up := strings.ToUpper(name)
	return found{names: [4]string{up, up, name, name}, machine: machine, file: strings.Replace(answers, "*", name, 1)}
}

// is fails unless Windows finds that.
func (b *bench) is(version int, want found, when string) {
	b.t.Helper()
	if got := b.finds(version); got != want {
		b.t.Errorf("%s: Windows finds\n%+v, want\n%+v", when, got, want)
	}
}
