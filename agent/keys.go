package agent

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"troy/internal/errline"
)

// consoleDevice is the terminal of the machine, where a person may press a key.
const consoleDevice = "/dev/console"

// Why a wait ended that a person at the machine did not want.
var (
	errSkipped   = errors.New("the key W was pressed")
	errDiscarded = errors.New("the key R was pressed")
)

// keyboard hears what a person at the machine presses, for as long as a start lasts. W ends a wait;
// R has the session discarded, while that is offered. The zero value hears nothing.
type keyboard struct {
	changed func() // called when R was pressed; nil = nothing

	mu      sync.Mutex
	skip    context.CancelCauseFunc // ends the wait of now; nil = there is none
	ends    bool                    // R ends that wait, too
	offered bool                    // R does something
	discard bool                    // R was pressed while it did
	open    []*keys
	hearing sync.WaitGroup
}

// listen opens terminals. A machine without a keyboard is one on which nobody presses a key.
func (k *keyboard) listen(paths ...string) {
	for _, path := range paths {
		t, err := openKeys(path)
		if err != nil {
			continue
		}
		k.open = append(k.open, t)
		k.hearing.Go(func() { t.read(k.press) })
	}
}

// close leaves the terminals as they were found.
func (k *keyboard) close() {
	for _, t := range k.open {
		_ = t.tty.SetReadDeadline(time.Unix(1, 0))
	}
	k.hearing.Wait()
	for _, t := range k.open {
		t.close()
	}
	k.open = nil
}

func (k *keyboard) press(key byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case (key == 'w' || key == 'W') && k.skip != nil:
		k.skip(errSkipped)
	case (key == 'r' || key == 'R') && k.offered && !k.discard:
		k.discard = true
		if k.ends && k.skip != nil {
			k.skip(errDiscarded)
		}
		if k.changed != nil {
			go k.changed()
		}
	}
}

// wait lets a person end a wait: the context that it returns ends, with the cause errSkipped, as
// soon as W is pressed; with the cause errDiscarded, if R may end it and is pressed. stop has to be
// called when the wait is over. One wait at a time.
func (k *keyboard) wait(ctx context.Context, r bool) (waiting context.Context, stop func()) {
	waiting, cancel := context.WithCancelCause(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.skip, k.ends = cancel, r
	return waiting, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.skip = nil
		cancel(nil)
	}
}

// offer says whether R does something from here on, and returns whether it was pressed.
func (k *keyboard) offer(yes bool) (pressed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.offered = yes
	return k.discard
}

// keys is a terminal that gives each key as it is pressed, and shows none. Whether Ctrl-C is a key
// like others, who started the agent has decided.
type keys struct {
	tty    *os.File
	before *unix.Termios
}

func openKeys(path string) (*keys, error) {
	tty, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	k := &keys{tty: tty}
	err = errline.Join(tty.SetReadDeadline(time.Time{}), k.control(func(fd int) (err error) {
		if k.before, err = unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
			return err
		}
		raw := *k.before
		raw.Lflag &^= unix.ICANON | unix.ECHO
		raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
		return unix.IoctlSetTermios(fd, unix.TCSETS, &raw)
	}))
	if err != nil {
		tty.Close()
		return nil, err
	}
	return k, nil
}

// close leaves the terminal as it was found.
func (k *keys) close() {
	_ = k.control(func(fd int) error { return unix.IoctlSetTermios(fd, unix.TCSETS, k.before) })
	k.tty.Close()
}

// control does something to the descriptor, which stays in the poller's hands.
func (k *keys) control(do func(fd int) error) (err error) {
	c, err := k.tty.SyscallConn()
	if err != nil {
		return err
	}
	if e := c.Control(func(fd uintptr) { err = do(int(fd)) }); e != nil {
		return e
	}
	return err
}

// read gives each key to press until the terminal is gone, or its deadline is over.
func (k *keys) read(press func(key byte)) {
	var b [16]byte
	for {
		n, err := k.tty.Read(b[:])
		for _, key := range b[:n] {
			press(key)
		}
		if err != nil {
			return
		}
	}
}
