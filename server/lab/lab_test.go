package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"troy/internal/identity"
	"troy/internal/utf16le"
)

const good = `format: 1
zone: Europe/Berlin
bandwidth: 900
unknown: spare
mirrors: ["http://10.1.0.9/repo"]
images: [win11-lab, win10]
defaults:
  image: win11-lab
  merge: lazy
  windows:
    - {days: [mon, tue], from: "22:00", to: "05:30"}
  except: [2026-12-24, 2026-12-28 to 2027-01-03]
  wave: 10
rooms:
  test: {always: true, healthy: 50, link_patience: 90}
  B204:
    bandwidth: 500.5
    after: test
    broadcast: [10.2.4.255]
    provision: {allow: true, wipe: true, slot_gib: 20}
    reinstall: true
    reset: boot
    at_close: finish
  spare: {contact: "Änne, 4711", reset: key, starts: agent}
hosts:
  - {name: b204-01, room: B204, mac: "52-54-00-12-34-AB"}
  - {name: b204-02, room: B204, uuid: 4C4C4544-0000-1000-8000-000000000001, version: 6}
`

func parse(t *testing.T, text string) *Lab {
	t.Helper()
	l, err := Parse("lab.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestParse(t *testing.T) {
	l := parse(t, good)
	p, ok := l.Room("B204")
	if !ok || p.Image != "win11-lab" || p.Wave != 10 || p.Reset != ResetBoot || p.AtClose != CloseFinish || !*p.Reinstall || !p.Provision.Wipe || p.After != "test" {
		t.Errorf("B204 = %+v, %v", p, ok)
	}
	if p, _ := l.Room("test"); p.Link != 90 {
		t.Errorf("test = %+v", p)
	}
	if p, _ := l.Room("test"); p.Reset != ResetUpdate || p.Contact != "" {
		t.Errorf("what test does not say is %q, %q", p.Reset, p.Contact)
	}
	if r := l.Rate(&p); r != 500_500_000/8 {
		t.Errorf("rate = %d", r)
	}
	if s, _ := l.Room("spare"); *s.Reinstall || s.Reset != ResetKey || s.Contact != "Änne, 4711" || len(s.Windows) != 1 || s.Provision.Allow || !*s.Wake || s.Failures != defaultFailures {
		t.Errorf("spare = %+v", s)
	}
	if _, ok := l.Room("none"); ok {
		t.Error("a room of nowhere")
	}
	for _, x := range []struct {
		mac, uuid, want string
	}{
		{"52:54:00:12:34:ab", "", "b204-01"},
		{"", "4c4c4544-0000-1000-8000-000000000001", "b204-02"},
		{"52:54:00:12:34:ac", "", ""},
	} {
		if got := find(l, x.mac, x.uuid); got != x.want {
			t.Errorf("the machine %s %s is %q, want %q", x.mac, x.uuid, got, x.want)
		}
	}
	if h := l.HostNamed("b204-02"); h == nil || h.Version != 6 || l.HostNamed("b204") != nil {
		t.Errorf("by name: %+v", h)
	}
}

// find returns the name that lab.yaml has for a machine.
func find(l *Lab, mac, uuid string) string {
	c := identity.Claims{UUID: identity.FoldUUID(uuid)}
	if mac != "" {
		c.MACs = []string{mac}
	}
	return identity.Judge(c, l.Listing(), nil).Line.Name
}

// TestAddresses: every notation of an address is read and is the same one.
func TestAddresses(t *testing.T) {
	text := "format: 1\nzone: UTC\nrooms: {a: {always: true}}\nplaceholders: [5A000000-0000-0000-0000-000000000001]\nhosts:\n  - {name: x, room: a, "
	const mac, uuid = "52:54:00:12:34:56", "44454c4c-4200-1035-8052-b3c04f4b4e32"
	for _, s := range []string{"mac: 52:54:00:12:34:56", "mac: 52-54-00-12-34-56", "mac: 5254.0012.3456", "mac: 525400123456", `mac: "525400123456"`, "mac: 525400-123456",
		"uuid: 4C4C4544-0042-3510-8052-B3C04F4B4E32", `uuid: "{4c4c4544-0042-3510-8052-b3c04f4b4e32}"`, "uuid: {4C4C4544-0042-3510-8052-B3C04F4B4E32}", "uuid: 4c4c4544004235108052b3c04f4b4e32", "uuid: 44454c4c-4200-1035-8052-b3c04f4b4e32"} {
		t.Run(s, func(t *testing.T) {
			l := parse(t, text+s+"}\n")
			if h := l.Hosts[0]; find(l, mac, uuid) != "x" || h.MAC != "" && h.MAC != mac {
				t.Errorf("%+v", h)
			}
			again := text + s + "}\n" + `  - {name: y, room: a, mac: "52:54:00:12:34:56", uuid: "` + uuid + "\"}\n"
			if _, err := Parse("f", []byte(again)); err == nil || !strings.Contains(err.Error(), "which x has") {
				t.Errorf("the same in another notation: %v", err)
			}
		})
	}
	for _, s := range []string{"mac: 0x525400123456", "mac: 5254001234567", "mac: 00:00:00:00:00:00", "mac: 01:00:5e:00:00:01", "mac: {525400123456}", "uuid: {a: b}", "uuid: {}", "uuid: 12", "uuid: 03000200-0400-0500-0006-000700080009",
		"uuid: 00020003-0004-0005-0006-000700080009", "uuid: 5a000000-0000-0000-0000-000000000001", "uuid: 0000005a-0000-0000-0000-000000000001"} {
		t.Run(s, func(t *testing.T) {
			if _, err := Parse("f", []byte(text+s+"}\n")); !errors.Is(err, ErrInvalid) {
				t.Errorf("taken: %v", err)
			}
		})
	}
}

// TestErrors changes one line of a good file and wants the place and the words.
func TestErrors(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"syntax", "images: [win11-lab, win10]", "images: [win11-lab, win10", "lab.yaml:7:1: found ',' or ']' must be specified"},
		{"encoding of a comment", "format: 1", "format: 1 # B\xfcro", "lab.yaml:1:14: found the byte 0xfc, expected UTF-8"},
		{"encoding behind another letter", "zone: Europe/Berlin", "zone: Europe/Berlin # ü\xfc", "lab.yaml:2:24: found the byte 0xfc, expected UTF-8"},
		{"unknown", "  wave: 10", "  wafe: 10", `lab.yaml:13:3: defaults: found the member "wafe", expected one of image, version`},
		{"type", "  wave: 10", "  wave: ten", `lab.yaml:13:9: defaults.wave: found "ten", expected a whole number from 1`},
		{"quoted number", "  wave: 10", `  wave: "10"`, `lab.yaml:13:9: defaults.wave: found "10", expected a whole number`},
		{"no patience", "link_patience: 90", "link_patience: 0", "rooms.test.link_patience: found \"0\", expected a whole number of seconds from 1 to 600"},
		{"patience without end", "link_patience: 90", "link_patience: 601", "expected a whole number of seconds from 1 to 600"},
		{"contact without end", "Änne, 4711", strings.Repeat("ä", 81), "rooms.spare.contact: found \"" + strings.Repeat("ä", 32) + "…\", expected one line of 1 to 80 characters"},
		{"contact of two lines", "Änne, 4711", `Änne\n4711`, "expected one line of 1 to 80 characters"},
		{"no contact", "Änne, 4711", "", "expected one line of 1 to 80 characters"},
		{"no such starts", "starts: agent", "starts: never", "rooms.spare.starts: found \"never\", expected agent or direct"},
		{"direct starts and a key", "starts: agent", "starts: direct", "rooms.spare.starts: found direct with reset: key, expected reset: update, or starts: agent"},
		{"direct starts by default", "  merge: lazy", "  starts: direct\n  merge: lazy", "rooms.B204.starts: found direct with reset: boot, expected reset: update"},
		{"no such reset", "reset: key", "reset: r", "rooms.spare.reset: found \"r\", expected boot, update or key"},
		{"zero", "  wave: 10", "  wave: 0", `lab.yaml:13:9: defaults.wave: found "0", expected a whole number from 1`},
		{"doubled", "  wave: 10", "  wave: 10\n  wave: 11", "lab.yaml:14:"},
		{"list for text", "zone: Europe/Berlin", "zone: [a]", "lab.yaml:2:7: zone: found a list, expected an IANA time zone"},
		{"zone", "zone: Europe/Berlin", "zone: Europe/Bärlin", `lab.yaml:2:7: zone: found "Europe/Bärlin", expected an IANA time zone`},
		{"no zone", "zone: Europe/Berlin\n", "", "lab.yaml:1:1: zone: found nothing, expected IANA time zone"},
		{"format", "format: 1", "format: 2", "lab.yaml:1:9: format: found 2, expected 1"},
		{"time", `from: "22:00"`, `from: "25:00"`, `lab.yaml:11:32: defaults.windows[0].from: found "25:00", expected a time between`},
		{"day", "[mon, tue]", "[mon, tuesday]", `lab.yaml:11:20: defaults.windows[0].days[1]: found "tuesday", expected one of sun, mon`},
		{"empty window", `to: "05:30"`, `to: "22:00"`, "defaults.windows[0].to: found 22:00, expected another time than from"},
		{"date", "2026-12-24", "2026-12-32", `lab.yaml:12:12: defaults.except[0]: found "2026-12-32", expected a date`},
		{"span that ends before", "2027-01-03", "2025-01-03", `lab.yaml:12:24: defaults.except[1]: found "2026-12-28 to 2025-01-03", expected a date such as 2026-12-24, or a span such as`},
		{"span without an end", " to 2027-01-03", " to", `lab.yaml:12:24: defaults.except[1]: found "2026-12-28 to", expected a date`},
		{"tab before a key", "\n  wave: 10", "\n\twave: 10", "lab.yaml:13:1: found a tab, expected spaces"},
		{"tab behind spaces", "\n  wave: 10", "\n  \twave: 10", "lab.yaml:13:3: found a tab, expected spaces"},
		{"tab before a host", "  - {name: b204-02", "\t- {name: b204-02", "lab.yaml:27:1: found a tab, expected spaces"},
		{"fault before a tab that is legal", "images: [win11-lab, win10]", "images: [win11-lab, win10", "lab.yaml:7:1: found ',' or ']' must be specified"},
		{"image", "  image: win11-lab", "  image: win12", `lab.yaml:8:10: defaults.image: found "win12", expected one of images`},
		{"after", "    after: test", "    after: tset", `lab.yaml:18:12: rooms.B204.after: found "tset", expected one of rooms`},
		{"circle", "  test: {always: true, healthy: 50, link_patience: 90}", "  test: {always: true, after: B204}", "rooms.B204.after: found a room that waits for this one"},
		{"host's room", "room: B204, mac", "room: B205, mac", `lab.yaml:26:27: hosts[0].room: found "B205", expected one of rooms`},
		{"MAC", "52-54-00-12-34-AB", "52-54-00-12-34", `hosts[0].mac: found "52-54-00-12-34", expected a MAC address`},
		{"no address", `, mac: "52-54-00-12-34-AB"`, "", "hosts[0]: found neither mac nor uuid"},
		{"same name", "name: b204-02", "name: b204-01", `lab.yaml:27:12: hosts[1].name: found "b204-01", which hosts[0] has`},
		{"same address", "uuid: 4C4C4544-0000-1000-8000-000000000001", `mac: "52:54:00:12:34:ab"`, "found 52:54:00:12:34:ab, which b204-01 has"},
		{"anchor", "images: [win11-lab, win10]", "images: &a [win11-lab, win10]", "lab.yaml:6:9: images: found a YAML anchor, expected a list"},
		{"bool", "always: true", "always: yes please", `found "yes please", expected true or false`},
		{"bandwidth", "500.5", "-1", "rooms.B204.bandwidth"},
		{"bandwidth that is none", "500.5", "0.000001", "rooms.B204.bandwidth"},
		{"IP", "10.2.4.255", "fe80::1", `found "fe80::1", expected an IPv4 address`},
		{"URL", "http://10.1.0.9/repo", "ftp://10.1.0.9/repo", "lab.yaml:5:11: mirrors[0]"},
		{"unknown machines", "unknown: spare", "unknown: spear", `lab.yaml:4:10: unknown: found "spear", expected code or one of rooms`},
		{"room called code", "  spare:", "  code:", `rooms.code: found a room called "code", expected another name`},
		{"removed", "unknown: spare", "agent: current", `lab.yaml:4:1: found the member "agent", expected nothing: machines get the store's current release`},
		{"pin without image", "  image: win11-lab\n", "", "hosts[1].version: found a version without an image"},
		{"room's name", "  B204:", "  B 204:", `found "B 204", expected a name`},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(good, c.old, c.new, 1)
			if text == good {
				t.Fatal("nothing was changed")
			}
			_, err := Parse("lab.yaml", []byte(text))
			if err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, ErrInvalid) {
				t.Errorf("%v\nwant %s", err, c.want)
			}
			var e *Error
			if !errors.As(err, &e) || e.Line == 0 || e.Column == 0 {
				t.Errorf("no place in %v", err)
			}
		})
	}
}

