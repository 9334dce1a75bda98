package main

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
	"github.com/spf13/cobra"

	"troy/internal/cli"
	"troy/vhdx/vhdxcmd"
)

// call is one command of the tree: where it writes and, for commands with --json, in which form.
type call struct {
	*cli.Streams
	json bool
}

func newCall(s *cli.Streams) *call { return &call{Streams: s} }

// JSON prints one document, as cli.Streams does, and what a newer program put into it
// (format.Unknown) in its place.
func (c *call) JSON(doc any) error {
	b, err := json.Marshal(doc, jsonv1.DefaultOptionsV1(), jsontext.WithIndent("  "), jsontext.EscapeForHTML(false))
	if err != nil {
		return err
	}
	_, err = c.Out.Write(append(b, '\n'))
	return err
}

// withJSON adds --json to a command that prints a document.
func (c *call) withJSON(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&c.json, "json", false, "print JSON instead of text")
	return cmd
}

// explain adds to an error what became of the files and what to do.
func explain(err error, fate string) error { return cli.Explain(err, fate, advice) }

// advice tells what can be done about a class of errors.
func advice(err error) string { return vhdxcmd.Advice(err, "troy vhdx") }

// vhdxCommand returns the commands that work on VHDX files.
func vhdxCommand(s *cli.Streams) *cobra.Command {
	all := group("vhdx", "inspect, convert and merge VHDX files")
	for _, c := range vhdxcmd.New(s, "troy vhdx") {
		cmd := leaf(c.Name+" "+c.Args, c.Short, c.Run)
		cmd.Args = arguments(c.Min, c.Max)
		cmd.Flags().AddGoFlagSet(c.Flags)
		all.AddCommand(cmd)
	}
	return all
}
