package netfetch

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"troy/internal/testing/fetchtest"
)

// mirrored makes n mirrors of the same data that give up soon.
func mirrored(t *testing.T, data []byte, n int) ([]*fetchtest.Server, *Mirrors) {
	t.Helper()
	servers := make([]*fetchtest.Server, n)
	sources := make([]Source, n)
	for i := range servers {
		o := quick()
		o.GiveUpAfter = 50 * time.Millisecond
		servers[i], sources[i] = serveWith(t, data, o)
	}
	m, err := NewMirrors(&MirrorsOptions{GiveUpAfter: 3 * time.Second}, sources...)
	if err != nil {
		t.Fatal(err)
	}
	return servers, m
}

func TestMirrorsFailOver(t *testing.T) {
	data := fetchtest.Random(t, 100_000)
	for name, fault := range map[string]fetchtest.Fault{
		"busy": fetchtest.Busy(503, ""), "missing": fetchtest.Busy(404, ""), "cut": fetchtest.Cut(10),
		"other range": fetchtest.Shift(1), "silent": fetchtest.Stall(0),
	} {
		t.Run(name, onFakeTime(func(t *testing.T) {
			s, m := mirrored(t, data, 3)
			var turns int
			m.o.OnFailover = func(from, to Source, err error) { turns++ }
			s[0].Always(fault)
			s[1].Always(fault)
			for i := range int64(5) {
				b, err := m.ReadRange(t.Context(), object, i*1000, 1000)
				if err != nil || !bytes.Equal(b, data[i*1000:i*1000+1000]) {
					t.Fatalf("ReadRange = %d bytes, %v", len(b), err)
				}
			}
			// Then they sit on the bench, or are known to lack this object.
			if turns != 2 || len(s[2].Requests()) != 5 {
				t.Errorf("%d turns, the third was asked %d times; want 2 and 5", turns, len(s[2].Requests()))
			}
		}))
	}
}

// TestMirrorsKeepTheirOrder uses the first as long as it works, and again when
// its time on the bench is over.
func TestMirrorsKeepTheirOrder(t *testing.T) { synctest.Test(t, testMirrorsKeepTheirOrder) }

func testMirrorsKeepTheirOrder(t *testing.T) {
	data := fetchtest.Random(t, 1000)
	s, m := mirrored(t, data, 2)
	read := func() {
		t.Helper()
		if _, err := m.ReadRange(t.Context(), object, 0, 1000); err != nil {
			t.Fatal(err)
		}
	}
	read()
	s[0].Always(fetchtest.Busy(503, ""))
	read()
	s[0].Always(nil)
	before := len(s[0].Requests())
	read()
	if len(s[0].Requests()) != before || len(s[1].Requests()) != 2 {
		t.Error("the first was asked while on the bench")
	}
	time.Sleep(benchFirst)
	read()
	if len(s[0].Requests()) != before+1 {
		t.Error("the first was not asked again")
	}
}

// TestMirrorsReject tells Mirrors of wrong bytes as a reader that checks hashes does.
func TestMirrorsReject(t *testing.T) { synctest.Test(t, testMirrorsReject) }

func testMirrorsReject(t *testing.T) {
	data := fetchtest.Random(t, 64*1024)
	s, m := mirrored(t, data, 3)
	s[0].Always(fetchtest.Wrong(0))
	s[1].Always(fetchtest.Wrong(17))
	limited := NewLimiter(0).Wrap(m)
	var wg sync.WaitGroup
	for w := range int64(4) {
		wg.Go(func() {
			for i := range int64(4) {
				off := (w*4 + i) * 4096
				for tries := 0; ; tries++ {
					b, err := limited.ReadRange(t.Context(), object, off, 4096)
					if err != nil || tries > 2 {
						t.Errorf("%d tries: %v", tries, err)
						return
					}
					if bytes.Equal(b, data[off:off+4096]) {
						break
					}
					limited.(Rejecter).Reject(object, off, 4096)
				}
			}
		})
	}
	wg.Wait()
	// Each stream may have been under way with either liar once.
	if a, b := len(s[0].Requests()), len(s[1].Requests()); a > 4 || b > 8 {
		t.Errorf("the liars were asked %d and %d times", a, b)
	}
}

// bare is a Source without Documents.
type bare struct{ Source }

