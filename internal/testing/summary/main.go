// Command summary runs go test and says at the end what failed and what was skipped.
//
//	go run ./internal/testing/summary [-may-skip REASON] -- ARGUMENT…
//
// The arguments are those of go test. While the tests run, it prints what go test prints: a line
// for each package, and the output of each test that fails; besides, a line for each test that took
// longer than ten seconds, so that one sees a long run move. At the end the failures come again,
// then how many tests were skipped, for each reason, then the counts.
//
// The exit status is that of go test. But a test that was skipped for another reason than the one
// of -may-skip makes it 1: a test that does not run where it should is as bad as one that fails.
// The reason of a skipped test is what it says up to the first colon.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
)

func main() {
	maySkip := flag.String("may-skip", "", "the only `REASON` for which a test may be skipped; any = all reasons")
	flag.Parse()
	signal.Notify(make(chan os.Signal, 1), os.Interrupt) // go test also gets it, and ends; its last words count
	status, err := run(flag.Args(), *maySkip, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
	}
	os.Exit(status)
}

// run runs go test and returns the exit status. An error is one of running it.
func run(args []string, maySkip string, stdout, stderr io.Writer) (int, error) {
	test := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	test.Stderr = stderr
	pipe, err := test.StdoutPipe()
	if err != nil {
		return 1, err
	}
	if err := test.Start(); err != nil {
		return 1, err
	}
	r := newReport(stdout)
	readErr := r.read(pipe)
	err = test.Wait()
	sound := r.end(maySkip)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1), nil // a signal has no exit code
	case err != nil || readErr != nil:
		return 1, errors.Join(err, readErr)
	case !sound:
		return 1, nil
	}
	return 0, nil
}
