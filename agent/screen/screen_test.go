package screen

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"troy/agent/page"
)

// glass is a terminal: what it shows, and what was written last.
type glass struct {
	t             *testing.T
	columns, rows int
	cells         [][]rune

	mu      sync.Mutex
	written []string
	held    chan struct{} // nil = writes go through
}

func newGlass(t *testing.T, columns, rows int) *glass {
	g := &glass{t: t, columns: columns, rows: rows}
	for range rows {
		g.cells = append(g.cells, []rune(strings.Repeat("#", columns)))
	}
	return g
}

func (g *glass) size() (int, int) { return g.columns, g.rows }

// Close implements io.Closer.
func (g *glass) Close() error { return nil }

// Write implements io.Writer. It fails the test on everything that could scroll.
func (g *glass) Write(p []byte) (int, error) {
	if g.held != nil {
		<-g.held
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.written = append(g.written, string(p))
	text, row, column := string(p), 0, 0
	for text != "" {
		if rest, ok := strings.CutPrefix(text, "\x1b"); ok {
			var n int
			if strings.HasPrefix(rest, "%G") {
				text = rest[2:]
				continue
			}
			end := strings.IndexAny(rest, "HmJlh]")
			if rest[end] == ']' || rest[end] == 'l' || rest[end] == 'm' {
				text = rest[end+1:]
				continue
			}
			if rest[end] == 'J' {
				for _, r := range g.cells {
					copy(r, []rune(strings.Repeat(" ", g.columns)))
				}
			} else if _, err := fmt.Sscanf(rest, "[%d;%dH", &row, &n); err != nil || row < 1 || row > g.rows || n != 1 {
				g.t.Errorf("a step to %q", rest[:end+1])
			} else {
				row, column = row-1, 0
			}
			text = rest[end+1:]
			continue
		}
		r, n := utf8.DecodeRuneInString(text)
		if r < ' ' || column >= g.columns {
			g.t.Errorf("%q at column %d", r, column)
			return len(p), nil
		}
		g.cells[row][column] = r
		text, column = text[n:], column+1
	}
	return len(p), nil
}

func (g *glass) shows() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []string
	for _, r := range g.cells {
		all = append(all, strings.TrimRight(string(r), " "))
	}
	return all
}

func (g *glass) count() int { g.mu.Lock(); defer g.mu.Unlock(); return len(g.written) }

// random makes a page.
func random(r *rand.Rand) []page.Line {
	s := &page.State{Name: fmt.Sprint("pc-", r.IntN(3)), Doing: fmt.Sprint("work ", r.IntN(3)), Bar: &page.Bar{Done: int64(r.IntN(100)), Total: 100, Rate: 1}}
	if r.IntN(3) == 0 {
		s.Fault = &page.Fault{Title: "fault", What: strings.Repeat("why ", r.IntN(200)), Do: "look"}
	}
	return page.Lines(s)
}

// Whatever was shown before, the terminal shows the page, in its middle, as much as has room.
func TestShow(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for _, size := range [][2]int{{80, 25}, {80, 24}, {128, 48}, {240, 67}, {64, 24}, {81, 26}, {1, 1}} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGlass(t, size[0], size[1])
				s := start(g, g.size)
				for range 50 {
					p := random(r)
					s.Show(p)
					synctest.Wait()
					want := make([]string, g.rows)
					top, left := (g.rows-len(p))/2, max((g.columns-page.Width)/2, 0)
					if g.rows < len(p) {
						top = -1
					}
					for i, l := range p {
						text := []rune(strings.Repeat(" ", left) + l.Text)
						if i+top >= 0 && i+top < g.rows {
							want[i+top] = strings.TrimRight(string(text[:min(len(text), g.columns)]), " ")
						}
					}
					if got := g.shows(); !slices.Equal(got, want) {
						t.Fatalf("shows\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
					}
				}
				s.Close()
			})
		})
	}
}

// The same page is not written again, and after a while it is, so that what others wrote goes away.
func TestWritesWhatChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlass(t, 80, 25)
		s := start(g, g.size)
		p := page.Lines(&page.State{Name: "pc-01", Doing: "one"})
		s.Show(p)
		synctest.Wait()
		s.Show(p)
		synctest.Wait()
		if last := g.written[len(g.written)-1]; last != end {
			t.Errorf("the same page wrote %q", last)
		}
		s.Show(page.Lines(&page.State{Name: "pc-01", Doing: "two"}))
		synctest.Wait()
		if last := g.written[len(g.written)-1]; strings.Count(last, "H") != 2 || !strings.Contains(last, "two") {
			t.Errorf("one line changed, and this was written: %q", last)
		}
		copy(g.cells[4], []rune("[  1.0] kernel"))
		time.Sleep(wholeEvery + time.Second)
		s.Show(page.Lines(&page.State{Name: "pc-01", Doing: "two"}))
		synctest.Wait()
		if got := strings.Join(g.shows(), "\n"); strings.Contains(got, "kernel") || !strings.Contains(got, "two") {
			t.Errorf("after a while:\n%s", got)
		}
		s.Close()
	})
}

