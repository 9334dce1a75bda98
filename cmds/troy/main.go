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
)

// Exit codes of troy, see the package comment.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitCheck  = 5
)

// errCheck is wrapped by commands whose job was to look for faults and that found some.
var errCheck = errors.New("check failed")

// usageError is a wrong command line; the usage of the command is printed with it.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// command is one subcommand: a leaf has run, a group has sub.
type command struct {
	name  string
	args  string // what follows the name on the command line
	short string
	sub   []command
	run   func(ctx context.Context, c *call) error
}

// call is one invocation of a command.
type call struct {
	cmd            string // "troy image add"
	synopsis       string
	args           []string
	stdout, stderr io.Writer
}

// flags returns a flag set whose errors become usage errors instead of text on the screen.
func (c *call) flags() *flag.FlagSet {
	fs := flag.NewFlagSet(c.cmd, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	return fs
}

// parse reads flags anywhere among the arguments and checks how many positional ones (at least min, at most max; max < 0
// is no limit) are left.
func (c *call) parse(fs *flag.FlagSet, min, max int) ([]string, error) {
	var rest []string
	args := c.args
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, c.help(fs)
			}
			return nil, &usageError{err.Error()}
		}
		if args = fs.Args(); len(args) == 0 {
			break
		}
		rest, args = append(rest, args[0]), args[1:]
	}
	if len(rest) < min || (max >= 0 && len(rest) > max) {
		return nil, &usageError{fmt.Sprintf("wrong number of arguments (%d)", len(rest))}
	}
	return rest, nil
}

// errHelp ends a call for which help was asked and printed.
var errHelp = errors.New("help shown")

func (c *call) help(fs *flag.FlagSet) error {
	fmt.Fprintf(c.stdout, "usage: %s %s\n", c.cmd, c.synopsis)
	fs.SetOutput(c.stdout)
	fs.PrintDefaults()
	return errHelp
}

func commands() []command {
	return append([]command{
		initCommand(),
		imageCommand(),
		keyCommand(),
		agentCommand(),
		serveCommand(),
		labCommand(),
		vhdxCommand(),
		diskCommand(),
		mediaCommand(),
		certsCommand(),
		loginCommand(),
		doctorCommand(),
	}, adminCommands()...)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run finds the command, runs it and turns its error into a message and an exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	name, list := "troy", commands()
	for {
		if len(args) == 0 || args[0] == "-h" || args[0] == "--help" || args[0] == "help" {
			w, code := stdout, exitOK
			if len(args) == 0 {
				w, code = stderr, exitUsage
			}
			printCommands(w, name, list)
			return code
		}
		cmd := find(list, args[0])
		if cmd == nil {
			fmt.Fprintf(stderr, "troy: unknown command %q\n", strings.TrimPrefix(name+" "+args[0], "troy "))
			printCommands(stderr, name, list)
			return exitUsage
		}
		name, args = name+" "+cmd.name, args[1:]
		if cmd.run != nil {
			c := &call{cmd: name, synopsis: cmd.args, args: args, stdout: stdout, stderr: stderr}
			return finish(c, cmd.run(ctx, c))
		}
		list = cmd.sub
	}
}

func find(list []command, name string) *command {
	for i := range list {
		if list[i].name == name {
			return &list[i]
		}
	}
	return nil
}

func finish(c *call, err error) int {
	var usage *usageError
	switch {
	case err == nil, errors.Is(err, errHelp):
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintf(c.stderr, "troy: %v\nusage: %s %s\n", err, c.cmd, c.synopsis)
		return exitUsage
	case errors.Is(err, errCheck):
		fmt.Fprintf(c.stderr, "troy: %v\n", err)
		return exitCheck
	default:
		fmt.Fprintf(c.stderr, "troy: %v\n", err)
		return exitFailed
	}
}

// printCommands lists the commands, each with what it does on a line of its own.
func printCommands(w io.Writer, name string, list []command) {
	fmt.Fprintln(w, "usage:")
	for _, c := range list {
		subs := c.sub
		prefix := name + " " + c.name
		if c.run != nil {
			subs, prefix = []command{c}, name
		}
		for _, s := range subs {
			fmt.Fprintf(w, "  %s\n        %s\n", strings.TrimSpace(prefix+" "+s.name+" "+s.args), s.short)
		}
	}
}

// flagSet shortens the signatures of helpers.
type flagSet = *flag.FlagSet

// paths is a flag that may be given several times.
type paths []string

// String implements flag.Value.
func (p *paths) String() string { return strings.Join(*p, " ") }

// Set implements flag.Value.
func (p *paths) Set(s string) error {
	*p = append(*p, s)
	return nil
}
