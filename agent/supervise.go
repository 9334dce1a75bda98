package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"troy/chainload"
	"troy/internal/wait"
)

// UinitName is how u-root's init calls the agent on normal media: what it starts as.
const UinitName = "uinit"

// restartAfter is how long the last lines are shown of an agent that ended and should not have.
const restartAfter = 60 * time.Second

// supervisor runs the agent as what init starts, on media without a shell: nobody at the PC comes
// to a prompt, whatever he presses and whatever fails. The agent is a process of its own, so that
// one that breaks is no machine that stays off.
type supervisor struct {
	out     io.Writer
	agent   func() error // one start of it; returns how it ended
	windows func() error // makes the next start that of any Windows
	reset   func() error
	stay    func() // until a person restarts the machine
	sleep   func(context.Context, time.Duration) error
}

// Supervise runs the agent, the program that the caller is, until the machine is restarted. It is
// for u-root's init: signals of the console are not heard. Init gives its programs a pipe as
// output, and the kernel hangs up the consoles when one ends (u-root 0.16), so the agent gets the
// console itself and this function does not return.
func Supervise() {
	signal.Ignore(unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP, unix.SIGHUP, unix.SIGTERM)
	out := io.Writer(os.Stdout)
	console, err := os.OpenFile("/dev/console", os.O_RDWR|unix.O_NOCTTY, 0)
	if err == nil {
		out = console
		withoutSignals(console)
	}
	s := &supervisor{out: out, windows: startAnyWindows, reset: chainload.Reset, sleep: wait.For, stay: func() { select {} }}
	s.agent = func() error {
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Stdout, cmd.Stderr = out, out
		if console != nil {
			cmd.Stdin = console
		}
		cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true} // the console's signals are for its own session
		return cmd.Run()
	}
	for {
		s.run(context.Background())
	}
}

// withoutSignals has the console take Ctrl-C and its like for characters.
func withoutSignals(console *os.File) {
	t, err := unix.IoctlGetTermios(int(console.Fd()), unix.TCGETS)
	if err != nil {
		return // no terminal
	}
	t.Lflag &^= unix.ISIG
	_ = unix.IoctlSetTermios(int(console.Fd()), unix.TCSETS, t)
}

// run is one life of the agent. It returns only where the machine could not be restarted.
func (s *supervisor) run(ctx context.Context) {
	err := s.agent()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == ExitUntouched:
		s.say("this machine stays as it is; switch it off, or press Ctrl-Alt-Del")
		s.stay()
		return
	case errors.As(err, &exit) && (exit.ExitCode() == ExitUnfinished || exit.ExitCode() == ExitCheck), err == nil:
		s.say("the machine is restarted in %.0f s", restartAfter.Seconds())
	default: // it broke: Windows is not to wait for whoever mends it
		s.say("the agent broke (%v); Windows starts in %.0f s, if the firmware knows one", err, restartAfter.Seconds())
		if err := s.windows(); err != nil {
			s.say("start: %v", err)
		}
	}
	if err := s.sleep(ctx, restartAfter); err != nil {
		return
	}
	if err := s.reset(); err != nil {
		s.say("restart: %v", err)
	}
}

func (s *supervisor) say(format string, args ...any) {
	fmt.Fprintf(s.out, "deploy: %s\n", fmt.Sprintf(format, args...))
}
