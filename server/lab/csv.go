package lab

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"troy/internal/utf16le"
)

// ReadCSV reads hosts from a table whose first line names the columns: name, room, mac, uuid,
// image, version, in any order; name, room and mac or uuid must be there. The separator is a comma,
// a semicolon or a tab, whichever the first line has; the text is UTF-8, or UTF-16 with a byte
// order mark. Errors are Errors, with line and column.
func ReadCSV(file string, in io.Reader) ([]Host, error) {
	b, err := io.ReadAll(io.LimitReader(in, maxSize))
	if err != nil {
		return nil, err
	}
	text := string(plainText(b))
	first, _, _ := strings.Cut(text, "\n")
	r := csv.NewReader(strings.NewReader(text))
	r.Comma = separator(first)
	r.TrimLeadingSpace = true
	t := &table{file: file, r: r}
	hosts := t.read()
	if len(t.faults) > 0 {
		return nil, t.faults
	}
	return hosts, nil
}

// plainText turns what editors and spreadsheets of Windows write into UTF-8 without a byte order
// mark.
func plainText(b []byte) []byte {
	switch {
	case bytes.HasPrefix(b, []byte{0xff, 0xfe}):
		return []byte(utf16le.String(b[2:]))
	case bytes.HasPrefix(b, []byte{0xfe, 0xff}):
		swapped := slices.Clone(b[2:])
		for i := 1; i < len(swapped); i += 2 {
			swapped[i-1], swapped[i] = swapped[i], swapped[i-1]
		}
		return []byte(utf16le.String(swapped))
	}
	return bytes.TrimPrefix(b, []byte("\ufeff"))
}

func separator(line string) rune {
	for _, c := range ";\t" {
		if strings.ContainsRune(line, c) {
			return c
		}
	}
	return ','
}

// table is a CSV file being read.
type table struct {
	file    string
	r       *csv.Reader
	columns []string
	faults  Errors
}

func (t *table) read() (hosts []Host) {
	for {
		record, err := t.r.Read()
		if err == io.EOF {
			return hosts
		}
		var bad *csv.ParseError
		if err != nil {
			e := &Error{File: t.file, Found: err.Error(), Expected: "CSV"}
			if errors.As(err, &bad) {
				e.Line, e.Column, e.Found = bad.Line, bad.Column, bad.Err.Error()
			}
			t.faults = append(t.faults, e)
			return nil
		}
		if t.columns == nil {
			if t.columns = record; !t.header() {
				return nil
			}
			continue
		}
		hosts = append(hosts, t.host(record))
	}
}

var csvColumns = []string{"name", "room", "mac", "uuid", "image", "version"}

func (t *table) header() bool {
	for i, name := range t.columns {
		t.columns[i] = strings.ToLower(strings.TrimSpace(name))
		if !slices.Contains(csvColumns, t.columns[i]) || slices.Contains(t.columns[:i], t.columns[i]) {
			t.add(i, fmt.Sprintf("the column %q", name), "each of "+strings.Join(csvColumns, ", ")+" at most once")
		}
	}
	if !slices.Contains(t.columns, "name") || !slices.Contains(t.columns, "room") {
		t.add(0, "no column name or room", "both")
	}
	return len(t.faults) == 0
}

func (t *table) add(field int, found, expected string) {
	line, column := t.r.FieldPos(field)
	t.faults = append(t.faults, &Error{File: t.file, Line: line, Column: column, Found: found, Expected: expected})
}

func (t *table) host(record []string) (h Host) {
	into := map[string]scalar{"name": &h.Name, "room": &h.Room, "mac": &h.MAC, "uuid": &h.UUID, "image": &h.Image, "version": &h.Version}
	for i, text := range record {
		name := t.columns[i]
		if text = strings.TrimSpace(text); text == "" && name != "name" && name != "room" {
			continue
		}
		if s := into[name]; s.parse(text) != nil {
			t.add(i, fmt.Sprintf("%q", text), s.want())
		}
	}
	if h.MAC == "" && h.UUID == "" && len(t.faults) == 0 {
		t.add(0, "neither mac nor uuid", "one of them")
	}
	return h
}

// WriteHosts writes hosts as the lines that belong under "hosts:" in lab.yaml.
func WriteHosts(w io.Writer, hosts []Host) error {
	for _, h := range hosts {
		line := fmt.Sprintf("  - {name: %q, room: %q", h.Name, h.Room)
		for _, m := range []struct{ name, value string }{{"mac", string(h.MAC)}, {"uuid", string(h.UUID)}, {"image", string(h.Image)}} {
			if m.value != "" {
				line += fmt.Sprintf(", %s: %q", m.name, m.value)
			}
		}
		if h.Version > 0 {
			line += fmt.Sprintf(", version: %d", h.Version)
		}
		if _, err := fmt.Fprintln(w, line+"}"); err != nil {
			return err
		}
	}
	return nil
}

// CheckNew says, a line for each, which hosts cannot be added to the lab: their room is not there,
// or name or address are taken.
func (l *Lab) CheckNew(hosts []Host) (faults []string) {
	names, ids := map[Name]bool{}, map[string]bool{}
	for _, h := range l.Hosts {
		names[h.Name] = true
		ids[string(h.MAC)], ids[h.UUID.folded()] = true, true
	}
	for _, h := range hosts {
		switch {
		case l.Rooms[h.Room] == nil:
			faults = append(faults, fmt.Sprintf("%s: room %q is not in the lab", h.Name, h.Room))
		case names[h.Name]:
			faults = append(faults, fmt.Sprintf("%s: another host has this name", h.Name))
		case h.MAC != "" && ids[string(h.MAC)], h.UUID != "" && ids[h.UUID.folded()]:
			faults = append(faults, fmt.Sprintf("%s: another host has this address", h.Name))
		case h.UUID != "" && l.shares(h.UUID):
			faults = append(faults, fmt.Sprintf("%s: many boards have the UUID %s: leave it out and give mac", h.Name, h.UUID))
		}
		names[h.Name] = true
		ids[string(h.MAC)], ids[h.UUID.folded()] = true, true
	}
	return faults
}
