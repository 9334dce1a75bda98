package fields_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/xml"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"troy/diskwriter/machine"
	"troy/image"
	"troy/image/fields"
	"troy/internal/utf16le"
)

const (
	answersAt = 5 * image.PageSize
	tail      = "</b></unattend>"
	account   = "specialize/Join/AccountData"
)

var answers = "<unattend><ComputerName>*</ComputerName><b>" + tail

// disk is one of 16 pages with a field of each kind: names twice, one of them across two pages.
func disk(t *testing.T) ([]byte, []image.Field) {
	t.Helper()
	d := bytes.Repeat([]byte{0xa5}, 16*image.PageSize)
	text := func(name, where string, sizeAt int64, at ...image.Range) image.Field {
		return image.Field{Kind: image.FieldText, Name: name, Where: where, Was: "OLD-NAME", At: at, SizeAt: sizeAt}
	}
	number := func(name string, at int64) image.Field {
		return image.Field{Kind: image.FieldNumber, Name: name, Where: name, Was: "1", At: []image.Range{{Offset: at, Length: 4}}}
	}
	list := []image.Field{
		text(fields.ComputerName, "set 1", 100, image.Range{Offset: 104, Length: 36}),
		text(fields.ComputerName, "set 2", 9000, image.Range{Offset: 2*image.PageSize - 6, Length: 16}, image.Range{Offset: 200, Length: 20}),
		text(fields.Hostname, "set 1", 300, image.Range{Offset: 304, Length: 36}),
		text(fields.NVHostname, "set 1", 400, image.Range{Offset: 404, Length: 32}),
		number(fields.StorageStart, 500), number(fields.StorageStart, 600), number(fields.Hiberboot, 700),
		{Kind: image.FieldFile, Name: fields.MachineFile, Private: true, Where: `\Troy\machine.json`, At: []image.Range{{Offset: 4*image.PageSize - 100, Length: 200}}},
		{Kind: image.FieldAnswers, Name: fields.AnswerFile, Private: true, Where: "unattend.xml", At: []image.Range{{Offset: answersAt, Length: 50}, {Offset: answersAt + 5000, Length: 50}},
			Used: int64(len(answers)), Slots: []image.Slot{
				{Name: fields.NameSlot, Offset: int64(strings.Index(answers, "*")), Length: 1},
				{Name: account, Offset: int64(strings.Index(answers, tail)), Length: 0}}},
	}
	file := answers + strings.Repeat(" ", 100-len(answers))
	copy(d[answersAt:], file[:50])
	copy(d[answersAt+5000:], file[50:])
	copy(d[4*image.PageSize-100:], "{}"+strings.Repeat(" ", 198))
	for i := range list {
		for _, at := range list[i].PageOffsets() {
			list[i].Pages = append(list[i].Pages, sha256.Sum256(d[at:at+image.PageSize]))
		}
	}
	return d, list
}

// joined are the bytes of a field.
func joined(d []byte, f *image.Field) (b []byte) {
	for _, r := range f.At {
		b = append(b, d[r.Offset:r.Offset+r.Length]...)
	}
	return b
}

