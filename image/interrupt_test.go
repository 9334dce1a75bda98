package image

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// trip cancels a context at the n-th read of a disk.
type trip struct {
	io.ReaderAt
	left   atomic.Int64
	cancel func()
}

func (t *trip) ReadAt(p []byte, off int64) (int, error) {
	if t.left.Add(-1) == 0 {
		t.cancel()
	}
	return t.ReaderAt.ReadAt(p, off)
}

func versions(t *testing.T, s *Store) int {
	t.Helper()
	l, err := s.List(t.Context(), "pc")
	if err != nil {
		t.Fatal(err)
	}
	return len(l)
}

// TestInterruptedAdd cancels an Add at every read: the store lists the old state, leaves nothing under way, and the next Add works.
func TestInterruptedAdd(t *testing.T) {
	r := seeded(t, 1)
	s := newStore(t)
	states := history(t, r, s, 2, 2000, false)
	child := mutate(r, states[2], 3, false)
	before := tree(t, s.dir)
	routines := runtime.NumGoroutine()
	for n := int64(1); ; n++ {
		ctx, cancel := context.WithCancel(t.Context())
		d := child.disk(states[2])
		tr := &trip{ReaderAt: d.Reader, cancel: cancel}
		tr.left.Store(n)
		d.Reader = tr
		_, err := s.Add(ctx, "pc", d, nil)
		cancel()
		if tr.left.Load() > 0 { // the last read was before
			if err != nil || n < 5 || versions(t, s) != 3 {
				t.Fatalf("Add after %d cancelled ones = %v", n-1, err)
			}
			break
		}
		if err == nil {
			t.Fatalf("Add cancelled at read %d went through", n)
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("Add cancelled at read %d: %v", n, err)
		}
		if versions(t, s) != 2 {
			t.Fatalf("Add cancelled at read %d left %d versions", n, versions(t, s))
		}
		sameTree(t, before, tree(t, s.dir))
	}
	waitRoutines(t, routines)
	disk := update(t, s, states[1].data, 1, 3)
	checkDefined(t, disk, child, nil)
}

func waitRoutines(t *testing.T, want int) {
	t.Helper()
	for range 100 {
		if runtime.NumGoroutine() <= want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%d goroutines, before there were %d", runtime.NumGoroutine(), want)
}

var errFull = errors.New("no space left")

// failing wraps the operations on the store so that the n-th fails; a write then puts down half of its bytes.
type failing struct{ left int }

func (f *failing) next() error {
	f.left--
	if f.left == 0 {
		return errFull
	}
	return nil
}

type failingFile struct {
	file
	f *failing
}

func (w *failingFile) Write(p []byte) (int, error) {
	if err := w.f.next(); err != nil {
		n, _ := w.file.Write(p[:len(p)/2])
		return n, err
	}
	return w.file.Write(p)
}

func (w *failingFile) Sync() error {
	if err := w.f.next(); err != nil {
		return err
	}
	return w.file.Sync()
}

func (f *failing) ops() fileOps {
	return fileOps{
		create: func(p string) (file, error) {
			if err := f.next(); err != nil {
				return nil, err
			}
			w, err := unsynced.create(p)
			return &failingFile{w, f}, err
		},
		rename: func(a, b string) error {
			if err := f.next(); err != nil {
				return err
			}
			return unsynced.rename(a, b)
		},
		mkdir: func(p string) error {
			if err := f.next(); err != nil {
				return err
			}
			return unsynced.mkdir(p)
		},
		sync: func(p string) error {
			if err := f.next(); err != nil {
				return err
			}
			return unsynced.sync(p)
		},
	}
}

// TestEveryWriteFails lets each single operation on the store fail once, half-written writes included: the store shows the old state
// or, if only the last sync failed, the new one, always whole, and takes the next version.
func TestEveryWriteFails(t *testing.T) {
	r := seeded(t, 2)
	v1 := firstState(r, 400)
	v2 := mutate(r, v1, 2, false)
	ended := false
	for n := 1; !ended; n++ {
		s := newStore(t)
		publish(t, s, "pc", v1, nil, &PublishOptions{}, false)
		f := &failing{left: n}
		s.ops = f.ops()
		_, err := s.Add(t.Context(), "pc", v2.disk(v1), nil)
		s.ops = unsynced
		if ended = f.left > 0; ended {
			if err != nil || n < 20 {
				t.Fatalf("%d operations, Add = %v", n-1, err)
			}
			continue
		}
		if !errors.Is(err, errFull) {
			t.Fatalf("operation %d failed, Add = %v", n, err)
		}
		left, err := os.ReadDir(filepath.Join(s.dir, tmpName))
		if err != nil || len(left) > 0 {
			t.Fatalf("operation %d failed, %d files are left in %s, %v", n, len(left), tmpName, err)
		}
		if versions(t, s) == 1 {
			publish(t, s, "pc", v2, v1, &PublishOptions{}, false)
		}
		checkDefined(t, update(t, s, v1.data, 1, 2), v2, nil)
	}
}

// TestFullDevice publishes onto a device without space: the error is the system's own.
func TestFullDevice(t *testing.T) {
	r := seeded(t, 3)
	s := newStore(t)
	s.ops = osOps
	v1 := firstState(r, 3000)
	s.ops.create = func(string) (file, error) { return os.OpenFile("/dev/full", os.O_WRONLY, 0) }
	if _, err := s.Import(t.Context(), "pc", v1.disk(nil), nil); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("Import = %v, want ENOSPC", err)
	}
	if names, err := s.Images(); err != nil || len(names) != 0 {
		t.Fatalf("Images = %v, %v", names, err)
	}
	s.ops = osOps
	publish(t, s, "pc", v1, nil, &PublishOptions{}, false)
}

