package gates

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"troy/internal/format"
)

var day = time.Date(2026, 11, 30, 23, 0, 0, 0, time.UTC)

func TestList(t *testing.T) {
	for i, g := range All() {
		if g.ID != fmt.Sprint("W", i+1) || !strings.HasSuffix(g.Question, "?") || g.How == "" || len(g.By) == 0 {
			t.Errorf("gate %d: %+v", i+1, g)
		}
		if f := Find(g.ID); f == nil || f.Question != g.Question {
			t.Errorf("%s is not found", g.ID)
		}
		if g.Where == Firmware && g.SettledBy(Trial) || g.Where == Virtual && !g.SettledBy(Trial) && !g.SettledBy(Disks) {
			t.Errorf("%s is tried in a %s and answered by %v", g.ID, g.Where, g.By)
		}
	}
	if len(All()) != 19 || Find("W20") != nil || Find("") != nil {
		t.Errorf("%d gates", len(All()))
	}
}

func TestTogether(t *testing.T) {
	for _, c := range []struct {
		want Status
		all  []Status
	}{{NotRun, nil}, {Pass, []Status{Pass}}, {Pass, []Status{Pass, Pass}}, {NotRun, []Status{Pass, NotRun}}, {Fail, []Status{NotRun, Fail, Pass}}} {
		if got := Together(c.all...); got != c.want {
			t.Errorf("Together(%q) = %q, want %q", c.all, got, c.want)
		}
	}
}

