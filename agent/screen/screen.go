package screen

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"troy/agent/page"
)

// Terminal is the virtual terminal that shows pages.
const Terminal = "/dev/tty1"

const (
	wholeEvery = 5 * time.Second        // how often all lines are written
	lastWait   = 500 * time.Millisecond // how long Close waits for the last page
)

// Screen shows pages on a terminal.
type Screen struct {
	out   io.WriteCloser
	size  func() (columns, rows int)
	pages chan []page.Line // the newest one that was not shown yet
	done  chan struct{}
	once  sync.Once
}

// Open takes a terminal for pages.
func Open(path string) (*Screen, error) {
	tty, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	fd := int(tty.Fd()) // blocking: Close does not wait for a writer
	if t, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
		t.Iflag &^= unix.IXON // Ctrl-S is a key like others
		_ = unix.IoctlSetTermios(fd, unix.TCSETS, t)
	}
	size := func() (int, int) {
		w, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
		if err != nil || w.Col == 0 || w.Row == 0 {
			return page.Width, page.Height
		}
		return int(w.Col), int(w.Row)
	}
	enlarge(fd, size)
	return start(tty, size), nil
}

func start(out io.WriteCloser, size func() (columns, rows int)) *Screen {
	s := &Screen{out: out, size: size, pages: make(chan []page.Line, 1), done: make(chan struct{})}
	go s.paint()
	return s
}

// Show shows a page soon. It does not wait for the terminal. One goroutine at a time may call it.
func (s *Screen) Show(lines []page.Line) {
	select {
	case <-s.pages: // it was not shown in time
	default:
	}
	s.pages <- lines
}

// Close leaves the last page on the terminal.
func (s *Screen) Close() error {
	s.once.Do(func() { close(s.pages) })
	select {
	case <-s.done:
	case <-time.After(lastWait): // somebody holds the terminal: the program ends all the same
	}
	return s.out.Close()
}

// Modes of the terminal: UTF-8, no cursor, no step into the next line, never dark.
const begin = "\x1b%G\x1b[?25l\x1b[?7l\x1b[9;0]\x1b[0m\x1b[2J"

// What a dying kernel says begins at the top.
const end = "\x1b[0m\x1b[1;1H"

func (s *Screen) paint() {
	defer close(s.done)
	if _, err := io.WriteString(s.out, begin); err != nil {
		return
	}
	var shown []string
	var last time.Time
	for lines := range s.pages {
		rows := layout(lines, s.size)
		if time.Since(last) > wholeEvery || len(rows) != len(shown) {
			shown, last = make([]string, len(rows)), time.Now()
		}
		if _, err := s.out.Write(changes(shown, rows)); err != nil {
			return
		}
		shown = rows
	}
}

// colours of the styles. The console's bright white on black is what a camera reads best.
var colours = map[page.Style]string{
	page.Plain: "0;1;37;40", page.Strong: "0;1;37;40", page.Dim: "0;37;40", page.Head: "0;1;37;44",
	page.Filled: "0;1;32;40", page.Key: "0;30;47", page.Alarm: "0;1;37;41",
}

// layout puts a page in the middle of a terminal. Each row is as wide as that.
func layout(lines []page.Line, size func() (columns, rows int)) []string {
	columns, rows := size()
	top, left := (rows-len(lines))/2, max((columns-page.Width)/2, 0)
	if rows < len(lines) {
		top = -1 // the first line of a page is empty
	}
	all := make([]string, rows)
	for i := range all {
		var l page.Line
		if n := i - top; n >= 0 && n < len(lines) {
			l = lines[n]
		}
		text := strings.Repeat(" ", left) + l.Text
		if over := utf8.RuneCountInString(text) - columns; over > 0 {
			text = string([]rune(text)[:columns])
		} else {
			text += strings.Repeat(" ", -over)
		}
		all[i] = "\x1b[" + colours[l.Style] + "m" + text
	}
	return all
}

// changes is what makes rows of what is shown.
func changes(shown, rows []string) []byte {
	var b bytes.Buffer
	for i, r := range rows {
		if i >= len(shown) || shown[i] != r {
			fmt.Fprintf(&b, "\x1b[%d;1H%s", i+1, r)
		}
	}
	return slices.Concat(b.Bytes(), []byte(end))
}