// TestKilledPublisher leaves what a killed process leaves: files in tmp and objects that no version names.
func TestKilledPublisher(t *testing.T) {
	r := seeded(t, 4)
	s := newStore(t)
	v1 := firstState(r, 300)
	for _, name := range []string{"tmp/pack", "tmp/document", "images/pc/1.json"} {
		p := filepath.Join(s.dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Show(t.Context(), "pc", 0); !errors.Is(err, ErrNotFound) {
		t.Fatalf("Show = %v", err)
	}
	publish(t, s, "pc", v1, nil, &PublishOptions{}, false)
	checkDefined(t, update(t, s, make([]byte, len(v1.data)), 0, 1), v1, nil)
	for name := range tree(t, s.dir) {
		if strings.HasPrefix(name, "tmp/") {
			t.Errorf("%s is left", name)
		}
	}
}

// TestBusy publishes while another publisher holds the store.
func TestBusy(t *testing.T) {
	r := seeded(t, 5)
	s := newStore(t)
	other, err := OpenStore(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := other.lock()
	if err != nil {
		t.Fatal(err)
	}
	v1 := firstState(r, 300)
	if _, err := s.Import(t.Context(), "pc", v1.disk(nil), nil); !errors.Is(err, ErrBusy) {
		t.Fatalf("Import = %v, want ErrBusy", err)
	}
	unlock()
	publish(t, s, "pc", v1, nil, &PublishOptions{}, false)
}

// TestInterruptedFetch cancels a fetch at many writes: it returns the cancellation, and leaves no goroutine.
func TestInterruptedFetch(t *testing.T) {
	r := seeded(t, 6)
	s := newStore(t)
	states := history(t, r, s, 3, 1500, false)
	routines := runtime.NumGoroutine()
	for n := 1; n < 20; n++ {
		p, err := LoadPlan(t.Context(), s, "pc", 0, 3)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		k := &cancelSink{newSink(make([]byte, len(states[1].data))), n, cancel}
		_, err = p.Fetch(ctx, s, k, &FetchOptions{Workers: 2, RequestBytes: 1})
		if cancel(); k.left > 0 {
			if err != nil || n < 3 {
				t.Fatalf("Fetch cancelled after write %d = %v", n, err)
			}
			break
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatalf("Fetch = %v", err)
		}
	}
	waitRoutines(t, routines)
}

type cancelSink struct {
	*sink
	left   int
	cancel func()
}

func (c *cancelSink) WriteAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	c.left--
	last := c.left == 0
	c.mu.Unlock()
	if last {
		c.cancel()
	}
	return c.sink.WriteAt(p, off)
}
