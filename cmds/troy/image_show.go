package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"troy/image"
	"troy/internal/cli"
	"troy/internal/errline"
	"troy/internal/progress"
)

func newList(s *cli.Streams) *cobra.Command {
	i := newImageCall(s)
	return i.withStoreJSON(leaf("list", "list images and their versions", i.runList))
}

func (i *imageCall) runList(ctx context.Context, _ []string) error {
	if err := i.open(); err != nil {
		return err
	}
	i.warnExpiry()
	names, err := i.store.Images()
	if err != nil {
		return err
	}
	all := []*image.Manifest{}
	var failed error // a damaged image does not hide the others
	for _, name := range names {
		list, err := i.store.List(ctx, name)
		failed = errline.Join(failed, err)
		all = append(all, list...)
	}
	if i.json {
		return errline.Join(i.JSON(all), failed)
	}
	for _, m := range all {
		line := fmt.Sprintf("%-20s %4d  %-10s  disk %9s  pack %9s  %s", m.Image, m.Version, day(m.Published), progress.Bytes(m.VirtualSize), progress.Bytes(m.Pack.Size), cli.Clean(m.Note))
		fmt.Fprintln(i.Out, strings.TrimRight(line, " "))
	}
	return failed
}

// day is the day of a time where this runs; "-" if it is not known.
func day(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.DateOnly)
}

func newShow(s *cli.Streams) *cobra.Command {
	i := newImageCall(s)
	return i.withStoreJSON(leaf("show NAME [VERSION]", "show the figures of a version (default: the newest)", i.runShow))
}

func (i *imageCall) runShow(ctx context.Context, args []string) error {
	number, err := versionOrNewest(args, 1)
	if err != nil {
		return err
	}
	if err := i.open(); err != nil {
		return err
	}
	m, err := i.store.Show(ctx, args[0], number)
	if err != nil {
		return err
	}
	if i.json {
		return i.JSON(m)
	}
	showFigures(i.Out, m)
	if !m.Published.IsZero() {
		fmt.Fprintf(i.Out, "  published:       %s\n", m.Published.Local().Format(timeForm+" MST"))
	}
	fmt.Fprintf(i.Out, "  parent:          version %d\n  disk:            %d bytes, sectors of %d\n  DataWriteGuid:   %s\n  pack:            %s, %d bytes\n  layer table:     %s, %d bytes\n  version map:     %s, %d bytes\n",
		m.Parent, m.VirtualSize, m.SectorSize, m.DataWriteGUID, m.Pack.Name, m.Pack.Size, m.Table.Name, m.Table.Size, m.Map.Name, m.Map.Size)
	showFields(i.Out, m)
	return nil
}

// fieldNames are the names of the fields of a version, each once.
func fieldNames(m *image.Manifest) (names []string) {
	for i := range m.Fields {
		if name := cli.Clean(m.Fields[i].Name); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// showFields lists the places that get what is a machine's own.
func showFields(w io.Writer, m *image.Manifest) {
	for i := range m.Fields {
		f := &m.Fields[i]
		is := strconv.Quote(cli.Clean(f.Was))
		if f.Kind == image.FieldFile || f.Kind == image.FieldAnswers {
			is = "room for " + progress.Bytes(f.Room()) + readers(f)
		}
		fmt.Fprintf(w, "  field:           %s, %s, at byte %d: %s\n", cli.Clean(f.Name), is, f.At[0].Offset, cli.Clean(f.Where))
		for _, s := range f.Slots {
			fmt.Fprintf(w, "                   %s\n", cli.Clean(s.Name))
		}
	}
}

// readers says who can read a file of a version in its Windows.
func readers(f *image.Field) string {
	if f.Private {
		return ", private"
	}
	return ", no secrets: users can read it"
}

// jsonDiff is what "image diff --json" prints. A machine goes from one version to another by
// writing these bytes; pages that it holds already may be among them.
type jsonDiff struct {
	Image      string `json:"image"`
	From       int    `json:"from"` // 0: nothing
	To         int    `json:"to"`
	Pages      int64  `json:"pages"` // of 4096 bytes
	Runs       int    `json:"runs"`
	WriteBytes int64  `json:"write_bytes"`
	ZeroBytes  int64  `json:"zero_bytes"` // part of WriteBytes
	FetchBytes int64  `json:"fetch_bytes"`
	CopyBytes  int64  `json:"copy_bytes"` // part of WriteBytes that a machine with local reads need not fetch
	LocalFetch int64  `json:"local_fetch_bytes"`
}

func newDiff(s *cli.Streams) *cobra.Command {
	i := newImageCall(s)
	cmd := leaf("diff NAME FROM TO", "show what a machine fetches and writes between two versions", i.runDiff)
	cmd.Long = "Show what a machine fetches and writes to go from one version to another. FROM 0 is an empty disk."
	return i.withStoreJSON(cmd)
}

func (i *imageCall) runDiff(ctx context.Context, args []string) error {
	from, err := versionNumber(args[1], 0)
	if err != nil {
		return err
	}
	to, err := versionNumber(args[2], 1)
	if err != nil {
		return err
	}
	if err := i.open(); err != nil {
		return err
	}
	d := jsonDiff{Image: args[0], From: from, To: to}
	if err := d.plan(ctx, i.store); err != nil {
		return err
	}
	if i.json {
		return i.JSON(d)
	}
	fmt.Fprintf(i.Out, "%s version %d to %d: %d pages (%s) in %d runs, zero %s, fetched %s; with local reads copied %s, fetched %s\n", d.Image, d.From, d.To,
		d.Pages, progress.Bytes(d.WriteBytes), d.Runs, progress.Bytes(d.ZeroBytes), progress.Bytes(d.FetchBytes), progress.Bytes(d.CopyBytes), progress.Bytes(d.LocalFetch))
	return nil
}

func (d *jsonDiff) plan(ctx context.Context, store *image.Store) error {
	plan, err := image.LoadPlan(ctx, store, d.Image, d.From, d.To)
	if err != nil {
		return err
	}
	local, err := image.LoadLocalPlan(ctx, store, d.Image, d.From, d.To)
	if err != nil {
		return err
	}
	d.Pages, d.Runs = plan.WriteBytes/image.PageSize, len(plan.Runs())
	d.WriteBytes, d.ZeroBytes, d.FetchBytes = plan.WriteBytes, plan.ZeroBytes, plan.FetchBytes
	d.CopyBytes, d.LocalFetch = local.CopyBytes, local.FetchBytes
	return nil
}
