// Command deploy is the agent: u-root's init runs it on the machine, before Windows. Package agent
// says what it does and how it ends.
//
// It is what the kernel starts, called init: it starts u-root's init, which says nothing on the
// screen then. Called uinit it supervises itself: so u-root's init has it.
//
// Without flags it takes what the boot media and the kernel command line say; flags, for a person
// at the rescue shell, override both.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"troy/agent"
	"troy/netfetch/params"
)

func main() {
	switch filepath.Base(os.Args[0]) {
	case agent.InitName:
		agent.Init()
		os.Exit(1)
	case agent.UinitName:
		agent.Supervise()
	}
	os.Exit(run(os.Args[1:], os.Stdout))
}

// run parses, works and returns the exit code. When the machine is handed over it does not return.
func run(args []string, out io.Writer) int {
	o, err := parse(args, out)
	if err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return agent.ExitDone
		}
		fmt.Fprintf(out, "deploy: %v\n", err)
		return agent.ExitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return agent.Run(ctx, o, out)
}

// parse reads the kernel command line first, then flags, so that a person at the rescue shell has
// the last word.
func parse(args []string, out io.Writer) (*agent.Options, error) {
	o := &agent.Options{}
	text := o.Arguments(out)
	flags := flag.NewFlagSet("deploy", flag.ContinueOnError)
	flags.SetOutput(out)
	var words []string
	word := func(key string) func(string) error {
		return func(value string) error { words = append(words, key+"="+value); return nil }
	}
	flags.Func("server", "`URL` of the server", word("troy.server"))
	flags.Func("ip", "static `address` instead of DHCP, such as 192.0.2.10/24,gw=192.0.2.1", word("troy.ip"))
	flags.StringVar(&o.Disk, "disk", o.Disk, "work on this disk or image `file` only")
	flags.BoolVar(&o.Shell, "shell", o.Shell, "stay here at the end instead of restarting the machine")
	flags.BoolVar(&o.Running, "no-link", false, "the network is up already")
	flags.BoolVar(&o.NoHandOff, "no-handoff", false, "do not hand the machine to Windows")
	flags.BoolVar(&o.Screen, "screen", false, "show a page on the machine's screen")
	flags.IntVar(&o.Workers, "workers", 0, "ranges fetched at once (default 8)")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	if len(words) > 0 {
		last := strings.Join(words, " ")
		if _, err := params.Parse(last); err != nil {
			return nil, err
		}
		o.Net, _ = params.Parse(text, last) // what is wrong in the command line was said above
		if typed, _ := params.Parse(last); len(typed.Servers) > 0 {
			o.Typed = typed.Servers
		}
	}
	return o, nil
}
