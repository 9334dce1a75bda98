package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"troy/image/fields"
	"troy/internal/utf16le"
	"troy/server/protocol"
)

const owner = "specialize/Microsoft-Windows-Shell-Setup/RegisteredOwner"

// ownLab is a lab with two rooms of named PCs, and one without names.
const ownLab = `format: 1
zone: UTC
defaults:
  always: true
  identity: wanted
  settings: {hiberboot-enabled: 0}
  values: {printer: hp-1, site: north}
rooms:
  B204:
    identity: required
    pc_name: "lab{room}-{number}"
    settings: {disable-password-change: 1}
    values: {printer: hp-b204, "` + owner + `": Lab}
    secrets: {key: "keys/{host}.txt"}
  office: {}
  bare: {identity: off}
hosts:
  - {name: pc-01, room: B204, mac: "52:54:00:12:34:01"}
  - {name: pc-02, room: B204, mac: "52:54:00:12:34:02", pc_name: TEACHER, values: {printer: hp-2}, settings: {hiberboot-enabled: 1}, secrets: {key: /abs/k}}
  - {name: desk, room: office, mac: "52:54:00:12:34:03"}
  - {name: a-name-that-windows-cannot-have, room: bare, mac: "52:54:00:12:34:04"}
`

// TestIdentity: host over room over defaults, key by key, and placeholders.
func TestIdentity(t *testing.T) {
	l, err := Parse("/etc/troy/lab.yaml", []byte(ownLab))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		room, host string
		want       *Own
	}{
		{"B204", "pc-01", &Own{protocol.Identity{Required: true, Name: "labB204-01",
			Settings: []protocol.Setting{{Field: "disable-password-change", Number: 1}, {Field: "hiberboot-enabled"}},
			Values:   []protocol.Value{{Key: "printer", Text: "hp-b204"}, {Key: "site", Text: "north"}, {Key: owner, Text: "Lab"}}},
			[]Secret{{"key", "/etc/troy/keys/pc-01.txt"}}}},
		{"B204", "pc-02", &Own{protocol.Identity{Required: true, Name: "TEACHER",
			Settings: []protocol.Setting{{Field: "disable-password-change", Number: 1}, {Field: "hiberboot-enabled", Number: 1}},
			Values:   []protocol.Value{{Key: "printer", Text: "hp-2"}, {Key: "site", Text: "north"}, {Key: owner, Text: "Lab"}}},
			[]Secret{{"key", "/abs/k"}}}},
		// Not in lab.yaml: an admin assigned it.
		{"B204", "new-7", &Own{protocol.Identity{Required: true, Name: "labB204-7",
			Settings: []protocol.Setting{{Field: "disable-password-change", Number: 1}, {Field: "hiberboot-enabled"}},
			Values:   []protocol.Value{{Key: "printer", Text: "hp-b204"}, {Key: "site", Text: "north"}, {Key: owner, Text: "Lab"}}},
			[]Secret{{"key", "/etc/troy/keys/new-7.txt"}}}},
		{"office", "desk", &Own{protocol.Identity{Name: "desk", Settings: []protocol.Setting{{Field: "hiberboot-enabled"}},
			Values: []protocol.Value{{Key: "printer", Text: "hp-1"}, {Key: "site", Text: "north"}}}, nil}},
		{"bare", "a-name-that-windows-cannot-have", nil},
		{"none", "desk", nil},
	} {
		got, err := l.Identity(c.room, c.host)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s in %s: %+v, %v\nwant %+v", c.host, c.room, got, err, c.want)
		}
		if got != nil && got.Validate() != nil {
			t.Errorf("%s: %v", c.host, got.Validate())
		}
	}
	for _, name := range []string{"desk-with-a-long-name", "a.b", "123", "x_y"} {
		if own, err := l.Identity("office", name); own != nil || !errors.Is(err, fields.ErrIllegal) {
			t.Errorf("%s: %+v, %v", name, own, err)
		}
	}
	if own, err := l.Identity("B204", "teacher"); own != nil || !errors.Is(err, fields.ErrIllegal) || !strings.Contains(err.Error(), "{number}") {
		t.Errorf("no digits: %+v, %v", own, err)
	}
	if h := l.Named("teacher"); h == nil || h.Name != "pc-02" || l.Named("pc-02") != nil || l.Named("a-name-that-windows-cannot-have") != nil {
		t.Errorf("by the name in Windows: %+v", h)
	}
}

