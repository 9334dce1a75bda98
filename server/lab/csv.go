package lab

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"troy/internal/utf16le"
)

// ReadCSV reads hosts from a table whose first line names the columns: name, room, mac, uuid,
// image, version, pc_name, in any order; name, room and mac or uuid must be there. It takes what spreadsheets
// write: UTF-8, or UTF-16 with a byte order mark; a comma, a semicolon or a tab as the separator,
// whichever the line "sep=;" at the top or else the names of the columns have; lines and columns
// without content; lines that end before the last column. Errors are Errors, with line and column.
func ReadCSV(file string, in io.Reader) ([]Host, error) {
	t, err := newTable(file, in, csvColumns...)
	if err != nil {
		return nil, err
	}
	var hosts []Host
	t.read(func() bool { return t.wants("name") && t.wants("room") }, func(record []string) { hosts = append(hosts, t.host(record)) })
	if len(t.faults) > 0 {
		return nil, t.faults
	}
	return hosts, nil
}

// separator finds what separates the fields of a text, and how many lines at its top are not of the
// table. Excel writes the separator into a line of its own.
func separator(text string) (c rune, skip int) {
	for line := range strings.Lines(text) {
		line = strings.Trim(line, "\r\n\"")
		if c, ok := strings.CutPrefix(strings.ToLower(line), "sep="); ok && len(c) == 1 && strings.Contains(",;\t", c) {
			return rune(c[0]), skip + 1
		}
		if strings.Trim(line, ",; \t") != "" {
			for _, c := range ";\t" {
				if strings.ContainsRune(line, c) {
					return c, skip
				}
			}
			break
		}
		skip++ // an empty line, of which nobody knows how it was separated
	}
	return ',', skip
}

// below returns the text without its first lines.
func below(text string, lines int) string {
	for range lines {
		_, text, _ = strings.Cut(text, "\n")
	}
	return text
}

// table is a CSV file being read.
type table struct {
	file    string
	r       *csv.Reader
	skipped int      // lines above the table
	known   []string // columns
	columns []string // as the file has them; "" = a column without a name
	fields  int      // of the line that was read last
	faults  Errors
}

// newTable opens a CSV file.
func newTable(file string, in io.Reader, known ...string) (*table, error) {
	b, err := io.ReadAll(io.LimitReader(in, maxSize))
	if err != nil {
		return nil, err
	}
	text := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(utf16le.Plain(b)))
	switch expected := "a table as CSV, in UTF-8 or in UTF-16 with a byte order mark"; {
	case strings.HasPrefix(text, "PK\x03\x04"):
		return nil, Errors{{File: file, Found: "a workbook of Excel or LibreOffice", Expected: expected + ": save it as CSV"}}
	case strings.ContainsRune(text, 0):
		return nil, Errors{{File: file, Found: "a text with zeros in it", Expected: expected}}
	}
	comma, skip := separator(text)
	r := csv.NewReader(strings.NewReader(below(text, skip)))
	r.Comma = comma
	r.TrimLeadingSpace = comma != '\t' // else it would take empty fields for space
	r.FieldsPerRecord = -1
	return &table{file: file, r: r, known: known, skipped: skip}, nil
}

// Subject is a line of a table that names machines or disks.
type Subject struct{ Name, Serial string }

// ReadSubjects reads machines or disks from a table as ReadCSV reads it, with a column name, serial
// (of a disk) or both; a line with a serial number is that disk. Other columns of ReadCSV may be
// there. Errors are Errors, with line and column.
func ReadSubjects(file string, in io.Reader) (list []Subject, err error) {
	t, err := newTable(file, in, append(slices.Clone(csvColumns), "serial")...)
	if err != nil {
		return nil, err
	}
	t.read(func() bool { return t.wants("name", "serial") }, func(record []string) {
		var s Subject
		for i, text := range record {
			switch text = strings.TrimSpace(text); t.columns[i] {
			case "name":
				s.Name = text
			case "serial":
				s.Serial = text
			}
		}
		if s == (Subject{}) {
			t.add(0, "neither name nor serial", "one of them")
		}
		list = append(list, s)
	})
	if len(t.faults) > 0 {
		return nil, t.faults
	}
	return list, nil
}

