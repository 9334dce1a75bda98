package vhdxcmd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"slices"
	"syscall"

	"troy/internal/cli"
	"troy/vhdx"
)

// Command is one command, for one run.
type Command struct {
	Name, Args string // "merge", "CHILD"
	Short      string // what it does, in a line
	Min, Max   int    // how many arguments it takes; Max < 0 is no limit
	Flags      *flag.FlagSet
	Run        func(ctx context.Context, args []string) error
}

// New makes the commands. Tool is what they are called below, "vhdx" or "troy vhdx": advice names
// other commands.
func New(s *cli.Streams, tool string) []*Command {
	var list []*Command
	for _, command := range []func(*base) *Command{newInfo, newMap, newCheck, newCreate, newConvert, newMerge, newRelink} {
		b := &base{Streams: s, tool: tool}
		c := command(b)
		c.Flags.BoolVar(&b.json, "json", false, "print JSON instead of text")
		list = append(list, c)
	}
	return list
}

// base is what all commands have.
type base struct {
	*cli.Streams
	tool string
	json bool
}

// command makes a Command without flags.
func (b *base) command(name, args, short string, min, max int, run func(context.Context, []string) error) *Command {
	return &Command{Name: name, Args: args, Short: short, Min: min, Max: max, Flags: flag.NewFlagSet(name, flag.ContinueOnError), Run: run}
}

// explain adds to an error what became of the files and what to do.
func (b *base) explain(err error, fate string) error {
	return cli.Explain(err, fate, func(err error) string { return Advice(err, b.tool) })
}

// Advice tells what can be done about a class of errors, "" if that is not known. Tool is as in
// New.
func Advice(err error, tool string) string {
	switch {
	case errors.Is(err, context.Canceled):
		return "run the command again"
	case errors.Is(err, fs.ErrExist):
		return "--force replaces it"
	case errors.Is(err, vhdx.ErrChainMismatch):
		return "name the right parent with --parent"
	case errors.Is(err, vhdx.ErrCorrupt):
		return fmt.Sprintf("'%s check' lists what is wrong with it", tool)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, vhdx.ErrNoSpace):
		return "make room and run the command again"
	}
	return ""
}

// openChain opens a disk and all its parents for reading.
func openChain(path string, parents *vhdx.Parents) (*vhdx.Chain, error) {
	return vhdx.OpenChain(path, &vhdx.ChainOptions{Parents: parents})
}

// NoteChain tells which --parent was not used, and which logs were left behind.
func NoteChain(s *cli.Streams, c *vhdx.Chain, parents *vhdx.Parents) {
	noteUnused(s, parents)
	for _, f := range c.Files() {
		if f.LogPending() {
			s.Note("%s was not closed cleanly: its log was replayed in memory, the file is not touched", f.Path())
		}
	}
}

// noteUnused tells which --parent was not used.
func noteUnused(s *cli.Streams, parents *vhdx.Parents) {
	for _, path := range parents.Named {
		if !slices.Contains(parents.Found(), path) {
			s.Note("--parent %s is not in the chain and was not used", path)
		}
	}
}