// TestIdentityErrors changes one line of a good file and wants the place and the words.
func TestIdentityErrors(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"policy", "identity: required", "identity: yes", `lab.yaml:10:15: rooms.B204.identity: found "yes", expected off, wanted or required`},
		{"placeholder", "lab{room}-{number}", "lab-{seat}", `lab.yaml:11:14: rooms.B204.pc_name: found "lab-{seat}", expected letters, digits, dashes and the placeholders {host}`},
		{"letter", "lab{room}-{number}", "lab_{number}", `lab.yaml:11:14: rooms.B204.pc_name: found "lab_{number}"`},
		{"placeholder of a path", "keys/{host}.txt", "keys/{hots}.txt", `lab.yaml:14:20: rooms.B204.secrets.key: found "keys/{hots}.txt", expected the path of a file`},
		{"setting", "{disable-password-change: 1}", "{disable-password: 1}", `lab.yaml:12:16: rooms.B204.settings: found "disable-password", expected one of disable-password-change, hiberboot-enabled`},
		{"number of Windows", "{disable-password-change: 1}", "{disable-password-change: 2}", `lab.yaml:12:41: rooms.B204.settings.disable-password-change: found 2, at most 1, expected a number that Windows knows`},
		{"number", "{disable-password-change: 1}", "{disable-password-change: -1}", `expected a whole number from 0 to 4294967295`},
		{"number of a host", "{hiberboot-enabled: 1}", "{hiberboot-enabled: 3}", `lab.yaml:19:130: hosts[1].settings.hiberboot-enabled: found 3, at most 1`},
		{"number of the defaults", "{hiberboot-enabled: 0}", "{hiberboot-enabled: 3}", `lab.yaml:6:33: defaults.settings.hiberboot-enabled: found 3, at most 1`},
		{"element", owner, "specialize/Owner", `lab.yaml:13:32: rooms.B204.values: found "specialize/Owner", expected a member of machine.json, without a slash; or an element`},
		{"pass", owner, "windowsPE/a/b", `found "windowsPE/a/b"`},
		{"element of the name", owner, fields.NameSlot, `(but ComputerName there is pc_name)`},
		{"value", "printer: hp-b204", "printer: 7", `lab.yaml:13:23: rooms.B204.values.printer: found "7", expected a text of at most 16384 bytes`},
		{"no value", "printer: hp-b204", "printer: ", `rooms.B204.values.printer: found nothing`},
		{"large value", "printer: hp-b204", "printer: " + strings.Repeat("x", protocol.MaxValue+1), `lab.yaml:13:23: rooms.B204.values.printer: found "xxx`},
		{"control character", "printer: hp-b204", `printer: "\e"`, `lab.yaml:13:23: rooms.B204.values.printer: found`},
		{"values of the whole", "{printer: hp-b204, ", fmt.Sprintf("{a: %[1]s, b: %[1]s, c: x, ", strings.Repeat("x", protocol.MaxValue)), "lab.yaml:13:13: rooms.B204.values: found 32"},
		{"too many", "{printer: hp-b204, ", "{" + manyValues(protocol.MaxValues) + ", ", "lab.yaml:13:13: rooms.B204.values: found 68 values and secrets, expected at most 64"},
		{"both", "secrets: {key:", "secrets: {site:", `rooms.B204.secrets.site: found a key of values, expected it in values or in secrets alone`},
		{"other case", "{printer: hp-b204", "{Site: south, printer: hp-b204", `defaults.values.site: found a key that differs from "Site" in upper and lower case alone, expected one spelling`},
		{"a password among the values", owner, "oobeSystem/Microsoft-Windows-Shell-Setup/UserAccounts/AdministratorPassword/Value", `lab.yaml:13:117: rooms.B204.values.oobeSystem/Microsoft-Windows-Shell-Setup/UserAccounts/AdministratorPassword/Value: found a secret, expected it under secrets, in a file of its own`},
		{"long", "name: desk", "name: desk-of-the-head-teacher", `lab.yaml:20:12: hosts[2].name: found the name in Windows "desk-of-the-head-teacher" has 24 characters, at most 15, expected one of 1 to 15 letters, digits, dashes: change it, or give the host a pc_name`},
		{"letter of the lab alone", "name: desk", "name: de.sk", `lab.yaml:20:12: hosts[2].name: found the name in Windows "de.sk": want letters, digits and dashes`},
		{"digits alone", "pc_name: TEACHER", `pc_name: "123"`, `lab.yaml:19:66: hosts[1].pc_name: found the name in Windows "123" has digits alone`},
		{"dash", "pc_name: TEACHER", `pc_name: TEACHER-`, `hosts[1].pc_name: found the name in Windows "TEACHER-" begins or ends with a dash`},
		{"no digits", "name: pc-01", "name: pc", `lab.yaml:18:12: hosts[0].name: found "pc", expected digits at its end, for the {number} in pc_name; or give the host a pc_name of its own`},
		{"no digits of a path", `34:03"`, `34:03", secrets: {key: "k{number}"}`, `lab.yaml:20:12: hosts[2].name: found "desk", expected digits at its end, for the {number} in hosts[2].secrets.key`},
		{"twice", "pc_name: TEACHER", `pc_name: LABb204-01`, `lab.yaml:19:66: hosts[1].pc_name: found the name "LABb204-01" in Windows, which pc-01 has, expected a name of its own in the whole lab`},
		{"twice over rooms", "name: desk", "name: Teacher", `lab.yaml:20:12: hosts[2].name: found the name "Teacher" in Windows, which pc-02 has`},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(ownLab, c.old, c.new, 1)
			_, err := Parse("lab.yaml", []byte(text))
			switch {
			case text == ownLab:
				t.Fatal("nothing was changed")
			case err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, ErrInvalid):
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
}

