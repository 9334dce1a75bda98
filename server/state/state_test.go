package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestMachines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path)
	code := s.NewCode()
	m, err := s.Update("a", func(m *Machine) error {
		m.Code, m.CheckIn.Image = code, "win11"
		return nil
	})
	if err != nil || m.Rev != 1 || s.ByCode(code) != m || s.Get("a") != m {
		t.Fatalf("%+v, %v", m, err)
	}
	if _, err := s.Update("b", func(m *Machine) error { m.Code = code; return nil }); err == nil || s.Get("b") != nil {
		t.Errorf("a code that is taken: %v", err)
	}
	boom := errors.New("boom")
	if _, err := s.Update("a", func(m *Machine) error { m.Code = "X"; return boom }); !errors.Is(err, boom) || s.Get("a").Code != code {
		t.Errorf("a change that failed: %v", err)
	}
	if _, err := s.Report("a", "the log", true, func(m *Machine) error { m.Code = ""; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Report("a", "later", false, func(m *Machine) error { return nil }); err != nil {
		t.Fatal(err)
	}
	check := func(s *Store) {
		t.Helper()
		last, failed, err := s.Log("a")
		if err != nil || last != "later" || failed != "the log" || s.ByCode(code) != nil || s.Get("a").CheckIn.Image != "win11" || s.Get("a").Rev != 3 {
			t.Errorf("%q, %q, %v, %+v", last, failed, err, s.Get("a"))
		}
	}
	check(s)
	if _, err := Open(path, &Options{ReadOnly: true}); !errors.Is(err, ErrBusy) {
		t.Errorf("open twice: %v", err)
	}
	s.Close()
	ro, err := Open(path, &Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	check(ro)
	if _, err := ro.Update("a", func(*Machine) error { return nil }); err == nil {
		t.Error("a read-only file was written")
	}
	ro.Close()
	s = open(t, path)
	if err := s.Forget("a", "none"); err != nil || s.Get("a") != nil {
		t.Errorf("forget: %v", err)
	}
	if last, _, _ := s.Log("a"); last != "" {
		t.Errorf("the log stays: %q", last)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	var m Machine
	for i := range 3 * historyMost {
		m.Remember(time.Unix(int64(i), 0), "x", fmt.Sprint(i))
	}
	if len(m.History) != historyMost || m.History[historyMost-1].Text != fmt.Sprint(3*historyMost-1) {
		t.Errorf("%d events, the last %+v", len(m.History), m.History[len(m.History)-1])
	}
}

func TestRoomsAndNights(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path)
	if s.Room("B204").Current() != nil {
		t.Error("a target out of nothing")
	}
	for v := 1; v <= targetsMost+5; v++ {
		got, err := s.Promote("B204", Target{Image: "win11", Version: v})
		if err != nil || got.ID != uint64(v) {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if err := s.ChangeTarget("B204", targetsMost+5, func(t *Target) { t.Open = true }); err != nil {
		t.Fatal(err)
	}
	if err := s.ChangeTarget("B204", 1, func(*Target) {}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a target that is gone: %v", err)
	}
	begin := time.Date(2026, 11, 22, 22, 0, 0, 0, time.UTC)
	for i := range 4 {
		if err := s.PutNights([]Night{{Room: "B204", Begin: begin.AddDate(0, 0, i%3), Done: i}}); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	s = open(t, path)
	if r := s.Room("B204"); len(r.Targets) != targetsMost || !r.Current().Open || r.Current().Version != targetsMost+5 {
		t.Errorf("%+v", r.Current())
	}
	list, err := s.Nights(begin.Add(-time.Second))
	if err != nil || len(list) != 3 || list[0].Done != 2 || list[2].Done != 3 {
		t.Errorf("%+v, %v", list, err)
	}
	if list, _ := s.Nights(begin); len(list) != 2 {
		t.Errorf("%d nights after the first", len(list))
	}
}

// TestManyAtOnce: updates of the same machines at once are all counted, in memory and on the disk,
// while promotions come in between.
func TestManyAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path)
	const machines, each = 50, 20
	var wg sync.WaitGroup
	for i := range machines * each {
		wg.Go(func() {
			_, err := s.Update(fmt.Sprint(i%machines), func(m *Machine) error { m.CheckIn.Version++; return nil })
			if err != nil {
				t.Error(err)
			}
			if i%100 == 0 {
				if _, err := s.Promote("room", Target{Version: i}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for range 2 {
		all := s.All()
		for _, m := range all {
			if m.CheckIn.Version != each || m.Rev != each {
				t.Errorf("machine %s has %d updates, rev %d", m.ID, m.CheckIn.Version, m.Rev)
			}
		}
		if len(all) != machines || len(s.Room("room").Targets) != machines*each/100 {
			t.Errorf("%d machines, %d targets", len(all), len(s.Room("room").Targets))
		}
		s.Close()
		s = open(t, path)
	}
}

func TestBadFiles(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "none", "x"), nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("no folder: %v", err)
	}
	junk := filepath.Join(dir, "junk")
	if err := os.WriteFile(junk, make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(junk, nil); err == nil {
		s.Close()
		t.Error("zeros were opened")
	}
	other := filepath.Join(dir, "other")
	s := open(t, other)
	err := s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte(bucketMeta)).Put([]byte("format"), []byte("1")) })
	if err = errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(other, nil); !errors.Is(err, ErrFormat) {
		t.Errorf("another format: %v", err)
	}
}

// TestForgottenWhileItSpeaks: a machine that is changed while it is forgotten, and that then nobody
// makes again, is gone from memory as from the disk.
func TestForgottenWhileItSpeaks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path)
	gone := errors.New("gone")
	var wg sync.WaitGroup
	for i := range 100 {
		id := fmt.Sprint(i)
		var forgotten atomic.Bool
		for range 4 {
			wg.Go(func() {
				_, err := s.Update(id, func(*Machine) error {
					if forgotten.Load() {
						return gone
					}
					return nil
				})
				if err != nil && !errors.Is(err, gone) {
					t.Error(err)
				}
			})
		}
		wg.Go(func() {
			forgotten.Store(true)
			if err := s.Forget(id); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(s.All()); n > 0 {
		t.Errorf("%d machines are in memory", n)
	}
	s.Close()
	if n := len(open(t, path).All()); n > 0 {
		t.Errorf("%d machines are on the disk", n)
	}
}
