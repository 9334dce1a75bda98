package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"troy/internal/cli"
	"troy/internal/errline"
	"troy/trial/prepare"
)

func main() {
	prepare.Inside() // init of a small virtual PC; anywhere else it returns at once
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run finds the command, runs it and turns its error into a message and an exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s := cli.New("troy", stdout, stderr)
	root := newRoot(s)
	root.SetArgs(append([]string{}, args...)) // not nil, which cobra takes for the program's own
	cmd, err := root.ExecuteContextC(ctx)
	if cmd != nil {
		err = errline.Join(err, giveBack(cmd, err != nil))
	}
	return s.Finish(err, synopsis(cmd))
}
