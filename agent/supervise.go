package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"troy/agent/page"
	"troy/agent/screen"
	"troy/chainload"
	"troy/internal/version"
	"troy/internal/wait"
	"troy/server/protocol"
)

// UinitName is how u-root's init calls the agent on normal media: what it starts as.
const UinitName = "uinit"

// InitName is how the kernel calls the agent on normal media: what it starts first.
const InitName = "init"

// Init starts u-root's init, whose banner and messages go to the kernel's log. It returns only where
// the media are broken.
func Init() {
	if log, err := unix.Open("/dev/kmsg", unix.O_WRONLY, 0); err == nil {
		for _, fd := range []int{unix.Stdout, unix.Stderr} {
			_ = unix.Dup3(log, fd, 0) // else it is shown
		}
		unix.Close(log)
	}
	const init, quietKernel = "/bbin/init", "-v" // or it has the kernel say more than it was told to
	err := unix.Exec(init, []string{init, quietKernel}, os.Environ())
	fmt.Fprintf(os.Stderr, "%s: %v\n", init, err)
}

// restartAfter is how long the last lines are shown of an agent that ended and should not have.
const restartAfter = 60 * time.Second

// supervisor runs the agent as what init starts, on media without a shell: nobody at the PC comes
// to a prompt, whatever he presses and whatever fails. The agent is a process of its own, so that
// one that breaks is no machine that stays off.
type supervisor struct {
	out     io.Writer
	show    func(*page.Fault) // on the screen, in place of what the agent showed
	said    func() string     // why the agent broke, in its own words
	agent   func() error      // one start of it; returns how it ended
	windows func() error      // makes the next start that of any Windows
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
	out, args, consoles := io.Writer(os.Stdout), os.Args[1:], screen.Consoles()
	if screen.Visible() {
		args = append(args, "-screen")
		screen.Hush(consoles)
	}
	lines := screen.LinesTo(consoles)
	console, err := os.OpenFile(lines, os.O_RDWR|unix.O_NOCTTY, 0)
	if err == nil {
		out = console
		withoutSignals(console)
	}
	s := &supervisor{out: out, show: showFault, windows: startAnyWindows, reset: chainload.Reset, sleep: wait.For, stay: func() { select {} }}
	s.agent = func() error {
		var dying lastWords
		s.said = dying.String
		cmd := exec.Command("/proc/self/exe", args...)
		cmd.Stdout, cmd.Stderr = out, io.MultiWriter(out, &dying)
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

// showFault puts a page on the screen, if there is one.
func showFault(f *page.Fault) {
	if !screen.Visible() {
		return
	}
	s, err := screen.Open(screen.Terminal)
	if err != nil {
		return
	}
	s.Show(page.Lines(&page.State{Fault: f, Foot: "Troy " + version.Get().Short()}))
	_ = s.Close()
}

// lastWords keeps how a program that breaks begins to say why.
type lastWords struct{ text []byte }

// Write implements io.Writer.
func (l *lastWords) Write(p []byte) (int, error) {
	l.text = append(l.text, p[:min(len(p), protocol.MaxDetail-len(l.text))]...)
	return len(p), nil
}

// String is the line that says why.
func (l *lastWords) String() string {
	for line := range strings.Lines(string(l.text)) {
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// withoutSignals has the console take Ctrl-C and its like for characters.
func withoutSignals(console *os.File) {
	t, err := unix.IoctlGetTermios(int(console.Fd()), unix.TCGETS)
	if err != nil {
		return // no terminal
	}
	t.Lflag &^= unix.ISIG
	t.Iflag &^= unix.IXON // Ctrl-S would hold the agent
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
		s.show(&page.Fault{Title: "Troy broke on this PC", What: fmt.Sprintf("%v %s", err, s.said()), Disk: "What it holds is safe: the next start goes on.",
			Do: fmt.Sprintf("Windows starts in %.0f s, if the firmware knows one. Send a photograph of this page.", restartAfter.Seconds())})
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