// TestAllErrors: every fault is told at once, in the order of the file.
func TestAllErrors(t *testing.T) {
	text := strings.NewReplacer("wave: 10", "wave: x", "merge: lazy", "merge: soon", "zone: Europe/Berlin", "zone: 7").Replace(good)
	_, err := Parse("f", []byte(text))
	var all Errors
	if !errors.As(err, &all) || len(all) != 3 || all[0].Path != "zone" || all[1].Path != "defaults.merge" || all[2].Path != "defaults.wave" {
		t.Errorf("%v", err)
	}
	for _, text := range []string{"", "---\n", "[]", "a", "---\na: 1\n---\nb: 1\n", "\x00", "? [a]\n: b\n", strings.Repeat("[", 5000)} {
		t.Run(fmt.Sprintf("%.20q", text), func(t *testing.T) {
			if _, err := Parse("f", []byte(text)); !errors.Is(err, ErrInvalid) {
				t.Errorf("%.20q: %v", text, err)
			}
		})
	}
}

// TestReload: what is not valid does not come into force.
func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lab.yaml")
	write := func(text string, at int64) {
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o644), os.Chtimes(path, time.Unix(at, 0), time.Unix(at, 0))); err != nil {
			t.Fatal(err)
		}
	}
	write(good, 1)
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	write(strings.Replace(good, "wave: 10", "wave: x", 1), 2)
	changed, err := f.Reload(false)
	if p, _ := f.Lab().Room("spare"); changed || err == nil || !strings.Contains(err.Error(), path+":13:9") || p.Wave != 10 {
		t.Errorf("broken file: %v, %v, wave %d", changed, err, p.Wave)
	}
	if changed, err = f.Reload(false); changed || err != nil {
		t.Errorf("told twice: %v, %v", changed, err)
	}
	if changed, err = f.Reload(true); changed || err == nil {
		t.Errorf("forced: %v, %v", changed, err)
	}
	write(strings.Replace(good, "wave: 10", "wave: 7", 1), 3)
	changed, err = f.Reload(false)
	if p, _ := f.Lab().Room("spare"); !changed || err != nil || p.Wave != 7 {
		t.Errorf("good file: %v, %v, wave %d", changed, err, p.Wave)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if changed, err = f.Reload(false); changed || err == nil || f.Lab() == nil {
		t.Errorf("no file: %v, %v", changed, err)
	}
}

