package page

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// texts are the lines of a page that show something.
func texts(s *State) (all []string) {
	for _, l := range Lines(s) {
		if t := strings.TrimSpace(l.Text); t != "" {
			all = append(all, t)
		}
	}
	return all
}

var fetching = State{Name: "pc-01", Room: "B204", Doing: "Fetching version 2", Next: "version 2 is put in place, then Windows starts",
	Bar: &Bar{Done: 250e6, Total: 1e9, Rate: 25e6}, Foot: "Troy 0.2"}

// Each state has its lines, in order.
func TestLines(t *testing.T) {
	unreachable := &Fault{Title: "The server was not reached", What: "connect: no server answers", Disk: "The disk was not changed.",
		Do: "Windows starts in the version it has.", Call: "Anna, room 101, tel. 4711", Facts: []string{"Dell OptiPlex 7010", "MAC 52:54:00:00:00:01"}}
	for _, c := range []struct {
		name  string
		state State
		want  []string
	}{
		{"nothing known", State{Doing: "Looking at the disk"}, []string{"This PC", "Looking at the disk"}},
		{"work", fetching, []string{"pc-01 room B204", "Fetching version 2", "25 %", "250.0 MB of 1.0 GB 25.0 MB/s 30 s left",
			"Next version 2 is put in place, then Windows starts", "Troy 0.2"}},
		{"no total", State{Doing: "Checking", Bar: &Bar{Done: 5e6, Rate: 1e6}}, []string{"This PC", "Checking", "5.0 MB 1.0 MB/s"}},
		{"a wait", State{Doing: "Waiting for the network", Left: 9500 * time.Millisecond, Windows: true},
			[]string{"Waiting for the network", "10 s left at most", "W: start Windows now"}},
		{"R", State{Discard: Offered}, []string{"R: throw away this session"}},
		{"R pressed", State{Discard: Chosen}, []string{"R was pressed: this session is thrown away"}},
		{"a code", State{Code: "QX7M", Name: "?"}, []string{"Code QX7M this PC has no room yet"}},
		{"a name", State{Name: "pc-01", Room: "B204", Called: "B204-17", Lacks: "its secrets, until a reset with a server"}, []string{"pc-01 (in Windows: B204-17) room B204", "Lacks its secrets, until a reset with a server"}},
		{"a name and no room", State{Code: "QX7M", Called: "B204-17"}, []string{"Code QX7M this PC has no room yet"}},
		{"a fault", State{Name: "pc-01", Room: "B204", Fault: unreachable, Doing: "Windows starts", Left: 8 * time.Second, Windows: true}, []string{
			"pc-01 room B204", "The server was not reached", "What connect: no server answers", "Disk The disk was not changed.",
			"To do Windows starts in the version it has.", "Call Anna, room 101, tel. 4711", "This PC Dell OptiPlex 7010", "MAC 52:54:00:00:00:01",
			"Now Windows starts (8 s)", "W: start Windows now"}},
		{"a fault without contact", State{Fault: &Fault{What: "disk: none", Do: "look"}}, []string{"What disk: none", "To do look"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := texts(&c.state)
			at := 0
			for _, l := range all {
				if at < len(c.want) && strings.Contains(strings.Join(strings.Fields(l), " "), c.want[at]) {
					at++
				}
			}
			if at < len(c.want) {
				t.Errorf("no line %q in its place:\n%s", c.want[at], strings.Join(all, "\n"))
			}
			if c.state.Fault == nil == strings.Contains(strings.Join(all, "\n"), "To do") {
				t.Errorf("a fault, or none, is shown:\n%s", strings.Join(all, "\n"))
			}
		})
	}
}

// The bar grows with the work, stays within the line, and is never full before all is done.
func TestBar(t *testing.T) {
	before := -1
	for done := range int64(101) {
		b := bar(&Bar{Done: done - 1, Total: 100})
		n := strings.Count(b, string(full))
		if n < before || utf8.RuneCountInString(b) > inner {
			t.Errorf("%d of 100: %q after %d", done, b, before)
		}
		before = n
		if all := !strings.ContainsRune(b, empty); all != (done-1 == 100) {
			t.Errorf("%d of 100: %q", done-1, b)
		}
	}
	if b := bar(&Bar{Done: 300, Total: 100}); !strings.HasSuffix(b, "100 %") || strings.ContainsRune(b, empty) {
		t.Errorf("more than all: %q", b)
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0 s", 119 * time.Second: "119 s", 2 * time.Minute: "2 min", 90 * time.Minute: "90 min",
		3 * time.Hour: "3 h", 24 * time.Hour: "24 h", 25 * time.Hour: "more than a day", 1<<63 - 1: "more than a day"} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %q, want %q", d, got, want)
		}
	}
}

