package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"troy/diskwriter/pcdisk"
	"troy/image"
	"troy/image/publish"
	"troy/internal/cli"
	"troy/internal/progress"
)

// imageCommand returns the commands that work on a store. A version exists whole or not at all:
// each command may be interrupted anywhere and run again. With --json a command prints one JSON
// document; progress, warnings and errors go to the standard error in any case.
func imageCommand(s *cli.Streams) *cobra.Command {
	return group("image", "publish and check versions of images",
		newImport(s), newAdd(s), newList(s), newShow(s), newDiff(s), newVerify(s), newRemove(s), newGC(s), newExport(s))
}

// imageCall is a call that works on a store.
type imageCall struct {
	*call
	dir   string
	store *image.Store
}

func newImageCall(s *cli.Streams) *imageCall { return &imageCall{call: newCall(s)} }

// withStore adds --store to a command.
func (i *imageCall) withStore(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVar(&i.dir, "store", "", "the `folder` of the store (default: TROY_STORE, else the current one)")
	return cmd
}

// withStoreJSON adds --store and --json.
func (i *imageCall) withStoreJSON(cmd *cobra.Command) *cobra.Command {
	return i.withJSON(i.withStore(cmd))
}

// folder sets the folder of the store, if no flag did.
func (i *imageCall) folder() {
	i.dir = cmp.Or(i.dir, os.Getenv("TROY_STORE"), ".")
}

// open opens the store.
func (i *imageCall) open() (err error) {
	i.folder()
	i.store, err = image.OpenStore(i.dir)
	if errors.Is(err, image.ErrNotFound) {
		err = &cli.Fault{Err: err, Advice: "--store or TROY_STORE names the folder of one, 'troy init DIR' makes one"}
	}
	return err
}

// versionNumber reads the number of a version on the command line.
func versionNumber(text string, least int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > image.MaxVersion {
		return 0, cli.Usagef("version %q: want a number from %d to %d", text, least, image.MaxVersion)
	}
	return n, nil
}

// versionOrNewest is versionNumber of the argument at, if it is there, else 0.
func versionOrNewest(args []string, at int) (int, error) {
	if len(args) <= at {
		return 0, nil
	}
	return versionNumber(args[at], 1)
}

// oneLine makes an error of the store one line with what can be done about it.
func oneLine(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, publish.ErrWrongParent):
		return &cli.Fault{Err: err, Advice: "make the child on the newest version, or publish a whole disk with --compare"}
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

func showFigures(w io.Writer, m *image.Manifest) {
	fmt.Fprintln(w, figures(m))
	if m.Note != "" {
		fmt.Fprintf(w, "  note:            %s\n", cli.Clean(m.Note))
	}
	need := pcdisk.BareOptions{VirtualSize: m.VirtualSize}
	fmt.Fprintf(w, "  a PC needs a disk of %s, or %s with the smallest slots\n", progress.Bytes(need.Need()), progress.Bytes(need.Smaller(0).Need()))
	if names := fieldNames(m); len(names) > 0 {
		fmt.Fprintf(w, "  a PC gets its own: %s\n", strings.Join(names, ", "))
	}
	for _, note := range m.Notes {
		fmt.Fprintf(w, "  %s\n", cli.Clean(note))
	}
}