func TestCSV(t *testing.T) {
	hosts, err := ReadCSV("h.csv", strings.NewReader("\ufeffName;MAC;Room;UUID\r\nb204-03;52-54-00-12-34-FF;B204;\r\nb204-04;;B204;4c4c4544-0000-1000-8000-000000000009\r\n"))
	if err != nil || len(hosts) != 2 || hosts[0].MAC != "52:54:00:12:34:ff" {
		t.Fatalf("%v, %v", hosts, err)
	}
	var out strings.Builder
	if err := WriteHosts(&out, hosts); err != nil {
		t.Fatal(err)
	}
	l := parse(t, good+out.String()) // hosts are the last member
	if find(l, "52:54:00:12:34:ff", "") != "b204-03" {
		t.Errorf("what was written is not read: %s", out.String())
	}
	if faults := parse(t, good).CheckNew(hosts); faults != nil {
		t.Errorf("new hosts: %v", faults)
	}
	if faults := l.CheckNew(append(hosts, Host{Name: "x", Room: "B999", MAC: "00:00:00:00:00:01"})); len(faults) != 3 {
		t.Errorf("known hosts: %v", faults)
	}
	wide := utf16le.Append([]byte{0xff, 0xfe}, "Name\tRoom\tMAC\r\nb204-05\tB204\t5254.0012.3405\r\n")
	big := bytes.Clone(wide)
	for i := 1; i < len(big); i += 2 {
		big[i-1], big[i] = big[i], big[i-1]
	}
	for _, b := range [][]byte{wide, big} {
		if hosts, err := ReadCSV("h.csv", bytes.NewReader(b)); err != nil || len(hosts) != 1 || hosts[0].MAC != "52:54:00:12:34:05" {
			t.Errorf("UTF-16: %+v, %v", hosts, err)
		}
		if hosts, err := ReadCSV("h.csv", bytes.NewReader(b[:len(b)-7])); err == nil {
			t.Errorf("UTF-16, cut: %+v", hosts)
		}
	}
	if l, err := Parse("f", utf16le.Append([]byte{0xff, 0xfe}, good)); err != nil || len(l.Hosts) != 2 {
		t.Errorf("lab.yaml in UTF-16: %v", err)
	}
	if _, err := Parse("f", utf16le.Append(nil, good)); err == nil || !strings.HasPrefix(err.Error(), "f:1:1: found UTF-16 without a byte order mark") {
		t.Errorf("UTF-16 without a mark: %v", err)
	}
	for text, want := range map[string]string{
		"name,room,mac\na,B204,zz\n":             `h.csv:2:8: found "zz", expected a MAC address`,
		"name,room,mac\na,B204,\n":               "h.csv:2:1: found neither mac nor uuid",
		"name,rooom\n":                           `h.csv:1:6: found the column "rooom"`,
		"name,room,mac\na,B204\n":                "h.csv:2:",
		"name,room,mac\n\"a,B204,00:00:00:00:00": "h.csv:2:",
	} {
		t.Run(want, func(t *testing.T) {
			if _, err := ReadCSV("h.csv", strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %s", text, err, want)
			}
		})
	}
}

