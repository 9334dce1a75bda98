package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// Errors of a VM; each comes with the end of the serial log and the command line.
var (
	ErrTimeout = errors.New("timed out")
	ErrEnded   = errors.New("the VM ended")
	ErrKilled  = errors.New("the VM was killed")
)

// VM is a running QEMU.
type VM struct {
	name    string
	args    []string
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	log     *serialLog
	cancel  context.CancelCauseFunc
	ctx     context.Context
	done    chan struct{} // closed when QEMU has ended and all its output is read
	waitErr error         // valid after done
	ended   error         // valid after done: why it was ended from outside, nil if it was not
}

// Start starts a VM. The caller must call [VM.Close]. When ctx ends the VM is killed.
func Start(ctx context.Context, c *Config) (*VM, error) {
	vars, err := c.prepareVars()
	if err != nil {
		return nil, err
	}
	logFile, err := os.Create(filepath.Join(c.Dir, c.name()+".serial.log"))
	if err != nil {
		return nil, err
	}
	v := &VM{name: c.name(), args: c.command(vars), log: newSerialLog(logFile, c.OnLine), done: make(chan struct{})}
	ctx, stopTimer := context.WithTimeoutCause(ctx, orDefault(c.Timeout, 3*time.Minute), ErrTimeout)
	v.ctx, v.cancel = context.WithCancelCause(ctx)
	v.cmd = exec.CommandContext(v.ctx, v.args[0], v.args[1:]...)
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	v.cmd.Stdout, v.cmd.Stderr = v.log, v.log
	v.cmd.WaitDelay = 5 * time.Second
	if v.stdin, err = v.cmd.StdinPipe(); err == nil {
		err = v.cmd.Start()
	}
	if err != nil {
		stopTimer()
		return nil, errors.Join(fmt.Errorf("starting %s: %w", v.args[0], err), logFile.Close())
	}
	go func() {
		v.waitErr = errors.Join(v.cmd.Wait(), v.log.close())
		v.ended = context.Cause(v.ctx)
		stopTimer()
		close(v.done)
	}()
	return v, nil
}

// CommandLine is the shell command that starts the same VM.
func (v *VM) CommandLine() string { return shellLine(v.args) }

// Log returns all that was said on the serial line so far, without terminal escapes.
func (v *VM) Log() string { return v.log.text() }

// LogFile is the path of the serial log.
func (v *VM) LogFile() string { return v.log.file.Name() }

// Send types text on the serial line.
func (v *VM) Send(text string) error {
	_, err := io.WriteString(v.stdin, text)
	return err
}

// Expect waits until the serial log, from where the last Expect left off,
// matches the regular expression, and returns the line with the match, as far as
// it has come: end the expression with .*\n to have all of it.
// The error is [ErrTimeout] or [ErrEnded].
func (v *VM) Expect(ctx context.Context, expression string) (line string, err error) {
	re, err := regexp.Compile(expression)
	if err != nil {
		return "", err
	}
	for ended := false; ; {
		line, ok, changed := v.log.find(re)
		if ok {
			return line, nil
		}
		if ended {
			return "", v.failure(fmt.Errorf("%w while waiting for %q", v.cause(), expression))
		}
		select {
		case <-changed:
		case <-v.done:
			ended = true // look once more at what came last
		case <-ctx.Done():
			return "", v.failure(fmt.Errorf("%w while waiting for %q", asTimeout(ctx), expression))
		}
	}
}

// Wait waits until the VM powers off. The error is [ErrTimeout] if it had to be
// killed for that, [ErrKilled] if [VM.Kill] ended it.
func (v *VM) Wait(ctx context.Context) error {
	select {
	case <-v.done:
	case <-ctx.Done():
		return v.failure(fmt.Errorf("%w while waiting for its end", asTimeout(ctx)))
	}
	if v.waitErr == nil {
		return nil
	}
	return v.failure(fmt.Errorf("%w: %w", v.cause(), v.waitErr))
}

// Kill ends the VM at once, as a power cut does, and waits until it is gone.
func (v *VM) Kill() {
	v.cancel(ErrKilled)
	<-v.done
}

// Close kills the VM if it still runs. It may be called more than once.
func (v *VM) Close() error {
	v.Kill()
	return nil
}

// cause is why the VM was ended from outside, [ErrEnded] if it was not.
// Only to be called after done.
func (v *VM) cause() error {
	switch {
	case v.ended == nil:
		return ErrEnded
	case errors.Is(v.ended, ErrKilled), errors.Is(v.ended, ErrTimeout):
		return v.ended
	}
	return fmt.Errorf("%w: %w", ErrKilled, v.ended)
}

func asTimeout(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ErrTimeout
	}
	return ctx.Err()
}

// failure adds what is needed to find out more.
func (v *VM) failure(err error) error {
	const lines = 25
	all := strings.Split(strings.TrimRight(v.Log(), "\n"), "\n")
	tail := all[max(0, len(all)-lines):]
	return fmt.Errorf("%s: %w\n--- end of %s ---\n%s\n--- to run it again ---\n%s", v.name, err, v.LogFile(), strings.Join(tail, "\n"), v.CommandLine())
}
