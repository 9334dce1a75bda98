package inside

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"troy/gates"
)

// windows plays the system, and notes what happens in which order.
type windows struct {
	mu     sync.Mutex // guards log: what was given up may still be at work
	log    []string
	hangs  Action // never returns
	blind  bool   // Look never returns
	noStop error  // of ShutDown
	end    chan struct{}
}

func (w *windows) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, what)
}

func (w *windows) Do(ctx context.Context, a Action) error {
	w.note(string(a))
	if a == w.hangs {
		<-w.end
	}
	if a == Retrim {
		return errors.New("the volume\nrefuses")
	}
	return nil
}

func (w *windows) Look(context.Context) Seen {
	w.note("look")
	if w.blind {
		<-w.end
	}
	return Seen{Name: "PC-01", Events: []string{"disk 153"}, Facts: Facts{HostLetter: "none"}, PC: gates.PC{Maker: "QEMU"}, Failed: []string{"event log: no"}}
}

func (w *windows) ShutDown() error {
	w.note("shut down")
	return w.noStop
}

// noted is a file that notes when it is written to and flushed.
type noted struct {
	memory
	name   string
	by     *windows
	broken error
}

func (n *noted) WriteAt(p []byte, off int64) (int, error) {
	n.by.note("write " + n.name)
	if n.broken != nil {
		return 0, n.broken
	}
	return n.memory.WriteAt(p, off)
}

func (n *noted) Sync() error {
	n.by.note("flush " + n.name)
	return nil
}

// start has a ballast of stamp 1 and an empty file of records.
func start(t *testing.T, w *windows, do ...Action) *Start {
	t.Helper()
	ballast := make(memory, 4*BlockSize)
	if err := WriteBallast(ballast, int64(len(ballast)), 1); err != nil {
		t.Fatal(err)
	}
	return &Start{Order: &Order{Number: 5, Do: do, Stamp: 2, BallastMiB: 1}, Phase: Up, System: w,
		Ballast: &noted{ballast, "ballast", w, nil}, Size: int64(len(ballast)), Records: &noted{make(memory, FileSize), "record", w, nil}}
}

// All is done in its order: the ballast is flushed before the record that says so, the record
// before the shutdown. What fails does not end it.
func TestRun(t *testing.T) {
	w := &windows{}
	var told Record
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		w.note("told")
		b, err := io.ReadAll(r.Body)
		if err := errors.Join(err, json.Unmarshal(b, &told)); err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %v: %v", r.Method, r.Header, err)
		}
	}))
	defer server.Close()
	s := start(t, w, Retrim, Fill, Stuff)
	s.Order.Tell = server.URL + "/record"
	r, err := Run(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"retrim", "write ballast", "flush ballast", "stuff", "look", "write record", "flush record", "told", "shut down"}; !slices.Equal(w.log, want) {
		t.Errorf("done: %q, want %q", w.log, want)
	}
	if got, err := Of(s.Records, 5); err != nil || !reflect.DeepEqual(got, r) || !reflect.DeepEqual(&told, r) {
		t.Errorf("put %+v, told %+v, returned %+v: %v", got, told, r, err)
	}
	if !r.Ballast.One(1) || !slices.Equal(r.Did, []Action{Fill, Stuff}) || r.Name != "PC-01" || r.Facts.HostLetter != "none" || r.Phase != Up ||
		!slices.Equal(r.Failed, []string{"retrim: the volume refuses", "event log: no"}) || len(r.Events) != 1 || r.NotTold != "" {
		t.Errorf("%+v", r)
	}
	if _, err := time.Parse(time.RFC3339, r.Time); err != nil {
		t.Error(err)
	}
	if now, err := ReadBallast(s.Ballast, s.Size); err != nil || !now.One(2) {
		t.Errorf("the ballast: %v, %v", now, err)
	}
}