// TestFill: each field holds its value and nothing of what was there, and no other byte changes.
func TestFill(t *testing.T) {
	d, list := disk(t)
	v := &fields.Values{Name: "Pc-1", Settings: map[string]uint32{fields.StorageStart: 0, fields.Hiberboot: 1}, Machine: []byte(`{"a": "ü"}`),
		Answers: map[string]string{account: "a<&>b"}, Secret: []string{account}}
	edits, err := fields.Fill(list, v, bytes.NewReader(d))
	if err != nil {
		t.Fatal(err)
	}
	out, end := bytes.Clone(d), int64(0)
	for _, e := range edits {
		if e.Offset < end || len(e.Data) == 0 {
			t.Errorf("edit of %d bytes at %d after %d", len(e.Data), e.Offset, end)
		}
		first := e.Offset / image.PageSize * image.PageSize
		end = e.Offset + int64(copy(out[e.Offset:], e.Data))
		if n := (end - first + image.PageSize - 1) / image.PageSize; int(n) != len(e.Pages) {
			t.Errorf("edit of %d bytes at %d has hashes of %d pages", len(e.Data), e.Offset, len(e.Pages))
		}
		for i, sum := range e.Pages {
			if at := first + int64(i)*image.PageSize; sha256.Sum256(d[at:at+image.PageSize]) != sum {
				t.Errorf("another hash of the page at %d", at)
			}
		}
		if secret := e.Offset >= answersAt; secret != e.Secret {
			t.Errorf("edit at %d: secret is %v", e.Offset, e.Secret)
		}
	}
	text := func(s string, room int) string {
		return string(append(utf16le.Append(nil, s), make([]byte, room-2*len(s))...))
	}
	file := strings.Replace(answers, "*", "Pc-1", 1)
	file = strings.Replace(file, tail, "a&lt;&amp;&gt;b"+tail, 1)
	want := []string{text("PC-1", 36), text("PC-1", 36), text("Pc-1", 36), text("Pc-1", 32), "\x00\x00\x00\x00", "\x00\x00\x00\x00", "\x01\x00\x00\x00",
		`{"a": "ü"}` + strings.Repeat(" ", 200-11), file + strings.Repeat(" ", 100-len(file))}
	for i, f := range list {
		if got := joined(out, &f); string(got) != want[i] {
			t.Errorf("%s in %s is %q, want %q", f.Name, f.Where, got, want[i])
		}
		if f.SizeAt > 0 && (out[f.SizeAt] != 10 || out[f.SizeAt+1] != 0) {
			t.Errorf("%s in %s: length %d", f.Name, f.Where, out[f.SizeAt])
		}
		for _, r := range f.Pieces() {
			copy(out[r.Offset:], d[r.Offset:r.Offset+r.Length])
		}
	}
	if !bytes.Equal(out, d) {
		t.Error("a byte outside of the fields changed")
	}
	if err := xml.Unmarshal([]byte(file), new(struct{})); err != nil {
		t.Error(err)
	}
	if again, err := fields.Fill(list, v, bytes.NewReader(d)); err != nil || !reflect.DeepEqual(again, edits) {
		t.Errorf("other edits at the second time, %v", err)
	}
	if none, err := fields.Fill(list, &fields.Values{}, bytes.NewReader(nil)); err != nil || len(none) > 0 {
		t.Errorf("no values: %v, %v", none, err)
	}
}