func manyValues(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("v%d: x", i))
	}
	return strings.Join(all, ", ")
}

// TestOnePlace: what many hosts have in common is told once, where it has to change.
func TestOnePlace(t *testing.T) {
	text := strings.NewReplacer("lab{room}-{number}", "same", "pc_name: TEACHER, ", "").Replace(ownLab)
	text += "  - {name: pc-03, room: B204, mac: \"52:54:00:12:34:05\"}\n"
	_, err := Parse("lab.yaml", []byte(text))
	var all Errors
	if !errors.As(err, &all) || len(all) != 1 || all[0].Path != "rooms.B204.pc_name" || all[0].Line != 11 {
		t.Errorf("%v", err)
	}
	// Off, nothing of all this is a fault.
	if _, err := Parse("lab.yaml", []byte(strings.Replace(text, "identity: required", "identity: off", 1))); err != nil {
		t.Error(err)
	}
}

// TestUnquoted: a placeholder alone, without quotes, is what it looks like.
func TestUnquoted(t *testing.T) {
	l := parse(t, strings.Replace(ownLab, `"lab{room}-{number}"`, "{host}", 1))
	if own, err := l.Identity("B204", "pc-01"); err != nil || own.Name != "pc-01" {
		t.Errorf("%+v, %v", own, err)
	}
}

// TestSecrets reads files as editors and djoin write them; errors hold nothing of them.
func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	const hidden = "bm90aGluZw=="
	for name, c := range map[string]struct {
		content    []byte
		want, says string
	}{
		"line":       {[]byte(hidden + "\n"), hidden, ""},
		"of Windows": {[]byte(hidden + "\r\n"), hidden, ""},
		"no line":    {[]byte(hidden), hidden, ""},
		"two lines":  {[]byte(hidden + "\r\nx\n\n"), hidden + "\nx\n", ""},
		"djoin":      {utf16le.Append([]byte{0xff, 0xfe}, hidden+"\x00"), hidden, ""},
		"largest":    {[]byte(strings.Repeat("x", protocol.MaxValue) + "\r\n"), strings.Repeat("x", protocol.MaxValue), ""},
		"djoin's":    {utf16le.Append([]byte{0xff, 0xfe}, strings.Repeat("x", protocol.MaxValue)+"\x00"), strings.Repeat("x", protocol.MaxValue), ""},
		"empty":      {nil, "", "it is empty"},
		"one line":   {[]byte("\n"), "", "it is empty"},
		"large":      {[]byte(strings.Repeat(hidden, protocol.MaxValue/len(hidden)+1)), "", "bytes, at most 16384"},
		"huge":       {[]byte(strings.Repeat(hidden, 10000)), "", "more than 16384 bytes"},
		"binary":     {[]byte(hidden + "\x00\xff"), "", "it is no text"},
		"UTF-16":     {utf16le.Append(nil, hidden), "", "it is no text"},
	} {
		t.Run(name, func(t *testing.T) {
			s := Secret{"key", filepath.Join(dir, name)}
			if err := os.WriteFile(s.Path, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
			v, err := s.Read()
			if c.says == "" {
				if err != nil || v != (protocol.Value{Key: "key", Text: c.want, Secret: true}) {
					t.Errorf("%+v, %v", v, err)
				}
				return
			}
			if !errors.Is(err, ErrSecret) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), hidden) || v.Text != "" {
				t.Errorf("%q, %v", v.Text, err)
			}
		})
	}
	if _, err := (&Secret{"k", dir}).Read(); !errors.Is(err, ErrSecret) || !strings.Contains(err.Error(), "it is no file") {
		t.Errorf("a folder: %v", err)
	}
	if _, err := (&Secret{"k", filepath.Join(dir, "none")}).Read(); !errors.Is(err, ErrSecret) || !strings.Contains(err.Error(), "it does not exist") {
		t.Errorf("nothing: %v", err)
	}
}