// The trial is told what the slot has room for.
func TestTellLong(t *testing.T) {
	w := &windows{}
	told := new(Record)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err := errors.Join(err, json.Unmarshal(b, told)); err != nil || len(b) > room {
			t.Errorf("%d bytes, %v", len(b), err)
		}
	}))
	defer server.Close()
	s := start(t, w)
	s.Order.Tell = server.URL
	for range 30 {
		s.Failed = append(s.Failed, strings.Repeat("no ", 90))
	}
	if r, err := Run(t.Context(), s); err != nil || r.NotTold != "" {
		t.Fatalf("%+v, %v", r, err)
	}
	if got, err := Of(s.Records, 5); err != nil || !reflect.DeepEqual(got, told) || len(got.Failed) == 0 {
		t.Errorf("put %+v, told %+v: %v", got, told, err)
	}
}

// A PC whose power will be cut stays up.
func TestStay(t *testing.T) {
	w := &windows{}
	if _, err := Run(t.Context(), start(t, w, Stay)); err != nil || slices.Contains(w.log, "shut down") || slices.Contains(w.log, "stay") {
		t.Errorf("%q, %v", w.log, err)
	}
}

// Whatever fails, the record comes where it can, the trial is told, and the shutdown too.
func TestRunFailures(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	refuses := closed.URL
	closed.Close()
	angry := httptest.NewServer(http.NotFoundHandler())
	defer angry.Close()
	broken := errors.New("write protected")
	for name, c := range map[string]struct {
		set    func(*Start, *windows)
		failed string
		told   string
		err    error
		record bool
	}{
		"no ballast":      {func(s *Start, _ *windows) { s.Ballast = nil }, "fill: there is no ballast", "", nil, true},
		"short ballast":   {func(s *Start, _ *windows) { s.Size += BlockSize }, "ballast: the ballast ends at", "", nil, true},
		"bad ballast":     {func(s *Start, _ *windows) { s.Ballast.(*noted).broken = broken }, "fill: write protected", "", nil, true},
		"no files":        {func(s *Start, _ *windows) { s.Ballast, s.Records, s.Failed = nil, nil, []string{"files: no room"} }, "files: no room", "", nil, false},
		"bad records":     {func(s *Start, _ *windows) { s.Records.(*noted).broken = broken }, "", "", broken, false},
		"no shutdown":     {func(_ *Start, w *windows) { w.noStop = broken }, "", "", broken, true},
		"trial not there": {func(s *Start, _ *windows) { s.Order.Tell = refuses }, "", "refused", nil, true},
		"trial refuses":   {func(s *Start, _ *windows) { s.Order.Tell = angry.URL }, "", "404", nil, true},
		"no URL":          {func(s *Start, _ *windows) { s.Order.Tell = ":" }, "", "missing protocol", nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := &windows{}
			s := start(t, w, Fill)
			c.set(s, w)
			r, err := Run(t.Context(), s)
			if !errors.Is(err, c.err) || !strings.Contains(strings.Join(r.Failed, "\n"), c.failed) || !strings.Contains(r.NotTold, c.told) ||
				(r.NotTold == "") != (c.told == "") {
				t.Errorf("%+v, %v", r, err)
			}
			if w.log[len(w.log)-1] != "shut down" {
				t.Errorf("the last was not the shutdown: %q", w.log)
			}
			if c.record {
				if got, err := Of(s.Records, 5); err != nil || !reflect.DeepEqual(got, r) {
					t.Errorf("put %+v, want %+v: %v", got, r, err)
				}
			}
		})
	}
}

// What never returns is given up after its time.
func TestLimits(t *testing.T) {
	for name, c := range map[string]struct {
		w      *windows
		failed string
		after  time.Duration
	}{
		"action": {&windows{hangs: Disks}, "disks: it took too long", ActionLimit},
		"look":   {&windows{blind: true}, "look: it took too long", lookLimit},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				c.w.end = make(chan struct{})
				defer close(c.w.end)
				done := make(chan *Record)
				go func() {
					r, err := Run(t.Context(), start(t, c.w, Disks))
					if err != nil {
						t.Error(err)
					}
					done <- r
				}()
				r := <-done
				if took := time.Since(begin); took != c.after || !slices.Contains(r.Failed, c.failed) || c.w.log[len(c.w.log)-1] != "shut down" {
					t.Errorf("after %v: %q, %q", took, r.Failed, c.w.log)
				}
			})
		})
	}
}
