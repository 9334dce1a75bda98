package image

import (
	"context"
	"sync"
	"time"
)

// How long a request takes on a line that carries fewer streams, and on one that carries more.
const (
	slowRequest = 10 * time.Second
	fastRequest = 2 * time.Second
)

// streams lets as many requests be under way as the line carries. On a slow line, which the rooms of
// a branch share, a few chunks that arrive are worth more than many halves that a cut loses. It
// begins with few, since nothing is known of a line before something came.
type streams struct {
	most int

	mu   sync.Mutex
	may  int
	busy int
	free chan struct{} // closed when another may begin; nil = nobody waits
}

func newStreams(most int) *streams { return &streams{most: most, may: min(most, 2)} }

// begin waits for a place.
func (s *streams) begin(ctx context.Context) error {
	for {
		s.mu.Lock()
		if s.busy < s.may {
			s.busy++
			s.mu.Unlock()
			return nil
		}
		if s.free == nil {
			s.free = make(chan struct{})
		}
		free := s.free
		s.mu.Unlock()
		select {
		case <-free:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// end gives the place back after a request that took so long.
func (s *streams) end(took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case took >= slowRequest:
		s.may = max(1, s.may/2)
	case took <= fastRequest:
		s.may = min(s.most, 2*s.may)
	}
	if s.busy--; s.free != nil {
		close(s.free)
		s.free = nil
	}
}

// all says that the line carries as many streams as there may be.
func (s *streams) all() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.may == s.most
}
