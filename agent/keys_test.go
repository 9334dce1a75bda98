package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// modes are those of a terminal that a wait changes.
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
	return s.Lflag & (unix.ICANON | unix.ECHO | unix.ISIG)
}

func TestSkip(t *testing.T) {
	for _, test := range []struct {
		name, keys string
		skipped    bool
	}{
		{"w", "w", true},
		{"W after other keys", "x\x1b[A\x03\r\nW", true},
		{"other keys", "a\x03\x1a\x1c\r", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			keyboard, path := terminal(t)
			held, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0) // else the modes end with their last user
			if err != nil {
				t.Fatal(err)
			}
			defer held.Close()
			before := modes(t, path)
			c := &console{out: io.Discard, keyboard: path}
			ctx, cancel := context.WithCancel(t.Context())
			waiting, stop := c.skip(ctx)
			if m := modes(t, path); before == 0 || m != 0 {
				t.Errorf("modes %x, while waiting %x", before, m)
			}
			if _, err := keyboard.WriteString(test.keys); err != nil {
				t.Fatal(err)
			}
			if !test.skipped {
				cancel()
			}
			<-waiting.Done()
			if got := errors.Is(context.Cause(waiting), errSkipped); got != test.skipped {
				t.Errorf("skipped: %v, %v", got, context.Cause(waiting))
			}
			stop()
			cancel()
			if m := modes(t, path); m != before {
				t.Errorf("modes %x before, %x after", before, m)
			}
		})
	}
}

// Without a keyboard a wait is a wait.
func TestSkipWithoutKeyboard(t *testing.T) {
	for _, path := range []string{"", "/dev/null", "/nowhere"} {
		t.Run(path, func(t *testing.T) {
			waiting, stop := (&console{out: io.Discard, keyboard: path}).skip(t.Context())
			if waiting.Err() != nil {
				t.Error(waiting.Err())
			}
			stop()
			if waiting.Err() == nil || errors.Is(context.Cause(waiting), errSkipped) {
				t.Error(context.Cause(waiting))
			}
		})
	}
}
