// Command vhdx looks at, checks, makes, converts and merges VHDX files:
//
//	vhdx info FILE…                     show details of files
//	vhdx map FILE                       list the data extents of a disk
//	vhdx check FILE…                    check files for damage
//	vhdx create FILE                    create an empty disk
//	vhdx convert --to FORMAT SRC DST    copy a raw image, a disk or a chain into one new file
//	vhdx merge CHILD                    merge a child into its parent, in place
//	vhdx relink CHILD                   point a child at its parent again
//
// "vhdx COMMAND --help" lists the flags of a command. Package troy/vhdx/vhdxcmd says how parents
// are found and what --json prints. It needs the standard library and package troy/vhdx only. "troy
// vhdx" is the same code.
//
// Exit codes: 0 done, 1 failed, 2 wrong usage, 5 a check found something wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"troy/internal/cli"
	"troy/internal/version"
	"troy/vhdx/vhdxcmd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const usage = "vhdx COMMAND [flags] FILE…"

// run finds the command, runs it and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s := cli.New("vhdx", stdout, stderr)
	commands := vhdxcmd.New(s, "vhdx")
	if len(args) == 0 {
		help(stderr, commands)
		return cli.Usage
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		help(s.Out, commands)
		return s.Finish(nil, usage)
	case "version", "--version":
		fmt.Fprintln(s.Out, "vhdx", version.Get())
		return s.Finish(nil, usage)
	}
	for _, c := range commands {
		if c.Name == args[0] {
			return s.Finish(one(ctx, c, args[1:], s.Out), synopsis(c))
		}
	}
	return s.Finish(cli.Usagef("unknown command %q", args[0]), usage)
}

// one runs a command.
func one(ctx context.Context, c *vhdxcmd.Command, args []string, out io.Writer) error {
	c.Flags.SetOutput(io.Discard)
	names, err := parse(c.Flags, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		describe(out, c)
		return nil
	case err != nil:
		return cli.Usagef("%v", err)
	case len(names) < c.Min || c.Max >= 0 && len(names) > c.Max:
		return cli.Usagef("wrong number of arguments (%d)", len(names))
	}
	return c.Run(ctx, names)
}

// parse reads flags anywhere among the arguments, up to "--", and returns the others.
func parse(flags *flag.FlagSet, args []string) (names []string, err error) {
	for len(args) > 0 {
		arg := args[0]
		if arg == "--" {
			return append(names, args[1:]...), nil
		}
		if len(arg) < 2 || arg[0] != '-' {
			names, args = append(names, arg), args[1:]
			continue
		}
		n := min(words(flags, arg), len(args))
		if err := flags.Parse(args[:n]); err != nil {
			return nil, err
		}
		args = args[n:]
	}
	return names, nil
}

// words is how many arguments a flag and its value are.
func words(flags *flag.FlagSet, arg string) int {
	name, _, inside := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	f := flags.Lookup(name)
	if f == nil || inside {
		return 1
	}
	if b, ok := f.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
		return 1
	}
	return 2
}

func synopsis(c *vhdxcmd.Command) string { return "vhdx " + c.Name + " [flags] " + c.Args }

func help(w io.Writer, commands []*vhdxcmd.Command) {
	fmt.Fprintf(w, "vhdx looks at, checks, makes, converts and merges VHDX files.\n\nusage: %s\n\n", usage)
	for _, c := range commands {
		fmt.Fprintf(w, "  %-8s %s\n", c.Name, c.Short)
	}
	fmt.Fprintf(w, "  %-8s %s\n\n'vhdx COMMAND --help' lists the flags of a command.\n", "version", "show which build this is")
}

// describe prints the help of one command.
func describe(w io.Writer, c *vhdxcmd.Command) {
	fmt.Fprintf(w, "%s\n\nusage: %s\n\nflags:\n", c.Short, synopsis(c))
	c.Flags.VisitAll(func(f *flag.Flag) {
		word, text := flag.UnquoteUsage(f)
		fmt.Fprintf(w, "  %s\n        %s\n", strings.TrimSpace("--"+f.Name+" "+word), text)
	})
}
