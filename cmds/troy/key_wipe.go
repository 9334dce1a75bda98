package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"troy/image/trust"
	"troy/internal/cli"
)

// wiping is one "key wipe".
type wiping struct {
	*keyCall
	serials, machines cli.List
	until             string
	none              bool
}

func newKeyWipe(s *cli.Streams) *cobra.Command {
	w := &wiping{keyCall: newKeyCall(s)}
	cmd := leaf("wipe [list]", "permit machines to wipe disks that hold data", w.run)
	fs := cmd.Flags()
	fs.Var(&w.serials, "serial", "the serial `number` of a disk that may be wiped")
	fs.Var(&w.machines, "machine", "the SMBIOS UUID or a MAC address of a `machine` whose disks may be wiped; with one --serial: that disk while it is in that machine")
	fs.StringVar(&w.until, "until", "", "last `day` on which it may happen, YYYY-MM-DD, in the time zone of this computer (default: until it is withdrawn)")
	fs.BoolVar(&w.none, "none", false, "withdraw all permissions")
	return w.withJSON(w.withKeys(cmd))
}

func (w *wiping) run(ctx context.Context, args []string) error {
	if err := w.open(); err != nil {
		return err
	}
	given := len(w.serials)+len(w.machines) > 0
	switch {
	case len(args) == 1 && args[0] == "list" && !given && !w.none && w.until == "":
		return w.list(ctx)
	case len(args) == 1, given == w.none, w.none && w.until != "":
		return cli.Usagef("want --serial, --machine or both; or --none; or list")
	}
	return w.set(ctx)
}

func (w *wiping) set(ctx context.Context) error {
	entries, err := w.entries(time.Local)
	if err != nil {
		return err
	}
	now := time.Now()
	if w.none {
		err = w.repo.SetWipe(ctx, w.store, nil, now)
	} else {
		err = w.repo.AllowWipe(ctx, w.store, entries, now)
	}
	if err != nil {
		return trustFault(err)
	}
	return w.list(ctx)
}

// entries are what the command line permits.
func (w *wiping) entries(zone *time.Location) ([]trust.WipeEntry, error) {
	var until time.Time
	if w.until != "" {
		day, err := time.ParseInLocation(time.DateOnly, w.until, zone)
		if err != nil {
			return nil, cli.Usagef("--until %q: want a day as YYYY-MM-DD", w.until)
		}
		if until = day.AddDate(0, 0, 1).Add(-time.Second); time.Now().After(until) {
			return nil, cli.Usagef("--until %s is over", w.until)
		}
	}
	var list []trust.WipeEntry
	switch {
	case len(w.serials) > 1 && len(w.machines) > 0, len(w.machines) > 1 && len(w.serials) > 0:
		return nil, cli.Usagef("one --serial with one --machine, or several of one of them")
	case len(w.serials) == 1 && len(w.machines) == 1:
		list = []trust.WipeEntry{{Serial: w.serials[0], Machine: w.machines[0]}}
	default:
		for _, s := range w.serials {
			list = append(list, trust.WipeEntry{Serial: s})
		}
		for _, m := range w.machines {
			list = append(list, trust.WipeEntry{Machine: m})
		}
	}
	for i := range list {
		list[i].Until = until
		if err := list[i].Check(); err != nil {
			return nil, cli.Usagef("%v", err)
		}
	}
	return list, nil
}

func (w *wiping) list(ctx context.Context) error {
	entries, err := w.repo.Wipes(ctx)
	if err != nil {
		return trustFault(err)
	}
	if w.json {
		if entries == nil {
			entries = []trust.WipeEntry{}
		}
		return w.JSON(entries)
	}
	if len(entries) == 0 {
		fmt.Fprintln(w.Out, "no disk that holds something may be wiped")
		return nil
	}
	fmt.Fprintln(w.Out, "if the server says so, machines may wipe")
	for _, e := range entries {
		over := ""
		if !e.Until.IsZero() && time.Now().After(e.Until) {
			over = "  (over)"
		}
		fmt.Fprintf(w.Out, "  %s%s\n", cli.Clean(e.String()), over)
	}
	return nil
}
