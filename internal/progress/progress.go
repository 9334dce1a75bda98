// Package progress shows how far long work has come: bytes, rate and time left.
//
// On a terminal it is one line that is drawn again; elsewhere (a serial console, a log file) it is
// a plain line now and then, so that nothing is lost in carriage returns. Libraries of Troy know
// only the one method Add.
package progress

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Adder is told of work done, in bytes. Add may be called from several goroutines.
type Adder interface{ Add(bytes int64) }

// Add tells a of n more bytes; nil is told nothing.
func Add(a Adder, n int64) {
	if a != nil && n > 0 {
		a.Add(n)
	}
}

// Stage is one part of a work while it is under way.
type Stage interface {
	Adder
	// Done shows that the part has ended, and returns how long it took.
	Done() time.Duration
}

// Start begins a part of a work that takes so many bytes. Nil shows nothing; call Begin.
type Start func(what string, total int64) Stage

// On shows each part on w by a meter.
func On(w io.Writer) Start {
	return func(what string, total int64) Stage { return New(w, what, total) }
}

// Begin begins a part.
func (s Start) Begin(what string, total int64) Stage {
	if s == nil {
		return silent{}
	}
	return s(what, total)
}

type silent struct{}

func (silent) Add(int64)           {}
func (silent) Done() time.Duration { return 0 }

// Meter counts bytes towards a total and reports on a writer. The zero value is not usable; call
// New.
type Meter struct {
	mu       sync.Mutex
	w        io.Writer
	what     string
	total    int64
	done     int64
	start    time.Time
	next     time.Time
	every    time.Duration
	terminal bool
	now      func() time.Time
}

// New returns a meter for work called what ("fetch", "merge") of total bytes; total 0 means
// unknown. Nothing is written before some time has passed, so short work stays silent until Done.
func New(w io.Writer, what string, total int64) *Meter {
	m := &Meter{w: w, what: what, total: total, terminal: isTerminal(w), now: time.Now, every: 2 * time.Second}
	if m.terminal {
		m.every = 100 * time.Millisecond
	}
	m.start = m.now()
	m.next = m.start.Add(m.every)
	return m
}

// Add counts n more bytes as done. It may be called from several goroutines.
func (m *Meter) Add(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += n
	if t := m.now(); !t.Before(m.next) {
		m.next = t.Add(m.every)
		m.show(t, false)
	}
}

// Done writes the closing line and returns how long the work took.
func (m *Meter) Done() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.now()
	m.show(t, true)
	return t.Sub(m.start)
}

func (m *Meter) show(t time.Time, last bool) {
	line := m.line(t.Sub(m.start), last)
	switch {
	case m.terminal && last:
		fmt.Fprintf(m.w, "\r\x1b[K%s\n", line)
	case m.terminal:
		fmt.Fprintf(m.w, "\r\x1b[K%s", line)
	default:
		fmt.Fprintln(m.w, line)
	}
}

func (m *Meter) line(elapsed time.Duration, last bool) string {
	rate := float64(m.done) / max(elapsed.Seconds(), 0.001)
	if last {
		return fmt.Sprintf("%s: %s in %.1f s, %s/s", m.what, Bytes(m.done), elapsed.Seconds(), Bytes(int64(rate)))
	}
	if m.total <= 0 || m.done <= 0 {
		return fmt.Sprintf("%s: %s, %s/s", m.what, Bytes(m.done), Bytes(int64(rate)))
	}
	left := time.Duration(float64(m.total-m.done) / rate * float64(time.Second)).Round(time.Second)
	bar := ""
	if m.terminal {
		bar = drawBar(float64(m.done)/float64(m.total)) + " "
	}
	return fmt.Sprintf("%s: %s%d%% (%s of %s), %s/s, %s left", m.what, bar, m.done*100/m.total, Bytes(m.done), Bytes(m.total), Bytes(int64(rate)), max(left, 0))
}

func drawBar(part float64) string {
	const width = 24
	full := min(max(int(part*width), 0), width)
	b := make([]byte, width)
	for i := range b {
		b[i] = ' '
		if i < full {
			b[i] = '='
		}
	}
	return "[" + string(b) + "]"
}

// isTerminal tells whether w is a character device with a screen behind it. A serial console is one
// as well, but answers TERM=linux or nothing in the initramfs; there plain lines are wanted, so
// TERM must be set to a real one.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	switch os.Getenv("TERM") {
	case "", "dumb", "linux", "vt100", "vt220":
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Bytes writes a count of bytes for people, in decimal units as disks and networks are sold: "12.3
// MB".
func Bytes(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	v, i := float64(n), 0
	for (v >= 1000 || v <= -1000) && i < len(units)-1 {
		v, i = v/1000, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}