func TestAdd(t *testing.T) {
	r := New(day, "0.2-dev", PC{})
	r.Names = []string{"B204-PC01"}
	for _, c := range []struct {
		from     Source
		gate     string
		add      Status
		evidence string
		want     Status
	}{
		{Disks, "W1", Pass, "attached", NotRun}, // the question is whether it boots
		{Trial, "W1", Pass, "b204-pc01 came up", Pass},
		{Trial, "W1", NotRun, "", Pass},
		{Disks, "W1", Fail, "parent not found", Fail}, // what cannot be attached does not boot
		{Trial, "W1", Pass, "b204-pc01 came up", Fail},
		{Disks, "W9", Pass, "", Pass},
	} {
		if err := r.Add(c.from, c.gate, c.add, c.evidence); err != nil {
			t.Fatal(err)
		}
		if got := r.Answer(c.gate).Status; got != c.want {
			t.Errorf("%s %s of %q: %s, want %s", c.gate, c.add, c.from, got, c.want)
		}
	}
	if got := strings.Join(r.Answer("W1").Evidence, ", "); got != "attached, [name] came up, parent not found" {
		t.Errorf("evidence: %s", got)
	}
	if r.Count(Pass) != 1 || r.Count(Fail) != 1 || r.Count(NotRun) != 17 {
		t.Errorf("%d, %d, %d", r.Count(Pass), r.Count(Fail), r.Count(NotRun))
	}
	for _, err := range []error{r.Add(Hand, "W20", Pass, ""), r.Add(Hand, "W1", "good", "")} {
		if !errors.Is(err, ErrResult) {
			t.Errorf("%v", err)
		}
	}
	for i := range 2 * MaxEvidence {
		if err := r.Add(Hand, "W2", Fail, fmt.Sprint("line ", i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(r.Answer("W2").Evidence); n != MaxEvidence {
		t.Errorf("%d lines of evidence", n)
	}
}

// sample is a result of a real PC.
func sample(t testing.TB) *Result {
	r := New(day, "0.2-dev", PC{Maker: "LENOVO", Model: "ThinkCentre M720q", Firmware: "UEFI, LENOVO M1UKT77A", SecureBoot: "on", TPM: "2.0",
		Cards: []string{"Intel(R) Ethernet Connection (7) I219-V"}, Windows: Windows{Edition: "Professional", Build: "26100.1742"}})
	r.Merge = &MergeTimes{Bytes: 8 << 20, Windows: 0.31, Troy: 0.22}
	if err := errors.Join(r.Add(Disks, "W9", Pass, "fresh.vhdx: read and written"), r.Add(Disks, "W3", Fail, "parent refused | 0xC03A000E")); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFile(t *testing.T) {
	r := sample(t)
	b, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if again.Page() != r.Page() {
		t.Errorf("read back:\n%s\nwant:\n%s", again.Page(), r.Page())
	}
	for _, want := range []string{"Result of 2026-11-30, Troy 0.2-dev", "LENOVO ThinkCentre M720q", "BootNext     not known", "W9   pass     Is an anchored",
		"- parent refused | 0xC03A000E", "1 passed, 1 failed, 17 not run", "8388608 bytes: Windows 0.31 s, Troy 0.22 s"} {
		if !strings.Contains(r.Page(), want) {
			t.Errorf("the page lacks %q:\n%s", want, r.Page())
		}
	}
	// What a newer program wrote is kept.
	newer := strings.Replace(string(b), `"gates": [`, `"colour": "red", "gates": [{"gate": "W20", "status": "pass"},`, 1)
	if again, err = Parse([]byte(newer)); err != nil {
		t.Fatal(err)
	}
	if b, err = again.Encode(); err != nil || !strings.Contains(string(b), `"colour"`) || again.Answer("W20").Status != Pass || again.Count(Pass) != 1 {
		t.Errorf("%v: %s", err, b)
	}
}

// change makes a bad file of a good one.
func change(t *testing.T, f func(map[string]any)) []byte {
	b, err := sample(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	doc := map[string]any{}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	f(doc)
	if b, err = json.Marshal(doc); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBadFiles(t *testing.T) {
	gate := func(name string, v any) func(map[string]any) {
		return func(d map[string]any) { d["gates"].([]any)[0].(map[string]any)[name] = v }
	}
	pc := func(name string, v any) func(map[string]any) {
		return func(d map[string]any) { d["pc"].(map[string]any)[name] = v }
	}
	for _, c := range []struct {
		name string
		file []byte
		is   error
		says string
	}{
		{"empty", nil, format.ErrMalformed, ""},
		{"no JSON", []byte("W1 pass\n"), format.ErrMalformed, "the result file"},
		{"large", make([]byte, MaxFile+1), ErrResult, "1048577 bytes"},
		{"needs", change(t, func(d map[string]any) { d["needs"] = []string{"gravity"} }), nil, `needs "gravity"`},
		{"date", change(t, func(d map[string]any) { d["date"] = "30.11.2026" }), ErrResult, "30.11.2026"},
		{"no gate", change(t, gate("gate", "X1")), ErrResult, `"X1" is no gate`},
		{"gate twice", change(t, gate("gate", "W2")), ErrResult, "W2 is there twice"},
		{"gate spelled otherwise", change(t, gate("gate", "W01")), ErrResult, "no gate"},
		{"status", change(t, gate("status", "good")), ErrResult, "W1 is \"good\""},
		{"much evidence", change(t, gate("evidence", make([]string, MaxEvidence+1))), ErrResult, "33 lines"},
		{"control characters", change(t, gate("evidence", []string{"\x1b[2J"})), ErrResult, "evidence of W1"},
		{"long line", change(t, gate("evidence", []string{strings.Repeat("x", MaxLine+1)})), ErrResult, "evidence of W1"},
		{"MAC address", change(t, gate("evidence", []string{"52:54:00:12:34:56 answered"})), ErrPrivate, "evidence of W1 has a mac"},
		{"serial number", change(t, pc("model", "M720q serial number PF1ABCDE")), ErrPrivate, "model has a number"},
		{"many cards", change(t, pc("network_cards", make([]string, maxCards+1))), ErrResult, "17 network cards"},
		{"card", change(t, pc("network_cards", []string{"eth0 192.168.1.17"})), ErrPrivate, "network_cards has a address"},
		{"many gates", change(t, func(d map[string]any) { d["gates"] = make([]struct{}, MaxGates+1) }), ErrResult, "100 gates"},
		{"merge", change(t, func(d map[string]any) { d["merge"] = map[string]any{"bytes": -1} }), ErrResult, "below zero"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse(c.file)
			if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
}

func TestJoin(t *testing.T) {
	inside := sample(t)
	outside := New(day.AddDate(0, 0, 1), "0.2-dev", PC{Model: "thinkcentre m720q", BootNext: "honoured", Cards: []string{"second card"}})
	if err := errors.Join(outside.Add(Disks, "W9", Fail, "grew"), outside.Add(Trial, "W10", Pass, "")); err != nil {
		t.Fatal(err)
	}
	r, err := Join(inside, outside)
	if err != nil {
		t.Fatal(err)
	}
	if r.Answer("W9").Status != Fail || len(r.Answer("W9").Evidence) != 2 || r.Answer("W10").Status != Pass || r.PC.BootNext != "honoured" ||
		len(r.PC.Cards) != 2 || r.Date != "2026-12-01" || r.Merge == nil {
		t.Errorf("%s", r.Page())
	}
	if inside.Answer("W9").Status != Pass || len(inside.Answer("W9").Evidence) != 1 || len(inside.PC.Cards) != 1 {
		t.Errorf("the first result was changed:\n%s", inside.Page())
	}
	outside.PC.Model = "OptiPlex 7010"
	if _, err := Join(inside, outside); !errors.Is(err, ErrOtherPC) || !strings.Contains(err.Error(), "OptiPlex 7010") {
		t.Errorf("%v", err)
	}
}

func TestTables(t *testing.T) {
	virtual, standIn, old := sample(t), sample(t), sample(t)
	virtual.PC.Virtual, virtual.PC.Maker, virtual.PC.Model = "QEMU", "", "Standard PC (Q35 + ICH9, 2009)"
	standIn.PC.Windows = Windows{StandIn: true}
	old.Date, old.PC.Model = "2025-01-01", "old | one"
	for _, c := range []struct {
		name, got string
		want, not []string
	}{
		{"hardware", Hardware([]*Result{old, sample(t)}), []string{
			"| LENOVO ThinkCentre M720q | UEFI, LENOVO M1UKT77A | – | Intel(R) Ethernet Connection (7) I219-V | on | Professional 26100.1742 | W9 | W3 | 2026-11-30 |\n| LENOVO old \\| one |"}, nil},
		{"hardware, stand-in", Hardware([]*Result{standIn}), []string{"none yet"}, []string{"LENOVO"}},
		{"summary, none", Summary(nil), []string{"| virtual PC | stand-in only | 0 | 0 | 19 | – |\n| real PC | none yet | 0 | 0 | 19 | – |"}, nil},
		{"summary, stand-in", Summary([]*Result{standIn}), []string{"stand-in only", "none yet"}, nil},
		{"summary", Summary([]*Result{old, virtual, sample(t)}), []string{
			"| virtual PC, QEMU: Standard PC (Q35 + ICH9, 2009) | Professional 26100.1742 | 1 | 1 | 17 | 2026-11-30 |\n| LENOVO ThinkCentre M720q | Professional"}, []string{"old"}},
		{"questions", Questions([]*Result{old}), []string{"| W9 | Is an anchored", "| pass: LENOVO old \\| one, 2025-01-01 |", "| W1 | Does Windows boot natively from a chain of three (base, slot, boot child)? "}, nil},
		{"questions, none", Questions(nil), []string{"| none yet |"}, []string{"pass:"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, w := range c.want {
				if !strings.Contains(c.got, w) {
					t.Errorf("lacks %q:\n%s", w, c.got)
				}
			}
			for _, n := range c.not {
				if strings.Contains(c.got, n) {
					t.Errorf("has %q:\n%s", n, c.got)
				}
			}
		})
	}
}

func TestClean(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "",
		"fresh.vhdx: 4194304 bytes in 0.2 s": "fresh.vhdx: 4194304 bytes in 0.2 s",
		"error 0xC03A000E, build 10.0.26100.1742, firmware 1.24.0": "error 0xC03A000E, build 10.0.26100.1742, firmware 1.24.0",
		"at 12:30:45 byte 123456789012 of 735117312000":            "at 12:30:45 byte 123456789012 of 735117312000",
		`\\.\PhysicalDrive2 and \\?\GLOBALROOT\Device`:             `\\.\PhysicalDrive2 and \\?\GLOBALROOT\Device`,
		"52:54:00:12:34:56, 52-54-00-AB-cd-EF, 5254.00ab.cdef":     "[mac], [mac], [mac]",
		"mac 525400abcdef": "mac [mac]",
		"from 192.168.1.17 (fe80::1ff:fe23:4567:890a) to ::1": "from [address] ([address]) to [address]",
		"disk {3808876b-c176-4e48-b7ae-04046e6cc752}":         "disk [uuid]",
		"user S-1-5-21-1004336348-1177238915-682003330-512":   "user [sid]",
		`C:\Users\Anna Maria\gates\fresh.vhdx`:                `C:\Users\[user]\gates\fresh.vhdx`,
		"/home/anna/gates and C:\\Users\\ben":                 `/home/[user]/gates and C:\Users\[user]`,
		`\\server01\share\x`:                                  `\\[host]\share\x`,
		"anna@example.org":                                    "[mail]",
		"Serial Number: PF1ABCDE, ok":                         "Serial Number: [number] ok",
		"serial port 1 is busy, serial console":               "serial port 1 is busy, serial console",
		"key VK7JG-NPHTM-C97JM-9MPGT-3V66T":                   "key [product key]",
		"PC-01 and pc-01, not PC-011":                         "[name] and [name], not PC-011",
		"pc-01 pc-01":                                         "[name] [name]",
		"a\nb\x1b[2J\xff":                                     "a b [2J\ufffd",
		strings.Repeat("ä", MaxLine):                          strings.Repeat("ä", 148) + "…",
	} {
		got := Clean(text, []string{"PC-01", "x", ""})
		if got != want {
			t.Errorf("Clean(%q) = %q, want %q", text, got, want)
		}
		if private(got) != "" || len(got) > MaxLine {
			t.Errorf("Clean(%q) = %q, which is not clean", text, got)
		}
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{"52:54:00:12:34:56", `C:\Users\a b\c`, "serial 1[x", "::1::1", "{3808876b-c176-4e48-b7ae-04046e6cc752}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Clean(s, []string{"pc-01"})
		if err := checkText("line", got); err != nil {
			t.Errorf("%q: %v", got, err)
		}
		if again := Clean(got, nil); again != got {
			t.Errorf("%q cleaned again is %q", got, again)
		}
	})
}

func FuzzParse(f *testing.F) {
	b, err := sample(f).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"format":1,"date":"2026-11-30","troy":"","pc":{"windows":{}},"gates":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Parse(b)
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		second, err := Parse(again)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if r.Page() != second.Page() {
			t.Errorf("%s\nbecame\n%s", r.Page(), second.Page())
		}
		if n := strings.Count(Hardware([]*Result{r}), "\n"); n > 3 {
			t.Errorf("a row of %d lines", n-2)
		}
	})
}
