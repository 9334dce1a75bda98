package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"troy/image"
	"troy/image/publish"
	"troy/internal/progress"
)

// imageCommand returns the commands that work on a store. A version exists whole or not at all: each command may be interrupted anywhere and run again.
// With --json a command prints one JSON document; progress, warnings and errors go to the standard error in any case.
func imageCommand() command {
	const publishArgs = "[--store DIR] [--keys DIR] [--passphrase-file FILE] [--no-filter] [--no-copies] [--level N] [--json] "
	return command{name: "image", sub: []command{
		{name: "import", args: publishArgs + "[--parent FILE]… NAME BASE.vhdx", short: "publish version 1", run: runImport},
		{name: "add", args: publishArgs + "[--parent FILE]… [--compare] NAME CHILD.vhdx", short: "publish what a child changed as the next version", run: runAdd},
		{name: "list", args: "[--store DIR] [--json]", short: "images and their versions", run: runList},
		{name: "show", args: "[--store DIR] [--json] NAME [VERSION]", short: "one version and its figures", run: runShow},
		{name: "diff", args: "[--store DIR] [--json] NAME FROM TO", short: "what a machine fetches and writes to go from one version to another (FROM 0: from nothing)", run: runDiff},
		{name: "verify", args: "[--store DIR] [--json] NAME [VERSION]", short: "hash all that a version, or each of them, needs", run: runVerify},
		{name: "rm", args: "[--store DIR] [--keys DIR] [--passphrase-file FILE] [--json] NAME VERSION", short: "remove the newest version", run: runRemove},
		{name: "gc", args: "[--store DIR] [--json]", short: "delete the files that no version needs", run: runGC},
		{name: "export", args: "[--store DIR] [--json] [--force] NAME VERSION OUT.vhdx", short: "write a version as a dynamic VHDX", run: runExport},
	}}
}

// imageCall is a call that works on a store.
type imageCall struct {
	*vhdxCall
	dir   string
	store *image.Store
}

func newImageCall(c *call) *imageCall {
	i := &imageCall{vhdxCall: newVHDXCall(c), dir: os.Getenv("TROY_STORE")}
	if i.dir == "" {
		i.dir = "."
	}
	i.fs.StringVar(&i.dir, "store", i.dir, "the `folder` of the store (default: TROY_STORE, else the current one)")
	return i
}

// open parses the command line and opens the store.
func (i *imageCall) open(min, max int) (args []string, err error) {
	if args, err = i.parse(i.fs, min, max); err != nil {
		return nil, err
	}
	i.store, err = image.OpenStore(i.dir)
	return args, err
}

// version reads the number of a version on the command line.
func version(text string, least int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < least {
		return 0, &usageError{fmt.Sprintf("version %q: want a number from %d", text, least)}
	}
	return n, nil
}

// versionOrNewest is version of the argument at, if it is there, else 0.
func versionOrNewest(args []string, at int) (int, error) {
	if len(args) <= at {
		return 0, nil
	}
	return version(args[at], 1)
}

// oneLine makes an error of the store one line with what can be done about it.
func oneLine(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, publish.ErrWrongParent):
		return &fault{err: err, advice: "make the child on the newest version, or publish a whole disk with --compare"}
	}
	return explain(err, "")
}

// figures is the closing line of publishing.
func figures(m *image.Manifest) string {
	f := m.Figures
	return fmt.Sprintf("%s version %d: changed %s, equal %s, zero %s, dropped as free %s, copied %s, shipped %s, packed %s (%.1f : 1)",
		m.Image, m.Version, progress.Bytes(f.Changed), progress.Bytes(f.Equal), progress.Bytes(f.Zero), progress.Bytes(f.Undefined),
		progress.Bytes(f.Copied), progress.Bytes(f.Shipped), progress.Bytes(f.Packed), f.Ratio())
}

func (i *imageCall) showFigures(m *image.Manifest) {
	fmt.Fprintln(i.stdout, figures(m))
	for _, note := range m.Notes {
		fmt.Fprintf(i.stdout, "  %s\n", clean(note))
	}
}
