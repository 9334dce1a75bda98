package page

import (
	"fmt"
	"strings"
	"time"

	"troy/internal/progress"
)

// The size of a page in characters.
const (
	Width  = 80
	Height = 25

	margin = 2
	inner  = Width - 2*margin
)

// State is all that a page shows. The zero value is a machine of which nothing is known yet.
type State struct {
	Name, Room string // of the machine; "" = not known
	Called     string // what it is called in Windows, if that is another name
	Lacks      string // what Windows lacks of what is its own, if there is no fault
	Code       string // of a machine that has no room yet; "" = it has one, or no server has answered
	Doing      string // what is going on, in a few words
	Bar        *Bar   // how far that is; nil = nobody knows
	// Left is how long it is waited at most, in place of a bar; 0 = it is not waited.
	Left    time.Duration
	Next    string // what comes after it
	Windows bool   // the key W starts Windows now
	Discard Discard
	Fault   *Fault // nil = all is well
	Foot    string // of small interest: version, address
}

// Bar is work that is counted in bytes.
type Bar struct {
	Done, Total int64 // Total 0 = not known
	Rate        int64 // bytes per second
}

// Discard is what the key R does.
type Discard int

// What it can be.
const (
	NoDiscard Discard = iota // nothing
	Offered                  // it throws this session away
	Chosen                   // it was pressed
)

// Fault is why a machine does not have what it should. Empty texts are left out.
type Fault struct {
	Title string   // a few words
	What  string   // what is wrong, and where
	Disk  string   // whether the disk was touched
	Do    string   // what to do
	Call  string   // who helps
	Facts []string // what the machine is
}

// Style is how a line is drawn.
type Style int

// Styles.
const (
	Plain  Style = iota
	Strong       // what is going on
	Dim          // of small interest
	Head         // name and room
	Filled       // the bar
	Key          // what a key does
	Alarm        // a fault
)

// Line is one line of a page.
type Line struct {
	Text  string
	Style Style
}

// Lines draws a page. It always has Height lines.
func Lines(s *State) []Line {
	foot := append(keys(s), Line{}, Line{indent(line(s.Foot)), Dim})
	all := []Line{{}, head(s), {}}
	if room := Height - len(all) - len(foot); s.Fault != nil {
		all = append(all, spread(faulty(s), room)...)
	} else {
		all = append(all, working(s)...)
	}
	all = append(all, make([]Line, Height)...)[:Height]
	return append(all[:Height-len(foot)], foot...)
}

// spread joins blocks, with empty lines between them as far as there is room, the first ones first.
func spread(blocks [][]Line, room int) []Line {
	for _, b := range blocks {
		room -= len(b)
	}
	var all []Line
	for _, b := range blocks {
		if all = append(all, b...); room > 0 && len(b) > 0 {
			all = append(all, Line{})
			room--
		}
	}
	return all
}

// head is who this is: a code takes the place of a name.
func head(s *State) Line {
	name, room := Text(s.Name), Text(s.Room)
	switch {
	case s.Code != "":
		name, room = "Code "+Text(s.Code), "this PC has no room yet"
	case name == "":
		name = "This PC"
	}
	if s.Called != "" && s.Code == "" {
		name += " (in Windows: " + Text(s.Called) + ")"
	}
	if room != "" && s.Code == "" {
		room = "room " + room
	}
	room = cut(room, inner/2)
	name = cut(name, inner-length(room)-2)
	gap := strings.Repeat(" ", inner-length(name)-length(room))
	return Line{indent(name + gap + room + strings.Repeat(" ", margin)), Head}
}

// working is the body of a page on which all is well.
func working(s *State) []Line {
	lines := []Line{{}, {indent(line(s.Doing)), Strong}, {}}
	lines = append(lines, progressOf(s)...)
	lines = append(lines, Line{}, Line{})
	if s.Next != "" {
		lines = append(lines, block("Next", s.Next, 3, Plain)...)
	}
	if s.Lacks != "" {
		lines = append(append(lines, Line{}), block("Lacks", s.Lacks, 3, Plain)...)
	}
	return lines
}