// TestSpreadsheets reads what spreadsheets make of a table of two PCs.
func TestSpreadsheets(t *testing.T) {
	for name, text := range map[string]string{
		"line with the separator":     "sep=;\r\nname;room;mac\r\npc-1;B204;525400123401\r\npc-2;B204;525400123402\r\n",
		"the same, quoted, of tabs":   "\"sep=\t\"\nname\troom\tmac\npc-1\tB204\t525400123401\npc-2\tB204\t525400123402\n",
		"quoted cells, other letters": "\ufeff\"NAME\",\"Room\",\"Mac\"\r\n\"pc-1\",\"B204\",\"52:54:00:12:34:01\"\r\n\"pc-2\",\"B204\",\"52:54:00:12:34:02\"\r\n",
		"empty rows":                  ";;;\r\n\r\nname;room;mac;\r\n;;;\r\npc-1;B204;525400123401;\r\n\r\n ; ; ;\r\npc-2;B204;525400123402;\r\n;;;\r\n;;;\r\n",
		"empty columns":               ",name,,room,mac,,\n,pc-1,,B204,525400123401,,\n,pc-2,,B204,525400123402,,\n",
		"empty columns of tabs":       "\tname\tuuid\troom\tmac\n\tpc-1\t\tB204\t525400123401\n\tpc-2\t\tB204\t525400123402\n",
		"rows that end early":         "name,room,mac,uuid,image\npc-1,B204,525400123401\npc-2,B204,525400123402,\n",
		"lines that end by CR":        "name,room,mac\rpc-1,B204,525400123401\rpc-2,B204,525400123402\r",
	} {
		t.Run(name, func(t *testing.T) {
			hosts, err := ReadCSV("h.csv", strings.NewReader(text))
			if err != nil || len(hosts) != 2 {
				t.Fatalf("%+v, %v", hosts, err)
			}
			for i, h := range hosts {
				if want := (Host{Name: Name(fmt.Sprintf("pc-%d", i+1)), Room: "B204", MAC: MAC(fmt.Sprintf("52:54:00:12:34:%02d", i+1))}); !reflect.DeepEqual(h, want) {
					t.Errorf("%+v, want %+v", h, want)
				}
			}
		})
	}
	// What is left out moves no place.
	for text, want := range map[string]string{
		"sep=;\r\n\r\nname;room;mac\r\na;B204;zz\r\n": `h.csv:4:8: found "zz", expected a MAC address`,
		"name,,room,mac\na,x,B204,525400123401\n":     `h.csv:2:3: found "x" in a column without a name, expected one of name, room`,
		"name,room,mac\na,B204,525400123401,x\n":      `h.csv:2:21: found "x" in a column without a name`,
		"name,room,mac,image\na\n":                    `h.csv:2:1: found "", expected a name`,
		"n\x00a\x00m\x00e\x00":                        `h.csv: found a text with zeros in it, expected a table as CSV`,
		"PK\x03\x04\x00\x00":                          `h.csv: found a workbook of Excel or LibreOffice, expected a table as CSV`,
	} {
		t.Run(want, func(t *testing.T) {
			if _, err := ReadCSV("h.csv", strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %s", text, err, want)
			}
		})
	}
	list, err := ReadSubjects("s.csv", strings.NewReader("sep=;\r\n;;\r\nSerial;Name;\r\n;pc-1;\r\n;;\r\nS6P\r\n"))
	if err != nil || len(list) != 2 || list[0] != (Subject{Name: "pc-1"}) || list[1] != (Subject{Serial: "S6P"}) {
		t.Errorf("subjects: %+v, %v", list, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("a: &x [1]\nb: *x\n<<: {c: d}\n"))
	f.Add([]byte("format: !!int 1\nrooms: {? a : b}\nhosts: [~]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Parse("f", b)
		if (l == nil) == (err == nil) || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v, %v", b, l, err)
		}
		if l != nil {
			for _, name := range l.RoomNames() {
				p, _ := l.Room(name)
				l.Hours(&p).Next(time.Unix(1_700_000_000, 0))
			}
		}
	})
}

// FuzzReadCSV: a table is taken or refused with places, and what is taken can be written for
// lab.yaml.
func FuzzReadCSV(f *testing.F) {
	f.Add([]byte("name,room,mac\nb204-01,B204,52-54-00-12-34-AB\n"))
	f.Add(utf16le.Append([]byte{0xff, 0xfe}, "name;room;uuid\na;b;{4C4C4544-0042-3510-8052-B3C04F4B4E32}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		hosts, err := ReadCSV("f", bytes.NewReader(b))
		if err != nil {
			if hosts != nil || !errors.Is(err, ErrInvalid) {
				t.Errorf("%q: %v, %v", b, hosts, err)
			}
			return
		}
		var lines bytes.Buffer
		if err := WriteHosts(&lines, hosts); err != nil || bytes.Count(lines.Bytes(), []byte("\n")) < len(hosts) {
			t.Errorf("%q: %d hosts are %q, %v", b, len(hosts), lines.Bytes(), err)
		}
	})
}
