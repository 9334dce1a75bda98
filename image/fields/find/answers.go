package find

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"troy/diskwriter/ntfs"
	"troy/image"
	"troy/image/fields"
	"troy/image/unattend"
)

// answerFile adds the answer file that setup takes.
func (f *finder) answerFile() {
	for _, folder := range unattend.Folders {
		path := folder + `\` + unattend.Name
		if _, err := f.volume.Lookup(path); !errors.Is(err, ntfs.ErrNotExist) {
			f.answersAt(path)
			return
		}
	}
}

// answersAt adds an answer file that spaces follow.
func (f *finder) answersAt(path string) {
	file := f.place(path, fields.AnswerFile)
	if file == nil {
		return
	}
	x := image.Field{Kind: image.FieldAnswers, Name: fields.AnswerFile, Where: path, Private: f.isPrivate(path)}
	if file.Size() > image.MaxRoom {
		f.note("no %s: %s has %d bytes, at most %d", x.Name, x.Where, file.Size(), image.MaxRoom)
		return
	}
	b, err := file.Bytes(0, file.Size())
	if err == nil {
		x.Used, x.Slots, err = answers(b)
	}
	if err != nil {
		f.note("no %s: %s: %v", x.Name, x.Where, err)
		return
	}
	f.add(x, file, 0, file.Size())
	if !x.Private && slices.ContainsFunc(x.Slots, isSecret) {
		f.note("%v", &fields.NotPrivateError{Name: x.Name, Where: x.Where})
	}
}

// isSecret tells whether a value for that element is a secret.
func isSecret(s image.Slot) bool { return unattend.IsSecret(strings.Split(s.Name, "/")) }

var errNoSpaces = errors.New("no spaces follow its last element, so nothing could become longer")

// answers returns how much of an answer file is before the spaces at its end, and its slots.
func answers(b []byte) (used int64, slots []image.Slot, err error) {
	text := bytes.TrimRight(b, " ")
	if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		return 0, nil, errors.New("it is not UTF-8: save it as that")
	}
	if len(text) == len(b) {
		return 0, nil, errNoSpaces
	}
	slots, err = slotsOf(text)
	return int64(len(text)), slots, err
}

// reading is an answer file while it is read.
type reading struct {
	path  []string
	start int64 // where the text of the innermost element begins; -1: it holds more than text
	slots []image.Slot
	twice map[string]bool
}

// slotsOf finds the elements that hold text alone.
func slotsOf(b []byte) ([]image.Slot, error) {
	d := xml.NewDecoder(bytes.NewReader(b))
	r := &reading{start: -1, twice: map[string]bool{}}
	elements := 0
	for {
		before := d.InputOffset()
		token, err := d.Token()
		switch {
		case errors.Is(err, io.EOF) && elements > 0:
			return r.found(), nil
		case errors.Is(err, io.EOF):
			return nil, errors.New("it has no element")
		case err != nil:
			return nil, fmt.Errorf("it is no XML: %w", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			elements++
			r.path, r.start = append(r.path, step(&token, len(r.path))), d.InputOffset()
		case xml.EndElement:
			r.end(before, d.InputOffset())
		case xml.CharData:
			if bytes.HasPrefix(b[before:], []byte("<![CDATA[")) { // what replaces it is escaped
				r.start = -1
			}
		default: // a comment would be lost
			r.start = -1
		}
	}
}

// step is how an element is named in a path: those of the second and third level by what they are
// for.
func step(e *xml.StartElement, depth int) string {
	attributes := map[string]string{}
	for _, a := range e.Attr {
		attributes[a.Name.Local] = a.Value
	}
	switch architecture := attributes["processorArchitecture"]; {
	case depth == 1:
		return cmp.Or(attributes["pass"], e.Name.Local)
	case depth == 2 && architecture != "" && architecture != "amd64":
		return attributes["name"] + ":" + architecture
	case depth == 2:
		return cmp.Or(attributes["name"], e.Name.Local)
	}
	return e.Name.Local
}

// end takes the element that ends between two offsets of the file.
func (r *reading) end(before, after int64) {
	if r.start >= 0 && after > before && len(r.path) > 3 && (r.path[1] == "specialize" || r.path[1] == "oobeSystem") && !slices.ContainsFunc(r.path, isCommand) {
		name := strings.Join(r.path[1:], "/")
		if slices.ContainsFunc(r.slots, func(s image.Slot) bool { return s.Name == name }) {
			r.twice[name] = true
		}
		r.slots = append(r.slots, image.Slot{Name: name, Offset: r.start, Length: before - r.start})
	}
	r.path, r.start = r.path[:len(r.path)-1], -1
}

// isCommand tells whether an element is about a command that setup runs. Values are the server's
// word alone, and what Windows runs has to be signed.
func isCommand(element string) bool { return strings.Contains(strings.ToLower(element), "command") }

// found returns the slots whose name says which one it is.
func (r *reading) found() []image.Slot {
	list := slices.DeleteFunc(r.slots, func(s image.Slot) bool { return r.twice[s.Name] || len(s.Name) > image.MaxText })
	return list[:min(len(list), image.MaxSlots)]
}
