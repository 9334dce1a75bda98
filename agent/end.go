package agent

import (
	"context"
	"errors"
	"slices"
	"strings"

	"troy/agent/decide"
	"troy/server/protocol"
)

// The codes that Run returns, see the package comment. ExitUsage is for the caller, who parses
// flags; Go itself ends a program that panics with 2.
const (
	ExitDone       = 0
	ExitUntouched  = 3
	ExitUnfinished = 4
	ExitCheck      = 5
	ExitUsage      = 64
)

// exitCode is that of a start so far.
func exitCode(o decide.Outcome) int {
	switch o.Severity {
	case decide.Untouched:
		return ExitUntouched
	case decide.Unfinished:
		return ExitUnfinished
	case decide.Check:
		return ExitCheck
	}
	return ExitDone
}

// ends tells whether the work is over before the step.
func ends(s decide.Step) bool {
	switch s.Kind {
	case decide.Pause, decide.HandOff, decide.Report, decide.Confirm, decide.Count, decide.Direct:
		return true
	}
	return s.Final()
}

// sayEnd says once, in one line, why the machine does not have what is wanted; the lines above it
// say what the machine is, for a photo of the screen. Where all went well what was trusted is kept.
func (a *agent) sayEnd(next decide.Step) {
	if a.ended {
		return
	}
	a.ended = true
	o := decide.Judged(&a.facts)
	stranger := a.facts.Order != nil && a.facts.Order.Code != ""
	if stranger || o.Outcome == protocol.OutcomeFailed || o.Outcome == protocol.OutcomeWaiting {
		a.front.showFault(o, next)
	}
	switch o.Outcome {
	case protocol.OutcomeFailed:
		for _, line := range a.o.hardware().Lines() {
			a.con.say("%s", line)
		}
		a.con.say("stopped: %s; %s", o.Message, adviceOn(&a.facts, exitCode(o), next))
	case protocol.OutcomeWaiting:
		a.con.say("waiting: %s; %s", o.Message, adviceOn(&a.facts, exitCode(o), next))
	default:
		a.rec.remember()
	}
}

// adviceOn is the end of the one line: what the state of the disk is and what to do about it.
func adviceOn(f *decide.Facts, code int, next decide.Step) string {
	switch {
	case f.Unsupported != "":
		return "nothing is started"
	case f.Disk.Condition == decide.Missing:
		return "no disk was changed, any other Windows on this machine starts"
	case next.Kind == decide.Again || next.Kind == decide.Report && decide.Waits(f):
		return "nothing is started until that is done"
	}
	return advice(code)
}

// advice for a machine that starts Windows.
func advice(code int) string {
	switch code {
	case ExitUntouched:
		return "the disk is unchanged, its current version starts"
	case ExitUnfinished:
		return "the disk is safe, the next start continues"
	case ExitCheck:
		return "look at this machine"
	}
	return ""
}

// end ends the start. When the machine is restarted it does not return.
func (a *agent) end(ctx context.Context, s decide.Step) int {
	code := exitCode(decide.Judged(&a.facts))
	var err error
	switch s.Kind {
	case decide.Windows:
		a.front.lastLook(ctx, a.sleep)
		a.con.say("restarting into Windows")
	case decide.Restart:
		a.con.say("restarting into the new agent")
	case decide.Again:
		a.con.say("%s; trying again in %.0f s", s.Reason, s.Pause.Seconds())
		over := a.con.display.wait(s.Pause, false)
		err = a.sleep(ctx, s.Pause)
		over()
	}
	switch {
	case s.Kind == decide.Stay || err != nil:
	case a.o.Shell:
		a.con.say("stopping in a shell, as asked")
	default:
		a.front.closeScreen()
		err = a.win.reset()
	}
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		a.con.say("hand-off: %v", err)
		return ExitCheck
	}
	return code
}

func joinLines(lines []string) string {
	return protocol.Clean(strings.Join(lines, "; "), protocol.MaxText)
}

// without returns the steps but for those of a kind.
func without(steps []protocol.Step, kind string) []protocol.Step {
	return slices.DeleteFunc(steps, func(s protocol.Step) bool { return s.Kind == kind })
}
