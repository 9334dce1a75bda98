package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"troy/gates"
	"troy/gates/testdisk"
	"troy/internal/cli"
	"troy/internal/durable"
	"troy/internal/version"
)

// gatesCommand returns the commands for what only a real Windows can settle (docs/real-windows.md).
func gatesCommand(s *cli.Streams) *cobra.Command {
	return group("gates", "try what only a real Windows can show", newGatesMake(s), newGatesJudge(s), newGatesRecord(s), newGatesTable(s))
}

func newGatesMake(s *cli.Streams) *cobra.Command {
	var size cli.Size
	cmd := leaf("make DIR", "write the test disks that troy-gates.exe tries", func(ctx context.Context, args []string) error {
		m, err := testdisk.Make(ctx, args[0], &testdisk.MakeOptions{Size: int64(size)})
		if err != nil {
			return explain(err, args[0]+" holds no finished set of test disks")
		}
		fmt.Fprintf(s.Out, "wrote %d test disks into %s\ncopy the folder and troy-gates.exe to NTFS on a PC with Windows, and run there as administrator: troy-gates.exe DIR\n",
			len(m.Disks), cli.Clean(args[0]))
		return nil
	})
	cmd.Flags().Var(&size, "size", "`size` of the virtual disks with a boot child (default: 4M, 170 MB in all; 16M make 340 MB)")
	return cmd
}

// gatesResult is a command that adds to a result file.
type gatesResult struct {
	*call
	yes bool
	pc  cli.List
}

func (g *gatesResult) define(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&g.yes, "yes", false, "write the result without asking")
	return cmd
}

func newGatesJudge(s *cli.Streams) *cobra.Command {
	g := &gatesResult{call: newCall(s)}
	cmd := leaf("judge DIR [RESULT…]", "check what Windows left of the test disks", g.judge)
	cmd.Long = `Check what Windows left of the test disks in DIR, and add what was found to RESULT (default:
DIR/result.json, which troy-gates.exe writes). What further results of the same PC say, such as that
of a trial, is added to the first one. The disks are only read.`
	return g.define(cmd)
}

func (g *gatesResult) judge(ctx context.Context, args []string) error {
	dir, names := args[0], args[1:]
	if len(names) == 0 {
		names = []string{filepath.Join(dir, gates.FileName)}
	}
	r, err := readAll(names)
	if err == nil {
		err = testdisk.Judge(ctx, dir, r)
	}
	if err != nil {
		return explain(err, cli.NothingChanged)
	}
	if err := g.write(names[0], r); err != nil {
		return err
	}
	if n := r.Count(gates.Fail); n > 0 {
		return fmt.Errorf("%w: %d gates failed", cli.ErrCheck, n)
	}
	return nil
}

// readAll makes one result of several, of which the first may not be there yet.
func readAll(names []string) (*gates.Result, error) {
	first, err := readOrNew(names[0])
	if err != nil {
		return nil, err
	}
	var more []*gates.Result
	for _, name := range names[1:] {
		r, err := readResult(name)
		if err != nil {
			return nil, err
		}
		more = append(more, r)
	}
	return gates.Join(first, more...)
}

func newGatesRecord(s *cli.Streams) *cobra.Command {
	g := &gatesResult{call: newCall(s)}
	cmd := leaf("record RESULT GATE ANSWER TEXT", "note what a person saw at a PC", g.record)
	cmd.Long = `Note in RESULT what a person saw at a PC: GATE is W1 to W19, ANSWER is pass, fail or "not run", TEXT
says what was seen. The file is made if it is not there. docs/real-windows.md has the steps.`
	cmd.Flags().Var(&g.pc, "pc", "`NAME=TEXT` about the PC: maker, model, firmware, secure_boot, tpm, boot_next, network_cards, edition, build")
	return g.define(cmd)
}

func (g *gatesResult) record(_ context.Context, args []string) error {
	r, err := readOrNew(args[0])
	if err != nil {
		return explain(err, cli.NothingChanged)
	}
	for _, pair := range g.pc {
		name, text, _ := strings.Cut(pair, "=")
		if err := r.PC.Set(name, text); err != nil {
			return cli.Usagef("--pc %s: %v", pair, err)
		}
	}
	if err := r.Add(gates.Hand, args[1], gates.Status(args[2]), args[3]); err != nil {
		return cli.Usagef("%v", err)
	}
	return g.write(args[0], r)
}

// write shows a result, asks, and writes it.
func (g *gatesResult) write(path string, r *gates.Result) error {
	b, err := r.Encode()
	if err != nil {
		return explain(err, cli.NothingChanged)
	}
	fmt.Fprint(g.Out, r.Page())
	if !g.yes {
		if err := g.ask(fmt.Sprintf("This is all that the file says. Write %s? yes or no: ", cli.Clean(path))); err != nil {
			return explain(err, cli.NothingChanged)
		}
	}
	return durable.WriteFile(path, b, 0o644)
}

// readOrNew reads a result file; what is not there is one in which nothing was run.
func readOrNew(path string) (*gates.Result, error) {
	r, err := readResult(path)
	if errors.Is(err, fs.ErrNotExist) {
		return gates.New(time.Now(), version.Get().Short(), gates.PC{}), nil
	}
	return r, err
}

func readResult(path string) (*gates.Result, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, gates.MaxFile+1))
	if err != nil {
		return nil, err
	}
	r, err := gates.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// gatesTables are the tables that pages of docs hold, by the name of the flag.
var gatesTables = map[string]func([]*gates.Result) string{"hardware": gates.Hardware, "summary": gates.Summary, "gates": gates.Questions}

func newGatesTable(s *cli.Streams) *cobra.Command {
	which := "hardware"
	cmd := leaf("table [FILE…]", "print result files as a Markdown table", func(_ context.Context, args []string) error {
		table := gatesTables[which]
		if table == nil {
			return cli.Usagef("--of %s: want hardware, summary or gates", which)
		}
		var results []*gates.Result
		for _, name := range args {
			r, err := readResult(name)
			if err != nil {
				s.Note("%s", cli.Clean(err.Error()))
				continue
			}
			results = append(results, r)
		}
		fmt.Fprint(s.Out, table(results))
		if bad := len(args) - len(results); bad > 0 {
			return fmt.Errorf("%d of %d files were left out", bad, len(args))
		}
		return nil
	})
	cmd.Flags().StringVar(&which, "of", which, "`name` of the table: hardware (docs/hardware.md), summary (README.md) or gates (docs/real-windows.md)")
	return cmd
}