// TestRefused: what cannot be written is told before anything is read, with the numbers, and never
// with a value that may be a secret.
func TestRefused(t *testing.T) {
	_, list := disk(t)
	without := func(names ...string) (out []image.Field) {
		for _, f := range list {
			if !strings.Contains(strings.Join(names, " "), f.Name) {
				out = append(out, f)
			}
		}
		return out
	}
	const secret = "s3cr3t"
	open := slices.Clone(list) // every user can read its files
	for i := range open {
		open[i].Private = false
	}
	note := map[string]string{account: secret}
	for _, c := range []struct {
		name   string
		fields []image.Field
		v      fields.Values
		class  error
		says   string
	}{
		{"name of 16", list, fields.Values{Name: "ABCDEFGHIJKLMNOP"}, fields.ErrIllegal, `"ABCDEFGHIJKLMNOP" has 16 characters, at most 15`},
		{"umlaut", list, fields.Values{Name: "bücher"}, fields.ErrIllegal, "letters, digits and dashes"},
		{"dot", list, fields.Values{Name: "pc.lab"}, fields.ErrIllegal, "letters, digits and dashes"},
		{"digits", list, fields.Values{Name: "12345"}, fields.ErrIllegal, "digits alone"},
		{"dash", list, fields.Values{Name: "pc-"}, fields.ErrIllegal, "ends with a dash"},
		{"no name field", without(fields.Hostname, fields.AnswerFile), fields.Values{Name: "pc"}, fields.ErrNoField, "no field hostname"},
		{"no fields", nil, fields.Values{Name: "pc"}, fields.ErrNoField, "no field computer-name"},
		{"no room", list, fields.Values{Name: "ABCDEFGHIJKLMNO", Machine: []byte(`"` + secret + strings.Repeat("x", 200) + `"`)}, fields.ErrRoom, `machine-file needs 208 bytes in \Troy\machine.json, which has room for 200`},
		{"no JSON", list, fields.Values{Machine: []byte(`{"a": "` + secret + `"`)}, fields.ErrIllegal, "machine-file: it is not JSON"},
		{"JSON of Latin-1", list, fields.Values{Machine: []byte("\"" + secret + "\xfc\"")}, fields.ErrIllegal, "machine-file: it is not JSON"},
		{"empty file", list, fields.Values{Machine: []byte{}}, fields.ErrIllegal, "machine-file: it is not JSON"},
		{"no file", without(fields.MachineFile), fields.Values{Machine: []byte("1")}, fields.ErrNoField, "no field machine-file"},
		{"no setting", list, fields.Values{Settings: map[string]uint32{"other": 1}}, fields.ErrNoField, "no field other"},
		{"a name as setting", list, fields.Values{Settings: map[string]uint32{fields.Hostname: 1}}, fields.ErrNoField, "no field hostname"},
		{"large number", list, fields.Values{Settings: map[string]uint32{fields.StorageStart: 5}}, fields.ErrIllegal, "storage-start: 5, at most 0"},
		{"long answer", list, fields.Values{Answers: map[string]string{account: secret + strings.Repeat("y", 60)}}, fields.ErrRoom, "answer-file needs 124 bytes in unattend.xml, which has room for 100"},
		{"answer grows by escaping", list, fields.Values{Answers: map[string]string{account: secret + strings.Repeat("<", 10)}}, fields.ErrRoom, "answer-file needs 104 bytes"},
		{"no slot", list, fields.Values{Answers: map[string]string{"a/b": secret}}, fields.ErrNoField, "no element a/b to fill"},
		{"no answer file", without(fields.AnswerFile), fields.Values{Answers: map[string]string{account: secret}}, fields.ErrNoField, "no field answer-file"},
		{"open file", open, fields.Values{Machine: []byte(`"` + secret + `"`), Secret: []string{fields.MachineFile}}, fields.ErrNotPrivate,
			`machine-file takes no secret: users of the PC can read it; run 'icacls C:\Troy\machine.json /inheritance:r /grant:r *S-1-5-18:F *S-1-5-32-544:F' in the`},
		{"open answers", open, fields.Values{Answers: note, Secret: []string{account}}, fields.ErrNotPrivate, "answer-file takes no secret"},
		{"open answers with a name", open, fields.Values{Name: "pc", Answers: note, Secret: []string{fields.AnswerFile}}, fields.ErrNotPrivate, "answer-file takes no secret"},
		{"registry", list, fields.Values{Name: "pc", Secret: []string{fields.Hostname}}, fields.ErrNotPrivate, "hostname takes no secret: users of the PC can read set 1"},
		{"NUL", list, fields.Values{Answers: map[string]string{account: secret + "\x00"}}, fields.ErrIllegal, "characters that XML does not allow"},
		{"not UTF-8", list, fields.Values{Answers: map[string]string{account: secret + "\xff"}}, fields.ErrIllegal, "characters that XML does not allow"},
	} {
		err := fields.Check(c.fields, &c.v)
		if !errors.Is(err, c.class) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
		if edits, ferr := fields.Fill(c.fields, &c.v, bytes.NewReader(nil)); len(edits) > 0 || fmt.Sprint(ferr) != fmt.Sprint(err) {
			t.Errorf("%s: filled with %d edits, %v", c.name, len(edits), ferr)
		}
	}
	for name, v := range map[string]fields.Values{
		"no secret": {Name: "pc", Machine: []byte("1"), Answers: note}, "a secret that is not written": {Name: "pc", Secret: []string{account, fields.MachineFile}},
	} {
		if err := fields.Check(open, &v); err != nil {
			t.Errorf("%s into open files: %v", name, err)
		}
	}
	// The setup of Windows gives the name: the registry need not have one yet.
	if err := fields.Check(without(fields.Hostname, fields.NVHostname), &fields.Values{Name: "pc"}); err != nil {
		t.Errorf("a name for the answer file: %v", err)
	}
	if err := fields.Check(list, &fields.Values{Name: "ABCDEFGHIJKLMNO"}); err != nil {
		t.Errorf("a name of 15: %v", err)
	}
}

// TestChangedPage: nothing is filled where something else stands than was published, in any page of
// any field that gets a value.
func TestChangedPage(t *testing.T) {
	d, list := disk(t)
	v := &fields.Values{Name: "pc", Machine: []byte("1")}
	pages := map[int64]bool{}
	for i := range list {
		for _, at := range list[i].PageOffsets() {
			pages[at] = true
		}
	}
	if len(pages) < 6 {
		t.Fatalf("the fields touch only %d pages", len(pages))
	}
	for at := range pages {
		other := bytes.Clone(d)
		other[at+4000] ^= 1
		edits, err := fields.Fill(list, v, bytes.NewReader(other))
		var page *machine.PageError
		if !errors.As(err, &page) || !errors.Is(err, machine.ErrPage) || page.Offset != at || len(edits) > 0 {
			t.Errorf("page at %d: %d edits, %v", at, len(edits), err)
		}
	}
	if _, err := fields.Fill(list, v, bytes.NewReader(d[:8192])); err == nil {
		t.Error("a disk that ends early was filled")
	}
}
