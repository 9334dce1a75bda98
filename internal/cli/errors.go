package cli

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Exit codes of the programs. Usage is EX_USAGE of sysexits.h, for Go itself ends a program that
// panics, or that gets no memory, with 2: a service manager has to tell the two apart.
const (
	OK     = 0
	Failed = 1
	Check  = 5
	Usage  = 64
)

// ErrCheck is wrapped by commands whose job was to look for faults and that found some.
var ErrCheck = errors.New("check failed")

// UsageError is a wrong command line. Without text, help was shown instead.
type UsageError struct{ Text string }

// Error implements error.
func (e *UsageError) Error() string { return e.Text }

// Usagef makes a UsageError.
func Usagef(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// Fault is an error with what became of the files, and what to do about it, in one line.
type Fault struct {
	Err          error
	Fate, Advice string
}

// Error implements error. Names in files are claims: they must not move the cursor.
func (f *Fault) Error() string {
	parts := []string{Clean(f.Err.Error())}
	for _, s := range []string{f.Fate, f.Advice} {
		if s != "" {
			parts = append(parts, Clean(s))
		}
	}
	return strings.Join(parts, "; ")
}

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Err }

// NothingChanged is the fate of files that were only read.
const NothingChanged = "no file was changed"

// Explain adds what became of the files, and what advice has to say. Wrong usage stays as it is.
func Explain(err error, fate string, advice func(error) string) error {
	var usage *UsageError
	var known *Fault
	switch {
	case err == nil, errors.As(err, &usage):
		return err
	case errors.As(err, &known) && known.Fate != "":
		return err
	case errors.As(err, &known):
		return &Fault{known.Err, fate, known.Advice}
	}
	return &Fault{err, fate, advice(err)}
}

// Clean makes text one line that a terminal only shows.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ReplaceAll(s, "\n", "; "))
}

// Finish prints how a run ended and returns its exit code. Usage is the synopsis of the command.
// A run whose output got lost has failed, whatever it did.
func (s *Streams) Finish(err error, usage string) int {
	if err == nil && s.sink.err != nil {
		err = fmt.Errorf("writing the output: %w", s.sink.err)
	}
	var wrong *UsageError
	switch {
	case err == nil:
		return OK
	case errors.As(err, &wrong) && wrong.Text == "":
		return Usage
	case errors.As(err, &wrong):
		fmt.Fprintf(s.Err, "%s: %s; usage: %s\n", s.Name, Clean(err.Error()), usage)
		return Usage
	case errors.Is(err, ErrCheck):
		fmt.Fprintf(s.Err, "%s: %v\n", s.Name, err)
		return Check
	}
	fmt.Fprintf(s.Err, "%s: %v\n", s.Name, err)
	return Failed
}
