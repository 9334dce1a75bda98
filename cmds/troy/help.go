package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"troy/internal/cli"
)

// screenWidth is that of a help text, in columns.
const screenWidth = 100

// synopsis is a command with its arguments in one line.
func synopsis(cmd *cobra.Command) string {
	if cmd.HasAvailableSubCommands() {
		return cmd.CommandPath() + " COMMAND"
	}
	path, args, _ := strings.Cut(cmd.UseLine(), cmd.CommandPath())
	line := path + cmd.CommandPath()
	if hasFlags(cmd) {
		line += " [flags]"
	}
	return line + args
}

// hasFlags tells whether a command has flags of its own.
func hasFlags(cmd *cobra.Command) (has bool) {
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) { has = has || f.Name != "help" && !f.Hidden })
	return has
}

// writeHelp prints what a command is for, its synopsis, and its commands or flags.
func writeHelp(cmd *cobra.Command, w io.Writer) {
	fmt.Fprintf(w, "%s\n\nusage: %s\n", about(cmd), synopsis(cmd))
	switch {
	case !cmd.HasParent():
		fmt.Fprintln(w)
		writeGroups(cmd, w)
	case cmd.HasAvailableSubCommands():
		fmt.Fprintln(w)
		for _, c := range available(cmd, "") {
			fmt.Fprintf(w, "  %-11s %s\n", c.Name(), c.Short)
		}
	case hasFlags(cmd):
		fmt.Fprintf(w, "\nflags:\n%s", cmd.LocalFlags().FlagUsagesWrapped(screenWidth))
		return
	default:
		return
	}
	fmt.Fprintf(w, "\n'%s COMMAND --help' says more.\n", cmd.CommandPath())
}

// available lists the commands below one, of a group if it is not "".
func available(cmd *cobra.Command, id string) (list []*cobra.Command) {
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() && (id == "" || c.GroupID == id) {
			list = append(list, c)
		}
	}
	return list
}

// writeGroups prints the commands of the program in two columns, which fit on a screen of 24 lines.
func writeGroups(root *cobra.Command, w io.Writer) {
	for _, g := range root.Groups() {
		fmt.Fprintf(w, "%s:\n", g.Title)
		list := available(root, g.ID)
		half := (len(list) + 1) / 2
		for i := range half {
			line := entry(list[i])
			if i+half < len(list) {
				line = fmt.Sprintf("%-*s%s", screenWidth/2, line, entry(list[i+half]))
			}
			fmt.Fprintln(w, line)
		}
	}
}

func entry(c *cobra.Command) string { return fmt.Sprintf("  %-10s %s", c.Name(), c.Short) }

// didYouMean adds similar names to a message.
func didYouMean(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(names, " or ") + "?"
}

// flagError makes one plain line of what pflag found.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	var missing *pflag.ValueRequiredError
	switch {
	case errors.As(err, &unknown):
		return unknownFlag(cmd, unknown)
	case errors.As(err, &invalid):
		return cli.Usagef("--%s %q: %s", invalid.GetFlag().Name, invalid.GetValue(), want(invalid))
	case errors.As(err, &missing):
		word, _ := pflag.UnquoteUsage(missing.GetFlag())
		return cli.Usagef("--%s %s: the value is missing", missing.GetFlag().Name, word)
	}
	return cli.Usagef("%v", err)
}

// want says what the value of a flag should be.
func want(invalid *pflag.InvalidValueError) string {
	switch invalid.GetFlag().Value.Type() {
	case "int", "uint", "float64":
		return "want a number"
	case "bool":
		return "want true or false"
	}
	return invalid.Unwrap().Error()
}

// unknownFlag says which flag may be meant.
func unknownFlag(cmd *cobra.Command, err *pflag.NotExistError) error {
	name, dashes := err.GetSpecifiedName(), "--"
	if short := err.GetSpecifiedShortnames(); short != "" {
		name, _, _ = strings.Cut(short, "=")
		dashes = "-"
	}
	return cli.Usagef("unknown flag %s%s%s", dashes, name, didYouMean(similarFlags(cmd, name)))
}

// similarFlags lists flags of a command that a wrong name may mean. Cobra knows similar commands,
// so each flag is made one.
func similarFlags(cmd *cobra.Command, name string) []string {
	flags := &cobra.Command{SuggestionsMinimumDistance: 2}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			flags.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
		}
	})
	list := flags.SuggestionsFor(name)
	for i := range list {
		list[i] = "--" + list[i]
	}
	return list
}
