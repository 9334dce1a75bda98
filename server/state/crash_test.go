package state

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"troy/internal/testing/needs"
)

// childEnv says what a copy of this test program does: "load", "full" or "damaged", then a folder.
const childEnv = "STATE_TEST_CHILD"

func TestMain(m *testing.M) {
	if what, dir, ok := strings.Cut(os.Getenv(childEnv), " "); ok {
		err := errors.New("unknown child")
		switch what {
		case "load":
			err = load(dir)
		case "full":
			err = full(dir)
		case "damaged":
			err = damaged(dir)
		}
		if err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(t *testing.T, what, dir string) (*exec.Cmd, io.Reader) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childEnv+"="+what+" "+dir)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	return c, out
}

const loadMachines = 40

// load counts up machines from many goroutines, for ever, and says each number once it is
// acknowledged.
func load(dir string) error {
	s, err := Open(filepath.Join(dir, "state.db"), nil)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	say := func(key string, n int) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf("%s %d\n", key, n)
	}
	failed := make(chan error, loadMachines)
	for i := range loadMachines {
		go func() {
			key := fmt.Sprint("m", i)
			for {
				m, err := s.Report(key, strings.Repeat("log ", i*40), false, func(m *Machine) error { m.CheckIn.Version++; return nil })
				if err != nil {
					failed <- err
					return
				}
				say(key, m.CheckIn.Version)
				if i == 0 {
					t, err := s.Promote("room", Target{Image: "a", Version: m.CheckIn.Version})
					if err != nil {
						failed <- err
						return
					}
					say("room", t.Version)
				}
			}
		}()
	}
	return <-failed
}

// TestKilled kills a process ten times under load: what it said to be kept is there.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	told := map[string]int{}
	total := 0
	for range 10 {
		c, out := child(t, "load", dir)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(250*time.Millisecond+rand.N(200*time.Millisecond), func() { c.Process.Kill() })
		for in := bufio.NewScanner(out); in.Scan(); total++ {
			var key string
			var n int
			if _, err := fmt.Sscan(in.Text(), &key, &n); err == nil {
				told[key] = max(told[key], n)
			} else if strings.HasPrefix(in.Text(), "failed") {
				t.Error(in.Text())
			}
		}
		timer.Stop()
		var exit *exec.ExitError
		if err := c.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("the child ended by itself: %v", err)
		}
		s := open(t, filepath.Join(dir, "state.db"))
		for key, n := range told {
			if key == "room" {
				if got := s.Room("room").Current().Version; got < n {
					t.Errorf("promotion %d is lost, the last is %d", n, got)
				}
			} else if m := s.Get(key); m == nil || m.CheckIn.Version < n {
				t.Errorf("%s: %d was acknowledged, kept is %+v", key, n, m)
			}
		}
		s.Close()
	}
	if total < 100 {
		t.Errorf("only %d acknowledgements in ten rounds: the load was none", total)
	}
	t.Logf("%d acknowledgements, none lost", total)
}

// full fills a file system of 512 KiB and goes on after there is room again.
func full(dir string) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		return fmt.Errorf("mounting a small file system (needs root): %w", err)
	}
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 200<<10), 0o600); err != nil {
		return err
	}
	s, err := Open(filepath.Join(dir, "state.db"), nil)
	if err != nil {
		return err
	}
	last := -1
	for i := range 1000 {
		if _, err = s.Report(fmt.Sprint(i), strings.Repeat("x", 4000), false, func(m *Machine) error { m.CheckIn.Version = i + 1; return nil }); err != nil {
			break
		}
		last = i
	}
	if !errors.Is(err, ErrFull) || last < 3 {
		return fmt.Errorf("after %d machines: %v, want ErrFull", last, err)
	}
	if _, err := s.Update("0", func(m *Machine) error { m.CheckIn.Version = 77; return nil }); err == nil {
		if s.Get("0").CheckIn.Version != 77 { // a small change may still fit
			return errors.New("an update that went through is not there")
		}
	} else if !errors.Is(err, ErrFull) || s.Get("0").CheckIn.Version != 1 {
		return fmt.Errorf("full: %v, %+v", err, s.Get("0"))
	}
	if err := checkAll(s, last); err != nil {
		return err
	}
	if err := errors.Join(os.Remove(ballast), write(s, "after")); err != nil {
		return fmt.Errorf("with room again: %w", err)
	}
	if err := s.Close(); err != nil {
		return err
	}
	if s, err = Open(filepath.Join(dir, "state.db"), nil); err != nil {
		return err
	}
	defer s.Close()
	if s.Get("after") == nil || s.Get(fmt.Sprint(last+1)) != nil {
		return errors.New("opened again: what failed is there, or what went through is not")
	}
	return checkAll(s, last)
}

func write(s *Store, key string) error {
	_, err := s.Update(key, func(*Machine) error { return nil })
	return err
}

func checkAll(s *Store, last int) error {
	for i := 1; i <= last; i++ {
		if m := s.Get(fmt.Sprint(i)); m == nil || m.CheckIn.Version != i+1 {
			return fmt.Errorf("machine %d of %d is lost: %+v", i, last, m)
		}
		if log, _, err := s.Log(fmt.Sprint(i)); err != nil || len(log) != 4000 {
			return fmt.Errorf("log %d of %d: %d bytes, %v", i, last, len(log), err)
		}
	}
	return nil
}

func TestFullDisk(t *testing.T) {
	needs.Root(t)
	c, out := child(t, "full", t.TempDir())
	c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(out)
	if err = errors.Join(err, c.Wait()); err != nil {
		t.Errorf("%v: %s", err, text)
	}
}