// A terminal that takes nothing stops nobody; what it takes later is the newest page.
func TestHeldTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlass(t, 80, 25)
		g.held = make(chan struct{})
		s := start(g, g.size)
		for i := range 100 {
			s.Show(page.Lines(&page.State{Doing: fmt.Sprint("page ", i, ".")}))
			synctest.Wait()
		}
		close(g.held)
		synctest.Wait()
		if got := strings.Join(g.shows(), "\n"); !strings.Contains(got, "page 99.") || g.count() > 3 {
			t.Errorf("after %d writes:\n%s", g.count(), got)
		}
		g.held = make(chan struct{})
		s.Show(random(rand.New(rand.NewPCG(1, 1))))
		before := time.Now()
		s.Close()
		if took := time.Since(before); took != lastWait {
			t.Errorf("Close took %v", took)
		}
		close(g.held)
	})
}

// On a terminal of the system: modes and bytes arrive, and a reader of them sees the page.
func TestOpen(t *testing.T) {
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer keyboard.Close()
	fd := int(keyboard.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 120})
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(fmt.Sprint("/dev/pts/", n))
	if err != nil {
		t.Fatal(err)
	}
	if columns, rows := s.size(); columns != 120 || rows != 33 {
		t.Errorf("size %d × %d", columns, rows)
	}
	s.Show(page.Lines(&page.State{Doing: "Größe"}))
	var said strings.Builder
	b := make([]byte, 4096)
	for !strings.Contains(said.String(), "Größe") {
		n, err := keyboard.Read(b)
		if err != nil && err != io.EOF {
			t.Fatalf("%v after %q", err, said.String())
		}
		said.Write(b[:n])
	}
	if !strings.HasPrefix(said.String(), begin) {
		t.Errorf("it begins with %q", said.String()[:40])
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Open("/nowhere"); err == nil {
		t.Error("a terminal that is not there was opened")
	}
}

func TestConsoles(t *testing.T) {
	const (
		screenFirst = "tty0                 -WU (EC  p  )    4:7\nttyS0                -W- (E   p a)    4:64\n"
		serialFirst = "ttyS0                -W- (EC  p a)    4:64\ntty0                 -WU (E   p  )    4:7\n"
	)
	for _, c := range []struct{ name, text, want string }{
		{"the screen, then serial", screenFirst, "/dev/ttyS0"},
		{"serial, then the screen", serialFirst, "/dev/console"},
		{"serial alone", "ttyS0 -W- (EC  p a)    4:64\n", "/dev/console"},
		{"the screen alone", "tty0                 -WU (EC  p  )    4:7\n", "/dev/tty2"},
		{"a hypervisor's", "tty0 -WU (EC p ) 4:1\nhvc0 -W- (E p ) 229:0\n", "/dev/hvc0"},
		{"disabled, no writer, no device", "tty0 -WU (EC p ) 4:1\nttyS0 -W- (  p ) 4:64\nttyS1 --- (E p ) 4:65\nnetcon0 -W- (E p )\n", "/dev/tty2"},
		{"none", "", "/dev/console"},
		{"serial that is not the first, then the screen", "ttyS1 -W- (E p ) 4:65\ntty0 -WU (EC p ) 4:7\nttyS0 -W- (E p ) 4:64\n", "/dev/ttyS1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := LinesTo(parse(c.text)); got != c.want {
				t.Errorf("lines go to %s, want %s, of %+v", got, c.want, parse(c.text))
			}
		})
	}
}

func TestVisible(t *testing.T) {
	driver := func(name, bind string) fstest.MapFS {
		return fstest.MapFS{"vtcon0/name": {Data: []byte("(S) dummy device\n")}, "vtcon0/bind": {Data: []byte("1\n")},
			"vtcon1/name": {Data: []byte(name)}, "vtcon1/bind": {Data: []byte(bind)}}
	}
	for _, c := range []struct {
		name    string
		drivers fstest.MapFS
		want    bool
	}{
		{"no terminals", fstest.MapFS{}, false},
		{"no screen", fstest.MapFS{"vtcon0/name": {Data: []byte("(S) dummy device\n")}, "vtcon0/bind": {Data: []byte("1\n")}}, false},
		{"a frame buffer", driver("(M) frame buffer device\n", "1\n"), true},
		{"one that is not in use", driver("(M) frame buffer device\n", "0\n"), false},
	} {
		if got := visible(c.drivers); got != c.want {
			t.Errorf("%s: visible %v, want %v", c.name, got, c.want)
		}
	}
}