// TestCheckSecrets: each fault has the place of the member, each file is told once.
func TestCheckSecrets(t *testing.T) {
	dir := t.TempDir()
	abs := filepath.Join(dir, "k")
	l, err := Parse(filepath.Join(dir, "lab.yaml"), []byte(strings.Replace(ownLab, "/abs/k", abs, 1)))
	if err != nil {
		t.Fatal(err)
	}
	write := func(path, text string, mode os.FileMode) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	write(abs, "", 0o600)
	faults, warnings := l.CheckSecrets()
	if len(faults) != 2 || len(warnings) != 0 ||
		!strings.Contains(faults[0].Error(), "lab.yaml:14:20: rooms.B204.secrets.key: found "+filepath.Join(dir, "keys/pc-01.txt")+", of pc-01: it does not exist") ||
		!strings.Contains(faults[1].Error(), "lab.yaml:19:149: hosts[1].secrets.key: found "+abs+", of pc-02: it is empty") {
		t.Errorf("%v\n%v", faults, warnings)
	}
	write(abs, "secret\n", 0o644)
	write(filepath.Join(dir, "keys/pc-01.txt"), "secret\n", 0o640)
	faults, warnings = l.CheckSecrets()
	if len(faults) != 0 || len(warnings) != 1 || warnings[0].Line != 19 || !strings.Contains(warnings[0].Error(), "every user of this computer may read") {
		t.Errorf("%v\n%v", faults, warnings)
	}
	l.Hosts[0].Values = map[Key]Text{"a": Text(strings.Repeat("x", protocol.MaxValue)), "b": Text(strings.Repeat("x", protocol.MaxValue-100))}
	write(filepath.Join(dir, "keys/pc-01.txt"), strings.Repeat("s", 100), 0o640)
	if faults, _ = l.CheckSecrets(); len(faults) != 1 || faults[0].Line != 14 || !strings.Contains(faults[0].Error(), "bytes of values, secrets and keys of pc-01, expected at most 32768") {
		t.Errorf("too much: %v", faults)
	}
}

// TestNewNames: hosts that are to be added get names of their own in Windows.
func TestNewNames(t *testing.T) {
	l := parse(t, ownLab)
	hosts, err := ReadCSV("h.csv", strings.NewReader("name,room,mac,pc_name\npc-05,B204,525400123405,\npc-06,B204,525400123406,teacher\n"+
		"pc-07,B204,525400123407,LABB204-05\na.b,office,525400123408,\nx,office,525400123409,seat\na.c,bare,525400123410,\n"))
	if err != nil || hosts[1].PCName != "teacher" {
		t.Fatalf("%+v, %v", hosts, err)
	}
	got := strings.Join(l.CheckNew(hosts), "\n")
	want := "pc-06: pc-02 has the name teacher in Windows\npc-07: pc-05 has the name LABB204-05 in Windows\n" +
		`a.b: name: "a.b": want letters, digits and dashes, in Windows`
	if got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	var b strings.Builder
	if err := WriteHosts(&b, hosts[1:2]); err != nil || b.String() != `  - {name: "pc-06", room: "B204", mac: "52:54:00:12:34:06", pc_name: "teacher"}`+"\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}
