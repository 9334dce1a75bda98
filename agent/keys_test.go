package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal makes a pair of a keyboard and the path of the console that it belongs to.
func terminal(t *testing.T) (keyboard *os.File, path string) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keyboard.Close() })
	fd := int(keyboard.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return keyboard, fmt.Sprint("/dev/pts/", n)
}

// modes are those of a terminal that the keyboard changes.
func modes(t *testing.T, path string) uint32 {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return s.Lflag & (unix.ICANON | unix.ECHO)
}

// W ends a wait, and R where that is said and it is offered; no other key does.
func TestKeys(t *testing.T) {
	for _, test := range []struct {
		name, keys string
		offered, r bool // R does something, R ends the wait
		ends       error
		discard    bool
	}{
		{name: "w", keys: "w", ends: errSkipped},
		{name: "W after other keys", keys: "x\x1b[A\r\nW", ends: errSkipped},
		{name: "other keys", keys: "a\x1b\rq"},
		{name: "R in a wait for the network", keys: "r", offered: true, discard: true},
		{name: "R, then W", keys: "RW", offered: true, discard: true, ends: errSkipped},
		{name: "R in a pause", keys: "R", offered: true, r: true, discard: true, ends: errDiscarded},
		{name: "R that is not offered", keys: "rR", r: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			terminals, path := terminal(t)
			held, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0) // else the modes end with their last user
			if err != nil {
				t.Fatal(err)
			}
			defer held.Close()
			before := modes(t, path)
			pressed := make(chan struct{}, 1)
			k := &keyboard{changed: func() { pressed <- struct{}{} }}
			k.listen("/nowhere", path)
			if m := modes(t, path); before == 0 || m != 0 {
				t.Errorf("modes %x, while listening %x", before, m)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			k.offer(test.offered)
			waiting, stop := k.wait(ctx, test.r)
			if _, err := terminals.WriteString(test.keys); err != nil {
				t.Fatal(err)
			}
			if test.discard {
				<-pressed
			}
			if test.ends == nil {
				k.close() // after the last key
				cancel()
			}
			<-waiting.Done()
			if got := context.Cause(waiting); test.ends != nil && !errors.Is(got, test.ends) || test.ends == nil && !errors.Is(got, context.Canceled) {
				t.Errorf("the wait ended by %v, want %v", got, test.ends)
			}
			stop()
			k.close()
			if got := k.offer(false); got != test.discard {
				t.Errorf("R was pressed: %v", got)
			}
			if m := modes(t, path); m != before {
				t.Errorf("modes %x before, %x after", before, m)
			}
		})
	}
}

// A key counts in the wait in which it is pressed.
func TestKeyBetweenWaits(t *testing.T) {
	k := &keyboard{}
	k.press('w')
	waiting, stop := k.wait(t.Context(), true)
	if waiting.Err() != nil {
		t.Error("a key that was pressed before the wait ended it")
	}
	stop()
	k.press('w')
	if got := context.Cause(waiting); !errors.Is(got, context.Canceled) {
		t.Error(got)
	}
}
