package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// filled makes a state file with trees of several levels and values of several pages, and returns
// its content.
func filled(t *testing.T, path string) []byte {
	t.Helper()
	s, err := Open(path, nil)
	must(t, err)
	for i := range 60 {
		id := fmt.Sprintf("machine-%03d", i)
		_, err := s.Report(id, strings.Repeat("a line of a log\n", 20*(i%20)), i%3 == 0, func(m *Machine) error {
			m.Code, m.Name = fmt.Sprintf("CODE%02d", i), strings.Repeat("name", 10)
			for n := range i % 40 {
				m.Remember(time.Unix(int64(n), 0), "order", "stage, commit, hand over")
			}
			return nil
		})
		must(t, err)
	}
	for i := range 5 {
		_, err := s.Promote(fmt.Sprint("room-", i), Target{Image: "pc", Version: 2})
		must(t, err)
		must(t, s.PutNights([]Night{{Room: fmt.Sprint("room-", i), Begin: time.Unix(int64(i), 0)}}))
	}
	must(t, s.Close())
	b, err := os.ReadFile(path)
	must(t, err)
	return b[:bytes.LastIndexFunc(b, func(r rune) bool { return r != 0 })+1]
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// use opens a state file that may be damaged and does all that a server does with it. What it
// returns is an error that Open gave; a panic or a signal ends the process.
func use(path string) error {
	s, err := Open(path, nil)
	if err != nil {
		return err
	}
	for _, m := range s.All() {
		_, _, _ = s.Log(m.ID)
		s.ByCode(m.Code)
		_, _ = s.Report(m.ID, "log", true, func(m *Machine) error { m.Code = ""; return nil })
	}
	_, _ = s.Nights(time.Time{})
	_, _ = s.Promote("room-1", Target{Image: "pc", Version: 3})
	_ = s.PutNights([]Night{Night{Room: "room-9"}})
	_ = s.Forget("machine-001")
	return s.Close()
}

// damaged is the child of the tests: for each file in a folder it prints a line, its name and what
// Open said.
func damaged(dir string) error {
	list, err := os.ReadDir(dir)
	for _, e := range list {
		fmt.Printf("%s: ", e.Name()) // before: the name of the one that ends the process is the last
		fmt.Printf("%v\n", use(filepath.Join(dir, e.Name())))
	}
	return err
}

// tryDamaged has another process use each file, and returns what it said of it.
func tryDamaged(t *testing.T, files map[string][]byte) map[string]string {
	t.Helper()
	dir := t.TempDir()
	for name, b := range files {
		must(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childEnv+"=damaged "+dir)
	out, err := c.Output()
	if err != nil {
		t.Fatalf("a damaged file ended the process (%v): %s", err, out[max(0, len(out)-200):])
	}
	said := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), ": ")
		said[name] = text
	}
	return said
}

// TestDamagedPages zeroes each page in turn, and fills it with random bytes: it is found, or does
// no harm.
func TestDamagedPages(t *testing.T) {
	good := filled(t, filepath.Join(t.TempDir(), "state.db"))
	page, found := os.Getpagesize(), 0
	noise := rand.NewChaCha8([32]byte{1})
	for _, fill := range []func(b []byte){func(b []byte) { clear(b) }, func(b []byte) { _, _ = noise.Read(b) }} {
		files := map[string][]byte{}
		for at := 0; at < len(good); at += page {
			b := bytes.Clone(good)
			fill(b[at:min(at+page, len(b))])
			files[fmt.Sprint("page-", at/page)] = b
		}
		for _, text := range tryDamaged(t, files) {
			if strings.Contains(text, "is damaged: ") {
				found++
			} else if text != "<nil>" {
				t.Errorf("it says %q", text)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d of the damaged files were found", found)
	}
}

// TestDamagedBytes changes bytes at random, and cuts files short.
func TestDamagedBytes(t *testing.T) {
	good := filled(t, filepath.Join(t.TempDir(), "state.db"))
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	files := map[string][]byte{}
	for i := range 150 {
		b := bytes.Clone(good)
		for range 1 + r.IntN(20) {
			b[r.IntN(len(b))] = byte(r.Uint32())
		}
		files[fmt.Sprint("bytes-", i)] = b
	}
	for _, n := range []int{0, 1, 100, 4096, 8192, 10 * 4096, len(good) / 2, len(good) - 4096} {
		files[fmt.Sprint("cut-", n)] = good[:n]
	}
	for name, text := range tryDamaged(t, files) {
		if cut := strings.HasPrefix(name, "cut"); !strings.Contains(text, "is damaged: ") && (cut || text != "<nil>" && !strings.Contains(text, ErrFormat.Error())) {
			t.Errorf("%s: it says %q", name, text)
		}
	}
}

// FuzzCheck: whatever is in a file, to look at it ends with an answer.
func FuzzCheck(f *testing.F) {
	b := make([]byte, 3*4096)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := check(bytes.NewReader(b), int64(len(b))); err == nil && len(b) < 4*1024 {
			t.Error("so short a file is good")
		}
	})
}

