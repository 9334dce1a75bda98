package agent

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"troy/diskwriter/machine"
	"troy/internal/progress"
)

// describe says in one line what the disk holds.
func describe(path string, s machine.State) string {
	what := fmt.Sprintf("%s holds %s version %d", path, s.Image, s.Version)
	if s.Version == 0 {
		what = path + " holds a version that nobody recorded"
	}
	if s.Layers > 0 {
		what += fmt.Sprintf(", not merged yet (parent: version %d)", s.BaseVersion)
	}
	if s.Staged > 0 {
		what += fmt.Sprintf(", version %d is staged", s.Staged)
	}
	return what
}

// lockedWriter lets several goroutines write whole lines.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

// Write implements io.Writer.
func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// counter counts bytes.
type counter struct{ n atomic.Int64 }

// Add counts n bytes.
func (c *counter) Add(n int64) { c.n.Add(n) }

func (c *counter) total() int64 { return c.n.Load() }

// String says it for people.
func (c *counter) String() string { return progress.Bytes(c.total()) }
