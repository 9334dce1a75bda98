package agent

import (
	"errors"
	"fmt"

	"troy/chainload"
)

// The codes that Run returns, see the package comment. ExitUsage is for the caller, who parses flags.
const (
	ExitDone       = 0
	ExitUsage      = 2
	ExitUntouched  = 3
	ExitUnfinished = 4
	ExitCheck      = 5
)

// stopError ends the deployment: what went wrong, and in which state it left the disk.
type stopError struct {
	step string
	code int
	err  error
}

func (e *stopError) Error() string { return fmt.Sprintf("%s: %v", e.step, e.err) }
func (e *stopError) Unwrap() error { return e.err }

// untouched stops before anything was written.
func untouched(step string, err error) error {
	if err == nil {
		return nil
	}
	return &stopError{step, ExitUntouched, err}
}

// unfinished stops after writes that no chain shows: the old version starts, the next run goes on or begins anew.
func unfinished(step string, err error) error {
	if err == nil {
		return nil
	}
	return &stopError{step, ExitUnfinished, err}
}

// exitCode finds the code of an error of this program; of several that were joined, the first counts.
func exitCode(err error) int {
	var stop *stopError
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &stop):
		return stop.code
	default:
		return ExitUntouched
	}
}

// adviceOn is advice, but for machines that start nothing at all.
func adviceOn(err error, code int) string {
	if errors.Is(err, chainload.ErrBIOS) {
		return "nothing is started"
	}
	return advice(code)
}

// advice is the end of the one line: what the state of the disk is and what to do about it.
func advice(code int) string {
	switch code {
	case ExitUntouched:
		return "the disk is untouched, the version that is there starts"
	case ExitUnfinished:
		return "the disk is safe, the next start goes on"
	case ExitCheck:
		return "look at this machine"
	default:
		return ""
	}
}
