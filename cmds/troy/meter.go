package main

import (
	"io"
	"sync"

	"troy/internal/progress"
)

// stage is a meter for one part of a work: it begins with the first bytes, and ends the stage
// before.
type stage struct {
	w      io.Writer
	what   string
	total  int64
	before *stage // nil: it is the first

	mu    sync.Mutex
	meter *progress.Meter
	ended bool
}

// Add implements progress.Adder.
func (s *stage) Add(n int64) { s.begun().Add(n) }

func (s *stage) begun() *progress.Meter {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.meter == nil {
		s.before.Done()
		s.meter = progress.New(s.w, s.what, s.total)
	}
	return s.meter
}

// Done writes the closing line, once, of the stage that began last.
func (s *stage) Done() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.meter == nil:
		s.before.Done()
	case !s.ended:
		s.ended = true
		s.meter.Done()
	}
}