// TestCheckBusy: a file that a server changes meanwhile is not called damaged.
func TestCheckBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s, err := Open(path, nil)
	must(t, err)
	stop, ended := make(chan struct{}), make(chan error)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			if _, err := s.Update(fmt.Sprint(i%50), func(m *Machine) error { m.Name = strings.Repeat("x", i%5000); return nil }); err != nil {
				ended <- err
				return
			}
		}
	}()
	for range 50 {
		if err := Check(path); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	must(t, <-ended)
	must(t, s.Close())
}

// TestWayBack: the copy puts back what it holds; a damaged file replaces no good copy.
func TestWayBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	filled(t, path)
	s, err := Open(path, nil)
	must(t, err)
	must(t, s.Copy())
	copied, err := os.ReadFile(CopyOf(path))
	must(t, err)
	if info, err := os.Stat(CopyOf(path)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt(make([]byte, len(copied)-2*4096), 2*4096) // under the running server
	must(t, errors.Join(err, f.Close()))
	var found *DamagedError
	if err := s.Copy(); !errors.As(err, &found) || !strings.Contains(found.WayBack(), "'cp -p "+CopyOf(path)+" "+path+"' puts back the good copy") {
		t.Errorf("%v", err)
	}
	if now, err := os.ReadFile(CopyOf(path)); err != nil || !bytes.Equal(now, copied) {
		t.Errorf("the good copy was replaced: %v", err)
	}
	must(t, s.Close())
	if _, err := Open(path, nil); !errors.As(err, &found) || strings.Contains(err.Error(), "\n") {
		t.Fatalf("%v", err)
	}
	must(t, os.WriteFile(path, copied, 0o600))
	s, err = Open(path, nil)
	must(t, err)
	if len(s.All()) != 60 || s.Room("room-4") == nil {
		t.Errorf("%d machines came back", len(s.All()))
	}
	must(t, s.Close())
	must(t, os.Truncate(CopyOf(path), 5000))
	if text := found.WayBack(); !strings.Contains(text, "no good copy lies beside it") {
		t.Error(text)
	}
}

// TestKeepCopy: where there is no copy, one is made at the start.
func TestKeepCopy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s, err := Open(path, nil)
	must(t, err)
	defer s.Close()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		go s.KeepCopy(ctx, func(line string) { t.Error(line) })
		synctest.Wait()
		if err := Check(CopyOf(path)); err != nil {
			t.Error(err)
		}
		stop()
	})
}

// TestCopyDue: a copy is made each day.
func TestCopyDue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s, err := Open(path, nil)
	must(t, err)
	defer s.Close()
	ages := map[string]time.Duration{"none": -1, "new": copyAge / 2, "old": copyAge + time.Minute, "of a clock that was ahead": -30 * copyAge}
	for name, age := range ages {
		if name != "none" {
			must(t, s.Copy())
			must(t, os.Chtimes(CopyOf(path), time.Time{}, time.Now().Add(-age)))
		} else {
			_ = os.Remove(CopyOf(path))
		}
		if got, want := s.copyDue(time.Now()), name != "new"; got != want {
			t.Errorf("%s: due %v", name, got)
		}
	}
}