// What the font lacks loses its accents or becomes a question mark; nothing moves the cursor.
func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"":                                "",
		"pc-01":                           "pc-01",
		"Größe für Ängström":              "Größe für Ängström",
		"Dvořák, Łódź, Şişli":             "Dvorák, Lódz, Sisli",
		"e\u0301":                         "é",
		"a\u0300\u0316":                   "à",
		"“so” – it’s…":                    `"so" - it's...`,
		"№ 5, ﬁle":                        "No 5, file",
		"Кабинет":                         "???????",
		"教室":                              "??",
		"\x1b[2J\x07\r\nforged\u009b1m":   "?[2J? forged?1m",
		"right\u202eleft\u2066x":          "right?left?x",
		"bad\xff\xfebytes":                "bad?bytes",
		" many   \t spaces\u00a0\u3000 x": "many spaces x",
	} {
		if got := Text(in); got != want {
			t.Errorf("Text(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		in    string
		width int
		most  int
		want  string
	}{
		{"one two three", 7, 3, "one two|three"},
		{"one two three", 13, 3, "one two three"},
		{"onetwothree four", 4, 9, "onet|woth|ree|four"},
		{"a onetwothree", 4, 9, "a|onet|woth|ree"},
		{"one two three four five", 8, 2, "one two|three..."},
		{"one three22 four five", 8, 2, "one|three..."},
	} {
		if got := strings.Join(wrap(c.in, c.width, c.most), "|"); got != c.want {
			t.Errorf("wrap(%q, %d, %d) = %q, want %q", c.in, c.width, c.most, got, c.want)
		}
	}
}

// sound fails unless the page fits the screen and has only what its font shows.
func sound(t *testing.T, s *State) {
	t.Helper()
	lines := Lines(s)
	if len(lines) != Height {
		t.Errorf("%d lines, want %d", len(lines), Height)
	}
	for _, l := range lines {
		if n := utf8.RuneCountInString(l.Text); n > Width {
			t.Errorf("%d characters in %q", n, l.Text)
		}
		for _, r := range l.Text {
			if r == utf8.RuneError || unicode.IsControl(r) || !shows(r) {
				t.Errorf("%U in %q", r, l.Text)
			}
		}
	}
}

// FuzzLines: whatever a server, a disk or a firmware says, the page is one.
func FuzzLines(f *testing.F) {
	f.Add("pc-01", "B204", "", "Fetching", "then", "connect: no", "fact", int64(5), int64(10), int64(1), uint8(0))
	f.Add("\x1b[2J", "\u202e", "\xff", strings.Repeat("x", 200), strings.Repeat("ab ", 500), strings.Repeat("ř", 5000), "", int64(-1), int64(-5), int64(-9), uint8(255))
	f.Add("Кабинет", "教室", "QX", "\r\n", "\u00a0", "e\u0301", "\x00", int64(1<<62), int64(1), int64(1<<62), uint8(7))
	f.Fuzz(func(t *testing.T, name, room, code, doing, next, what, fact string, done, total, rate int64, flags uint8) {
		s := State{Called: what, Lacks: next, Name: name, Room: room, Code: code, Doing: doing, Next: next, Left: time.Duration(rate), Windows: flags&1 != 0, Discard: Discard(flags >> 6), Foot: fact}
		if flags&2 != 0 {
			s.Bar = &Bar{Done: done, Total: total, Rate: rate}
		}
		if flags&4 != 0 {
			s.Fault = &Fault{Title: doing, What: what, Disk: next, Do: what, Call: fact, Facts: []string{fact, what, name, room, fact, code, what}}
		}
		sound(t, &s)
	})
}

// A fault whose every text is as long as can be leaves room for the keys, and for what is going on.
func TestLongFault(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	long := func() string {
		var b strings.Builder
		for range 200 {
			b.WriteString(strings.Repeat("w", 1+r.IntN(30)) + " ")
		}
		return b.String()
	}
	s := State{Name: long(), Room: long(), Doing: "Windows starts", Left: 5 * time.Second, Windows: true, Discard: Offered, Foot: long(),
		Fault: &Fault{Title: long(), What: long(), Disk: long(), Do: long(), Call: long(), Facts: []string{long(), long(), long(), long(), long(), long(), long()}}}
	sound(t, &s)
	all := strings.Join(texts(&s), "\n")
	for _, want := range []string{"W: start Windows now", "R: throw away", "To do", "Call", "This PC"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is missing:\n%s", want, all)
		}
	}
}