// faulty are the blocks of a page on which something is wrong.
func faulty(s *State) [][]Line {
	f := s.Fault
	title := line(f.Title)
	blocks := [][]Line{
		{{indent(title + strings.Repeat(" ", Width-margin-length(title))), Alarm}},
		block("What", f.What, 5, Strong), block("Disk", f.Disk, 2, Plain), block("To do", f.Do, 3, Strong), block("Call", f.Call, 2, Strong),
	}
	var facts []Line
	label := "This PC"
	for _, fact := range f.Facts[:min(len(f.Facts), maxFacts)] {
		facts = append(facts, block(label, fact, 1, Plain)...)
		label = ""
	}
	if blocks = append(blocks, facts); s.Doing != "" {
		blocks = append(blocks, block("Now", s.Doing+countdown(s.Left), 1, Plain))
	}
	return blocks
}

// maxFacts is how many lines say what the machine is.
const maxFacts = 5

func countdown(left time.Duration) string {
	if left <= 0 {
		return ""
	}
	return fmt.Sprintf(" (%s)", span(left))
}

// progressOf is the bar and what is counted, or how long it is waited.
func progressOf(s *State) []Line {
	switch b := s.Bar; {
	case b == nil && s.Left > 0:
		return []Line{{}, {indent(span(s.Left) + " left at most"), Strong}}
	case b == nil:
		return []Line{{}, {}}
	case b.Total <= 0:
		return []Line{{}, {indent(fmt.Sprintf("%s     %s/s", progress.Bytes(b.Done), progress.Bytes(b.Rate))), Strong}}
	default:
		return []Line{{indent(bar(b)), Filled}, {indent(counted(b)), Strong}}
	}
}

// The characters of a bar.
const (
	full  = '█'
	empty = '░'
)

// bar draws what is done.
func bar(b *Bar) string {
	done := min(max(b.Done, 0), b.Total)
	part := float64(done) / float64(b.Total)
	const cells = inner - 6
	n := int(part * cells)
	return strings.Repeat(string(full), n) + strings.Repeat(string(empty), cells-n) + fmt.Sprintf(" %3d %%", int(part*100))
}

// counted is the bar in words.
func counted(b *Bar) string {
	done := min(max(b.Done, 0), b.Total)
	text := fmt.Sprintf("%s of %s", progress.Bytes(done), progress.Bytes(b.Total))
	if b.Rate <= 0 {
		return text
	}
	left := time.Duration(float64(b.Total-done) / float64(b.Rate) * float64(time.Second))
	return fmt.Sprintf("%s     %s/s     %s left", text, progress.Bytes(b.Rate), span(left))
}

// span is a time for people, who do not count seconds of hours. What is over a day is over a day.
func span(d time.Duration) string {
	switch s := int(min(d, 24*time.Hour).Round(time.Second).Seconds()); {
	case d > 24*time.Hour:
		return "more than a day"
	case s < 120:
		return fmt.Sprintf("%d s", s)
	case s < 2*3600:
		return fmt.Sprintf("%d min", (s+30)/60)
	default:
		return fmt.Sprintf("%d h", (s+1800)/3600)
	}
}

// keys are those that do something now.
func keys(s *State) []Line {
	var lines []Line
	if s.Windows {
		lines = append(lines, Line{indent("W: start Windows now"), Key})
	}
	switch s.Discard {
	case Offered:
		lines = append(lines, Line{indent("R: throw away this session"), Key})
	case Chosen:
		lines = append(lines, Line{indent("R was pressed: this session is thrown away"), Key})
	}
	return lines
}

// block is a labelled text.
func block(label, text string, most int, style Style) []Line {
	if text == "" {
		return nil
	}
	const width = 9
	var lines []Line
	for _, part := range wrap(text, inner-width, most) {
		lines = append(lines, Line{indent(fmt.Sprintf("%-*s%s", width, label, part)), style})
		label = ""
	}
	return lines
}

func indent(text string) string {
	if text == "" {
		return ""
	}
	return strings.Repeat(" ", margin) + text
}
