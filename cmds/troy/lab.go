package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	_ "time/tzdata" // windows are in local time, also where no time zones are installed

	"github.com/spf13/cobra"

	"troy/internal/cli"
	"troy/server/catalog"
	"troy/server/lab"
)

func labCommand(s *cli.Streams) *cobra.Command {
	return group("lab", "write and check lab.yaml", newLabInit(s), newLabCheck(s), newLabSchema(s), newLabImport(s))
}

func newLabInit(s *cli.Streams) *cobra.Command {
	return leaf("init FILE", "write a first lab.yaml with one room", func(_ context.Context, args []string) error {
		if err := lab.WriteFirst(args[0]); err != nil {
			return explain(err, cli.NothingChanged)
		}
		fmt.Fprintf(s.Out, "%s: one room, default; edit it as you need\n", cli.Clean(args[0]))
		return nil
	})
}

// labChecking is one "lab check".
type labChecking struct {
	*call
	store string
}

func newLabCheck(s *cli.Streams) *cobra.Command {
	c := &labChecking{call: newCall(s)}
	cmd := leaf("check FILE", "check a lab.yaml, and the files of its secrets", c.run)
	cmd.Flags().StringVar(&c.store, "store", "", "the `folder` of a store that must have the images")
	return cmd
}

func (c *labChecking) run(_ context.Context, args []string) error {
	l, err := lab.Load(args[0])
	if err != nil {
		return labFault(c.Streams, err)
	}
	faults, warnings := l.CheckSecrets()
	for _, w := range warnings {
		fmt.Fprintln(c.Err, "troy: warning: "+cli.Clean(w.Error()))
	}
	if len(faults) > 0 {
		return labFault(c.Streams, faults)
	}
	if c.store != "" {
		if err := checkImages(c.store, l); err != nil {
			return err
		}
	}
	fmt.Fprintf(c.Out, "%s: %d rooms, %d hosts, %d images\n", cli.Clean(args[0]), len(l.Rooms), len(l.Hosts), len(l.Images))
	return nil
}

// labFault prints every fault on a line of its own and says how many there were.
func labFault(s *cli.Streams, err error) error {
	var faults lab.Errors
	if !errors.As(err, &faults) {
		return err
	}
	for _, e := range faults {
		fmt.Fprintln(s.Err, cli.Clean(e.Error()))
	}
	return fmt.Errorf("%w: %d faults in the file", cli.ErrCheck, len(faults))
}

func checkImages(dir string, l *lab.Lab) error {
	c, err := catalog.Open(dir)
	if err != nil {
		return err
	}
	missing, err := c.Missing(l.AllImages())
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: the store %s has no image %q", cli.ErrCheck, cli.Clean(dir), missing[0])
	}
	return nil
}

func newLabSchema(s *cli.Streams) *cobra.Command {
	return leaf("schema", "print the JSON schema of lab.yaml", func(context.Context, []string) error {
		_, err := s.Out.Write(lab.Schema())
		return err
	})
}

// labImporting is one "lab import-csv".
type labImporting struct {
	*call
	lab string
}

func newLabImport(s *cli.Streams) *cobra.Command {
	c := &labImporting{call: newCall(s)}
	cmd := leaf("import-csv HOSTS.csv", "print the hosts of a table as lines for lab.yaml", c.run)
	cmd.Long = `Print the hosts of a table as lines for lab.yaml. The first line of the table names its columns, in
any order and in letters of any case:

  name     name of the machine
  room     room of the machine
  mac      MAC address of a wired port that stays in the machine, in any notation
  uuid     SMBIOS UUID; a machine needs mac or uuid
  image    another image than the room's; may be left out
  version  pins the version; may be left out
  pc_name  another name in Windows than the room gives; may be left out

It takes what spreadsheets write: UTF-8 or UTF-16; comma, semicolon or tab as separator, also named
by a first line such as "sep=;"; empty rows and columns. Tables of 'troy permit' have the columns
name or serial (of the disk), and may have the others.`
	cmd.Flags().StringVar(&c.lab, "lab", "", "check them against this lab.yaml `file`")
	return cmd
}

func (c *labImporting) run(_ context.Context, args []string) error {
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	hosts, err := lab.ReadCSV(args[0], f)
	if err != nil {
		return labFault(c.Streams, err)
	}
	if c.lab != "" {
		if err := c.check(c.lab, hosts); err != nil {
			return err
		}
	}
	return lab.WriteHosts(c.Out, hosts)
}

// check finds hosts that the lab has already, or whose room it does not have.
func (c *labImporting) check(name string, hosts []lab.Host) error {
	l, err := lab.Load(name)
	if err != nil {
		return labFault(c.Streams, err)
	}
	if faults := l.CheckNew(hosts); len(faults) > 0 {
		for _, line := range faults {
			fmt.Fprintln(c.Err, cli.Clean(line))
		}
		return fmt.Errorf("%w: %d of the hosts do not fit into %s", cli.ErrCheck, len(faults), cli.Clean(name))
	}
	return nil
}