func TestMirrorsGet(t *testing.T) { synctest.Test(t, testMirrorsGet) }

func testMirrorsGet(t *testing.T) {
	data := fetchtest.Random(t, 1000)
	s, m := mirrored(t, data, 2)
	s[0].Always(fetchtest.Cut(10))
	var d Documents = NewLimiter(0).Wrap(m).(Documents)
	if b, err := d.Get(t.Context(), object, 1000); err != nil || !bytes.Equal(b, data) {
		t.Errorf("Get = %d bytes, %v", len(b), err)
	}
	if b, err := d.Get(t.Context(), object, 999); b != nil || !errors.Is(err, ErrTooLarge) {
		t.Errorf("Get with a lower limit = %d bytes, %v", len(b), err)
	}
	if b, err := d.Get(t.Context(), "missing", 1000); b != nil || !errors.Is(err, ErrNotFound) || strings.Contains(err.Error(), "bytes 0-") {
		t.Errorf("Get of what is missing = %d bytes, %v", len(b), err)
	}
	only, err := NewMirrors(nil, bare{m})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := only.Get(t.Context(), object, 1000); !errors.Is(err, ErrNoDocuments) {
		t.Errorf("Get from ranges only = %v", err)
	}
}

func TestMirrorsAllFail(t *testing.T) { synctest.Test(t, testMirrorsAllFail) }

func testMirrorsAllFail(t *testing.T) {
	s, m := mirrored(t, make([]byte, 10), 2)
	s[0].Always(fetchtest.Busy(404, ""))
	s[1].Always(fetchtest.Busy(403, ""))
	begin := time.Now()
	_, err := m.ReadRange(t.Context(), object, 0, 10)
	var me *MirrorsError
	if !errors.Is(err, ErrNotFound) || !errors.Is(err, ErrRefused) || !errors.As(err, &me) || len(me.Errs) != 2 {
		t.Fatalf("error = %v", err)
	}
	if strings.Contains(err.Error(), "\n") || time.Since(begin) > 2*time.Second { // of the three it has
		t.Errorf("after %v: %q", time.Since(begin), err)
	}
	s[1].Always(fetchtest.Busy(503, ""))
	if _, err := m.ReadRange(t.Context(), object, 0, 10); !errors.Is(err, ErrBusy) || len(s[0].Requests()) < 3 {
		t.Errorf("the first was asked %d times: %v; want several rounds", len(s[0].Requests()), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.ReadRange(ctx, object, 0, 10); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := NewMirrors(nil); err == nil {
		t.Error("NewMirrors without a source succeeded")
	}
}

// inMemory is a Source that answers at once.
type inMemory []byte

func (m inMemory) String() string { return "memory" }
func (m inMemory) ReadRange(_ context.Context, _ string, off, n int64) ([]byte, error) {
	return m[off : off+n], nil
}

func TestLimiter(t *testing.T) { synctest.Test(t, testLimiter) }

func testLimiter(t *testing.T) {
	data := fetchtest.Random(t, 400_000)
	l := NewLimiter(400_000) // the first range is free, 300 000 bytes remain
	src := l.Wrap(inMemory(data))
	begin := time.Now()
	var wg sync.WaitGroup
	for i := range int64(4) {
		wg.Go(func() {
			if b, err := src.ReadRange(t.Context(), object, i*100_000, 100_000); err != nil || !bytes.Equal(b, data[i*100_000:(i+1)*100_000]) {
				t.Errorf("range %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if d := time.Since(begin); d < 749*time.Millisecond || d > 751*time.Millisecond {
		t.Errorf("400 kB at 400 kB/s took %v, want 750 ms", d)
	}
	time.Sleep(time.Hour) // saves up nothing
	for i, want := range []time.Duration{0, 250 * time.Millisecond} {
		begin := time.Now()
		if err := l.wait(t.Context(), 100_000); err != nil || time.Since(begin) != want {
			t.Errorf("read %d after a pause waits %v, want %v: %v", i, time.Since(begin), want, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := l.wait(ctx, 1<<30); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait under a context = %v", err)
	}
	if err := NewLimiter(0).wait(t.Context(), 1<<40); err != nil {
		t.Errorf("Wait without a limit = %v", err)
	}
}
