package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// Errors of a VM; each comes with the end of the serial log and the command line.
var (
	ErrTimeout = errors.New("timed out")
	ErrEnded   = errors.New("the VM ended")
	ErrKilled  = errors.New("the VM was killed")
)

// VM is a running QEMU.
type VM struct {
	name   string
	args   []string
	config Config
	vars   string // file of the firmware's variables; empty = no firmware
	log    *serialLog
	boot   *bootWatch
	cancel context.CancelCauseFunc
	ctx    context.Context // ends with Kill and with the context of Start
	done   chan struct{}   // closed when QEMU has ended and all its output is read
	// Valid after done: how the process ended, and why it was ended from outside (nil if it was
	// not).
	waitErr, ended error

	mu  sync.Mutex // guards the field below: a second try replaces it
	cmd *exec.Cmd
}

// Start starts a VM. The caller must call [VM.Close]. When ctx ends the VM is killed.
func Start(ctx context.Context, c *Config) (*VM, error) {
	return startOn(ctx, c, accelerator(ctx, c))
}

func startOn(ctx context.Context, c *Config, accel string) (*VM, error) {
	vars, err := c.prepareVars()
	if err != nil {
		return nil, err
	}
	logFile, err := os.Create(filepath.Join(c.Dir, c.name()+".serial.log"))
	if err != nil {
		return nil, err
	}
	v := &VM{name: c.name(), args: c.command(vars, accel), config: *c, vars: vars, done: make(chan struct{})}
	v.boot = newBootWatch(c)
	v.log = newSerialLog(logFile, v.heard)
	v.ctx, v.cancel = context.WithCancelCause(ctx)
	r, err := v.launch()
	if err != nil {
		v.cancel(nil)
		return nil, errors.Join(err, logFile.Close())
	}
	go v.follow(r)
	return v, nil
}

// CommandLine is the shell command that starts the same VM.
func (v *VM) CommandLine() string { return shellLine(v.args) }

// Log returns all that was said on the serial line so far, without terminal escapes.
func (v *VM) Log() string { return v.log.text() }

// LogFile is the path of the serial log.
func (v *VM) LogFile() string { return v.log.file.Name() }

// Expect waits until the serial log, from where the last Expect left off,
// matches the regular expression, and returns the line with the match, as far as
// it has come: end the expression with .*\n to have all of it.
// The error is [ErrTimeout], [ErrEnded] or [ErrHungBeforeInit].
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
// killed for that, [ErrHungBeforeInit] if it never got as far as its own programs,
// [ErrKilled] if [VM.Kill] ended it.
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
	case errors.Is(v.ended, ErrKilled), errors.Is(v.ended, ErrTimeout), errors.Is(v.ended, ErrHungBeforeInit):
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
