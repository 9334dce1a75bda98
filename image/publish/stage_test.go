package publish_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"troy/image"
	"troy/image/publish"
	"troy/internal/progress"
	"troy/internal/testing/imagetest"
)

// watched notes the stages of a work.
type watched struct {
	mu     sync.Mutex
	stages []*stage
}

type stage struct {
	on          *watched
	what        string
	total, done int64
	ended       bool
	broken      string
}

func (w *watched) begin(what string, total int64) progress.Stage {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &stage{on: w, what: what, total: total}
	if n := len(w.stages); n > 0 && !w.stages[n-1].ended {
		s.broken = "begins before the stage before has ended"
	}
	w.stages = append(w.stages, s)
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

// whole says what is wrong with stages that all succeeded.
func (w *watched) whole(t *testing.T, want ...string) {
	t.Helper()
	var names []string
	for _, s := range w.stages {
		names = append(names, s.what)
		if s.broken != "" || s.done != s.total || !s.ended {
			t.Errorf("stage %q: %d of %d bytes, ended %v %s", s.what, s.done, s.total, s.ended, s.broken)
		}
	}
	if !slices.Equal(names, want) {
		t.Errorf("stages %q, want %q", names, want)
	}
}

// TestStages: each stage knows its bytes before it begins, and ends there.
func TestStages(t *testing.T) {
	r := imagetest.Seeded(t, 8)
	s := imagetest.NewStore(t)
	states := []*imagetest.State{nil, imagetest.First(r, 3000)}
	for v := 1; v <= 6; v++ {
		if v > 1 {
			states = append(states, imagetest.Mutate(r, states[v-1], v, true))
		}
		w := &watched{}
		m := imagetest.Publish(t, s, states[v], states[v-1], &publish.Options{Progress: w.begin}, true)
		want := []string{"reading"}
		if v > 1 && m.Figures.Shipped+m.Figures.Copied > 0 {
			want = []string{"comparing", "looking for what has moved", "checking what has moved", "reading"}
		}
		w.whole(t, want...)
		if last := w.stages[len(w.stages)-1]; last.total != m.Figures.Scanned {
			t.Errorf("version %d: %d bytes were read, told were %d", v, m.Figures.Scanned, last.total)
		}
	}
}

// unread fails where nothing is to be read.
type unread struct {
	*strings.Reader
	from, to int64
}

func (u unread) ReadAt(p []byte, off int64) (int, error) {
	if off < u.to && off+int64(len(p)) > u.from {
		return 0, fmt.Errorf("bytes %d+%d are read", off, len(p))
	}
	return u.Reader.ReadAt(p, off)
}

// TestUnusedIsNotRead: neither holes nor regions of which nothing is in use are read or counted.
func TestUnusedIsNotRead(t *testing.T) {
	const mib = 1 << 20
	s := imagetest.NewStore(t)
	content := strings.Repeat("in use. ", 8*mib/8)
	disk := &publish.Disk{
		Reader: unread{strings.NewReader(content), 2 * mib, 6 * mib}, Size: 8 * mib, SectorSize: 512, DataWriteGUID: imagetest.GUID(1),
		Data: imagetest.RangeSeq([]image.Range{{Offset: 0, Length: 4 * mib}, {Offset: 6 * mib, Length: 2 * mib}}),
	}
	w := &watched{}
	free := imagetest.Filter{Free: []image.Range{{Offset: 2 * mib, Length: 3 * mib}, {Offset: 7*mib + 4096, Length: 4096}}}
	m, err := publish.Import(t.Context(), s, "pc", disk, &publish.Options{Filter: free, Progress: w.begin})
	if err != nil {
		t.Fatal(err)
	}
	w.whole(t, "reading")
	f := m.Figures
	if f.Scanned != 4*mib || f.Shipped != 4*mib-4096 || f.Undefined != 3*mib+4096 || f.Zero != mib {
		t.Errorf("figures: %+v", f)
	}
}