// wants complains unless one of some columns is there.
func (t *table) wants(columns ...string) bool {
	if !slices.ContainsFunc(columns, func(c string) bool { return slices.Contains(t.columns, c) }) {
		t.add(0, "no column "+strings.Join(columns, " or "), "one of them")
	}
	return len(t.faults) == 0
}

// read gives the lines to take, once header has seen the columns.
func (t *table) read(header func() bool, take func(record []string)) {
	for {
		record, err := t.r.Read()
		if err == io.EOF {
			return
		}
		var bad *csv.ParseError
		if err != nil {
			e := &Error{File: t.file, Found: err.Error(), Expected: "CSV"}
			if errors.As(err, &bad) {
				e.Line, e.Column, e.Found = t.skipped+bad.Line, bad.Column, bad.Err.Error()
			}
			t.faults = append(t.faults, e)
			return
		}
		if t.fields = len(record); empty(record) {
			continue
		}
		if t.columns == nil {
			t.columns = record
			if t.header(); !header() {
				return
			}
			continue
		}
		if record, ok := t.named(record); ok {
			take(record)
		}
	}
}

// empty says whether a line has nothing in its fields.
func empty(record []string) bool {
	return !slices.ContainsFunc(record, func(s string) bool { return strings.TrimSpace(s) != "" })
}

// named makes a line as long as that of the columns. It complains where a column without a name has
// content.
func (t *table) named(record []string) ([]string, bool) {
	ok := true
	for i, text := range record {
		if strings.TrimSpace(text) != "" && (i >= len(t.columns) || t.columns[i] == "") {
			t.add(i, fmt.Sprintf("%q in a column without a name", text), "one of "+strings.Join(t.known, ", ")+" above it")
			ok = false
		}
	}
	for len(record) < len(t.columns) {
		record = append(record, "")
	}
	return record[:len(t.columns)], ok
}

var csvColumns = []string{"name", "room", "mac", "uuid", "image", "version", "pc_name"}

// header spells the columns, and complains of those that are not known.
func (t *table) header() {
	for i, name := range t.columns {
		t.columns[i] = strings.ToLower(strings.TrimSpace(name))
		if t.columns[i] == "" {
			continue
		}
		if !slices.Contains(t.known, t.columns[i]) || slices.Contains(t.columns[:i], t.columns[i]) {
			t.add(i, fmt.Sprintf("the column %q", name), "each of "+strings.Join(t.known, ", ")+" at most once")
		}
	}
}

func (t *table) add(field int, found, expected string) {
	line, column := t.r.FieldPos(min(field, t.fields-1)) // a line may end before its last column
	t.faults = append(t.faults, &Error{File: t.file, Line: t.skipped + line, Column: column, Found: found, Expected: expected})
}

func (t *table) host(record []string) (h Host) {
	into := map[string]scalar{"name": &h.Name, "room": &h.Room, "mac": &h.MAC, "uuid": &h.UUID, "image": &h.Image, "version": &h.Version, "pc_name": &h.PCName}
	for i, text := range record {
		name := t.columns[i]
		if text = strings.TrimSpace(text); name == "" || text == "" && name != "name" && name != "room" {
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
		for _, m := range []struct{ name, value string }{{"mac", string(h.MAC)}, {"uuid", string(h.UUID)}, {"image", string(h.Image)}, {"pc_name", string(h.PCName)}} {
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
	names, ids, pcs := map[Name]bool{}, map[string]bool{}, map[string]Name{}
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
		if fault := l.newName(&h, pcs); fault != "" {
			faults = append(faults, fault)
		}
		names[h.Name] = true
		ids[string(h.MAC)], ids[h.UUID.folded()] = true, true
	}
	return faults
}

// newName says why a host that is to be added cannot be named in Windows; "" = it can. taken has
// those that were added before.
func (l *Lab) newName(h *Host, taken map[string]Name) string {
	p, ok := l.Room(string(h.Room))
	if !ok || p.Identity == IdentityOff {
		return ""
	}
	p.take(h)
	name, err := pcName(p.PCName, string(h.Room), string(h.Name))
	other := taken[FoldPC(name)]
	if o := l.Named(name); o != nil {
		other = o.Name
	}
	taken[FoldPC(name)] = h.Name
	switch {
	case err != nil:
		return fmt.Sprintf("%s: %v, in Windows", h.Name, err)
	case other != "" && other != h.Name:
		return fmt.Sprintf("%s: %s has the name %s in Windows", h.Name, other, name)
	}
	return ""
}
