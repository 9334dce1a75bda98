package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	_ "time/tzdata" // windows are in local time, also where no time zones are installed

	"troy/server/catalog"
	"troy/server/lab"
)

func labCommand() command {
	return command{name: "lab", sub: []command{
		{name: "init", args: "FILE", short: "write a first lab.yaml with one room", run: runLabInit},
		{name: "check", args: "[--store DIR] FILE", short: "check a lab.yaml; with --store also that the images are there", run: runLabCheck},
		{name: "schema", short: "print the JSON schema of lab.yaml", run: runLabSchema},
		{name: "import-csv", args: "[--lab FILE] HOSTS.csv", short: "print the hosts of a table as lines for lab.yaml; with --lab check them against it", run: runLabImport},
	}}
}

func runLabInit(_ context.Context, c *call) error {
	args, err := c.parse(c.flags(), 1, 1)
	if err != nil {
		return err
	}
	if err := lab.WriteFirst(args[0]); err != nil {
		return explain(err, nothingChanged)
	}
	fmt.Fprintf(c.stdout, "%s: one room, default; edit it as you need\n", clean(args[0]))
	return nil
}

func runLabCheck(_ context.Context, c *call) error {
	fs := c.flags()
	dir := fs.String("store", "", "the `folder` of the store")
	args, err := c.parse(fs, 1, 1)
	if err != nil {
		return err
	}
	l, err := lab.Load(args[0])
	if err != nil {
		return labFault(c, err)
	}
	if *dir != "" {
		if err := checkImages(*dir, l); err != nil {
			return err
		}
	}
	fmt.Fprintf(c.stdout, "%s: %d rooms, %d hosts, %d images\n", clean(args[0]), len(l.Rooms), len(l.Hosts), len(l.Images))
	return nil
}

// labFault prints every fault on a line of its own and says how many there were.
func labFault(c *call, err error) error {
	var faults lab.Errors
	if !errors.As(err, &faults) {
		return err
	}
	for _, e := range faults {
		fmt.Fprintln(c.stderr, clean(e.Error()))
	}
	return fmt.Errorf("%w: %d faults in the file", errCheck, len(faults))
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
		return fmt.Errorf("%w: the store %s has no image %q", errCheck, clean(dir), missing[0])
	}
	return nil
}

func runLabSchema(_ context.Context, c *call) error {
	if _, err := c.parse(c.flags(), 0, 0); err != nil {
		return err
	}
	_, err := c.stdout.Write(lab.Schema())
	return err
}

func runLabImport(_ context.Context, c *call) error {
	fs := c.flags()
	name := fs.String("lab", "", "lab.yaml `file` into which the lines shall go")
	args, err := c.parse(fs, 1, 1)
	if err != nil {
		return err
	}
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	hosts, err := lab.ReadCSV(args[0], f)
	if err != nil {
		return labFault(c, err)
	}
	if *name != "" {
		if err := checkImport(c, *name, hosts); err != nil {
			return err
		}
	}
	return lab.WriteHosts(c.stdout, hosts)
}

// checkImport finds hosts that the lab has already, or whose room it does not have.
func checkImport(c *call, name string, hosts []lab.Host) error {
	l, err := lab.Load(name)
	if err != nil {
		return labFault(c, err)
	}
	if faults := l.CheckNew(hosts); len(faults) > 0 {
		for _, line := range faults {
			fmt.Fprintln(c.stderr, clean(line))
		}
		return fmt.Errorf("%w: %d of the hosts do not fit into %s", errCheck, len(faults), clean(name))
	}
	return nil
}
