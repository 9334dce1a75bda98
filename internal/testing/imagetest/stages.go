package imagetest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"troy/internal/progress"
)

// Stages notes how far the stages of a work come. Begin is a progress.Start.
type Stages struct {
	mu   sync.Mutex
	list []*stage
}

type stage struct {
	on          *Stages
	what        string
	total, done int64
	ended       bool
	broken      string
}

// Begin implements progress.Start.
func (l *Stages) Begin(what string, total int64) progress.Stage {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &stage{on: l, what: what, total: total}
	if n := len(l.list); n > 0 && !l.list[n-1].ended {
		s.broken = "begins before the stage before has ended"
	}
	l.list = append(l.list, s)
	return s
}

// Add implements progress.Adder.
func (s *stage) Add(n int64) {
	s.on.mu.Lock()
	defer s.on.mu.Unlock()
	if s.done += n; n < 0 || s.done > s.total || s.ended {
		s.broken = fmt.Sprintf("%d bytes more make %d of %d, ended %v", n, s.done, s.total, s.ended)
	}
}

// Done implements progress.Stage.
func (s *stage) Done() time.Duration {
	s.on.mu.Lock()
	defer s.on.mu.Unlock()
	s.ended = true
	return 0
}

// Last returns the total of the last stage.
func (l *Stages) Last() int64 { return l.list[len(l.list)-1].total }

// Check fails the test unless these stages went forward only, one after the other, to exactly their
// totals.
func (l *Stages) Check(t testing.TB, want ...string) {
	t.Helper()
	var names []string
	for _, s := range l.list {
		names = append(names, s.what)
		if s.broken != "" || s.done != s.total || s.total <= 0 || !s.ended {
			t.Errorf("stage %q: %d of %d bytes, ended %v %s", s.what, s.done, s.total, s.ended, s.broken)
		}
	}
	if !slices.Equal(names, want) {
		t.Errorf("stages %q, want %q", names, want)
	}
}
