package agent

import (
	"bytes"
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"troy/internal/errline"
)

// consoleDevice is the terminal of the machine, where a person may press a key.
const consoleDevice = "/dev/console"

// errSkipped is why a wait ended that a person at the machine did not want.
var errSkipped = errors.New("the key W was pressed")

// skip lets a person end a wait: the context that it returns ends, with the cause errSkipped, as
// soon as W is pressed on the console. stop has to be called when the wait is over: it gives the
// keyboard back. One wait at a time.
func (c *console) skip(ctx context.Context) (waiting context.Context, stop func()) {
	waiting, cancel := context.WithCancelCause(ctx)
	if c.keyboard == "" {
		return waiting, func() { cancel(nil) }
	}
	k, err := openKeys(c.keyboard)
	if err != nil { // a machine without a keyboard: nobody can press a key
		return waiting, func() { cancel(nil) }
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if k.wait(waiting, "wW") {
			cancel(errSkipped)
		}
	}()
	return waiting, func() {
		cancel(nil)
		<-done
		k.close()
	}
}

// keys is a terminal that gives each key as it is pressed, shows none, and sends no signals: Ctrl-C
// is a key like others.
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
		raw.Lflag &^= unix.ICANON | unix.ECHO | unix.ISIG
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

// wait returns true as soon as one of the keys is pressed, and false when ctx ends or the terminal
// is gone.
func (k *keys) wait(ctx context.Context, wanted string) bool {
	stop := context.AfterFunc(ctx, func() { _ = k.tty.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var b [16]byte
	for {
		n, err := k.tty.Read(b[:])
		if bytes.ContainsAny(b[:n], wanted) {
			return true
		}
		if err != nil {
			return false
		}
	}
}
