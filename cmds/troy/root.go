package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"troy/internal/cli"
	"troy/internal/version"
	"troy/server/protocol"
	"troy/server/state"
)

// Groups of commands in the order of the help.
const (
	groupImages = "images"
	groupServer = "server"
	groupRooms  = "rooms"
	groupMore   = "more"
)

// newRoot makes the tree of commands for one run, with what they all write to.
func newRoot(s *cli.Streams) *cobra.Command {
	root := group("troy", "Troy re-images rooms of Windows PCs by moving only the blocks that changed.")
	root.SilenceErrors, root.SilenceUsage = true, true
	root.Version = whichBuild()
	root.SetVersionTemplate("troy {{.Version}}\n")
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { writeHelp(cmd, s.Out) })
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(helpCommand(s))
	root.SetHelpCommandGroupID(groupMore)
	root.SetCompletionCommandGroupID(groupMore)
	for _, g := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{groupServer, "server", []*cobra.Command{setupCommand(s), serveCommand(s), certsCommand(s), loginCommand(s), tokenCommand(s), doctorCommand(s)}},
		{groupImages, "images and signatures", []*cobra.Command{initCommand(s), imageCommand(s), keyCommand(s), permitCommand(s), agentCommand(s), mediaCommand(s)}},
		{groupRooms, "rooms", []*cobra.Command{labCommand(s), promoteCommand(s), rollbackCommand(s), stopCommand(s), statusCommand(s), hostsCommand(s),
			logCommand(s), assignCommand(s), forgetCommand(s), wakeCommand(s)}},
		{groupMore, "rescue, trials and more", []*cobra.Command{diskCommand(s), vhdxCommand(s), verifyCommand(s), tryCommand(s), gatesCommand(s), versionCommand(s), docsCommand(s)}},
	} {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, c := range g.commands {
			c.GroupID = g.id
		}
		root.AddCommand(g.commands...)
	}
	addCompletion(root)
	return root
}

// addCompletion adds cobra's command for the shells that people run on Linux.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() != "completion" {
			continue
		}
		c.Short, c.Long, c.Hidden = "print a completion script for a shell", "", true // packages install them
		c.Args, c.RunE, c.FParseErrWhitelist.UnknownFlags = cobra.ArbitraryArgs, needCommand, true
		for _, shell := range c.Commands() {
			shell.Short, shell.Long, shell.Args, shell.DisableFlagsInUseLine = "print the script for "+shell.Name(), "", arguments(0, 0), true
			if shell.Name() == "powershell" {
				c.RemoveCommand(shell)
			}
		}
	}
}

// whichBuild says which build this is, and with which agents and files it works.
func whichBuild() string {
	return fmt.Sprintf("%s\nspeaks %s, reads state.db of format %d to %d", version.Get(), protocol.Spoken(), state.Kind.Oldest, state.Kind.Current())
}

func versionCommand(s *cli.Streams) *cobra.Command {
	return leaf("version", "show which build this is", func(context.Context, []string) error {
		fmt.Fprintln(s.Out, "troy", whichBuild())
		return nil
	})
}

func helpCommand(s *cli.Streams) *cobra.Command {
	help := &cobra.Command{Use: "help [COMMAND…]", Short: "show the help of a command", DisableFlagsInUseLine: true}
	help.RunE = func(cmd *cobra.Command, args []string) error {
		about, rest, err := cmd.Root().Find(args)
		if err != nil || len(rest) > 0 {
			return cli.Usagef("unknown command %q", strings.Join(args, " "))
		}
		about.InitDefaultHelpFlag()
		writeHelp(about, s.Out)
		return nil
	}
	return help
}

// group makes a command that only holds others.
func group(name, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: name, Short: short, DisableFlagsInUseLine: true, Args: cobra.ArbitraryArgs, RunE: needCommand,
		SuggestionsMinimumDistance: 2, FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true}}
	c.AddCommand(commands...)
	return c
}

// needCommand answers a group of which no command was named, or none that it has.
func needCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		writeHelp(cmd, cmd.ErrOrStderr())
		return cli.Usagef("")
	}
	name := strings.TrimPrefix(cmd.CommandPath()+" "+args[0], "troy ")
	return cli.Usagef("unknown command %q%s", name, didYouMean(cmd.SuggestionsFor(args[0])))
}

// leaf makes a command that does something. Use is its name and its arguments.
func leaf(use, short string, run func(context.Context, []string) error) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, DisableFlagsInUseLine: true, Args: arguments(count(use))}
	c.RunE = func(cmd *cobra.Command, args []string) error { return run(cmd.Context(), args) }
	return c
}

// count returns how many arguments a synopsis names, at least and at most. Max < 0 is no limit.
func count(use string) (least, most int) {
	words := strings.Fields(use)[1:]
	for i := 0; i < len(words); i++ {
		word := words[i]
		switch {
		case word == "|": // between two flags of which one is needed
			continue
		case strings.HasPrefix(word, "--"): // a flag that is needed, and its value
			i++
			continue
		case !strings.HasPrefix(word, "["):
			least++
		}
		if most >= 0 {
			most++
		}
		if strings.Contains(word, "…") {
			most = -1
		}
	}
	return least, most
}

// arguments checks how many arguments there are.
func arguments(least, most int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if n := len(args); n < least || most >= 0 && n > most {
			return cli.Usagef("wrong number of arguments (%d)", n)
		}
		if i := slices.Index(args, ""); i >= 0 { // such as a variable of a script that is not set
			return cli.Usagef("argument %d is empty", i+1)
		}
		return nil
	}
}
