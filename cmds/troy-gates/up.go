package main

import (
	"context"
	"flag"
	"io"

	"troy/internal/cli"
	"troy/trial/inside"
	"troy/trial/inside/onwindows"
)

const upUsage = "troy-gates up [--install | --service]"

// up is the program inside the Windows of a trial.
func up(ctx context.Context, s *cli.Streams, args []string) error {
	flags := flag.NewFlagSet("up", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	install := flags.Bool("install", false, "make the program a service first")
	service := flags.Bool("service", false, "run as the service")
	switch err := flags.Parse(args); {
	case err != nil:
		return cli.Usagef("%v", err)
	case flags.NArg() > 0, *install && *service:
		return cli.Usagef("want no folder, and one flag at most")
	case *service:
		return onwindows.Serve(ctx)
	}
	r, err := onwindows.Hand(ctx, *install)
	if r != nil {
		say(s, r)
	}
	return err
}

// say shows what came out, for whoever looks at the screen.
func say(s *cli.Streams, r *inside.Record) {
	s.Note("start %d: %s, did %q", r.Order, r.Ballast, r.Did)
	for _, f := range r.Failed {
		s.Note("failed: %s", f)
	}
	if r.NotTold != "" {
		s.Note("the trial was not told: %s", r.NotTold)
	}
}
