package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"troy/cmds/internal/progress"
	"troy/image"
	"troy/vhdx"
)

func initCommand() command {
	return command{name: "init", args: "DIR", short: "make a store", run: func(ctx context.Context, c *call) error {
		args, err := c.parse(c.flags(), 1, 1)
		if err != nil {
			return err
		}
		if _, err := image.Init(args[0]); err != nil {
			return err
		}
		fmt.Fprintf(c.stdout, "made the store %s\n", args[0])
		return nil
	}}
}

func imageCommand() command {
	return command{name: "image", sub: []command{
		{name: "import", args: "[--store DIR] NAME BASE.vhdx", short: "publish version 1", run: runImport},
		{name: "add", args: "[--store DIR] [--parent FILE]… NAME CHILD.vhdx", short: "publish what a child changed as the next version", run: runAdd},
		{name: "list", args: "[--store DIR]", short: "images and their versions", run: runList},
		{name: "show", args: "[--store DIR] NAME [VERSION]", short: "one version and its figures", run: runShow},
	}}
}

// parseStore is parse for commands that work on a store: --store, TROY_STORE or the current folder.
func (c *call) parseStore(fs flagSet, min, max int) (*image.Store, []string, error) {
	dir := os.Getenv("TROY_STORE")
	if dir == "" {
		dir = "."
	}
	fs.StringVar(&dir, "store", dir, "the store")
	args, err := c.parse(fs, min, max)
	if err != nil {
		return nil, nil, err
	}
	store, err := image.OpenStore(dir)
	return store, args, err
}

func runImport(ctx context.Context, c *call) error {
	store, args, err := c.parseStore(c.flags(), 2, 2)
	if err != nil {
		return err
	}
	return c.publish(ctx, args[1], nil, func(d *image.Disk, o *image.PublishOptions) (*image.Manifest, error) {
		return store.Import(ctx, args[0], d, o)
	})
}

func runAdd(ctx context.Context, c *call) error {
	fs := c.flags()
	var parents paths
	fs.Var(&parents, "parent", "a parent of the child, nearest first (default: the file that the child names, in its own folder)")
	store, args, err := c.parseStore(fs, 2, 2)
	if err != nil {
		return err
	}
	return c.publish(ctx, args[1], parents, func(d *image.Disk, o *image.PublishOptions) (*image.Manifest, error) {
		return store.Add(ctx, args[0], d, o)
	})
}

// publish opens the chain, publishes it and shows the figures.
func (c *call) publish(ctx context.Context, path string, parents paths, f func(*image.Disk, *image.PublishOptions) (*image.Manifest, error)) error {
	chain, err := openChain(path, parents)
	if err != nil {
		return err
	}
	defer chain.Close()
	disk := image.ChainDisk(chain)
	meter := progress.New(c.stderr, "reading", 0)
	m, err := f(disk, &image.PublishOptions{Progress: meter})
	meter.Done()
	if err != nil {
		return err
	}
	c.showFigures(m)
	return nil
}

// openChain opens a VHDX file and its parents: those named, else the file that each child names in its own folder.
func openChain(path string, parents paths) (*vhdx.Chain, error) {
	resolve := vhdx.FolderResolver(filepath.Dir(path))
	if len(parents) > 0 {
		resolve = vhdx.PathsResolver(parents...)
	}
	return vhdx.OpenChain(path, &vhdx.ChainOptions{Resolve: resolve})
}

func (c *call) showFigures(m *image.Manifest) {
	f := m.Figures
	fmt.Fprintf(c.stdout, "%s version %d: changed %s, equal %s, zero %s, unused %s, copied %s, shipped %s, packed %s (%.1f : 1)\n",
		m.Image, m.Version, progress.Bytes(f.Changed), progress.Bytes(f.Equal), progress.Bytes(f.Zero), progress.Bytes(f.Undefined),
		progress.Bytes(f.Copied), progress.Bytes(f.Shipped), progress.Bytes(f.Packed), f.Ratio())
	for _, note := range m.Notes {
		fmt.Fprintf(c.stdout, "  %s\n", note)
	}
}

func runList(ctx context.Context, c *call) error {
	store, _, err := c.parseStore(c.flags(), 0, 0)
	if err != nil {
		return err
	}
	names, err := store.Images()
	if err != nil {
		return err
	}
	var failed error
	for _, name := range names {
		list, err := store.List(ctx, name)
		failed = errors.Join(failed, err)
		for _, m := range list {
			fmt.Fprintf(c.stdout, "%-20s %4d  disk %9s  pack %9s\n", m.Image, m.Version, progress.Bytes(m.VirtualSize), progress.Bytes(m.Pack.Size))
		}
	}
	return failed
}

func runShow(ctx context.Context, c *call) error {
	store, args, err := c.parseStore(c.flags(), 1, 2)
	if err != nil {
		return err
	}
	index, err := image.LoadIndex(ctx, store, args[0])
	if err != nil {
		return err
	}
	number := index.Latest()
	if len(args) == 2 {
		if number, err = strconv.Atoi(args[1]); err != nil {
			return &usageError{fmt.Sprintf("version %q is not a number", args[1])}
		}
	}
	m, err := store.Show(ctx, args[0], number)
	if err != nil {
		return err
	}
	c.showFigures(m)
	fmt.Fprintf(c.stdout, "  parent:          version %d\n  disk:            %d bytes, sectors of %d\n  DataWriteGuid:   %s\n  pack:            %s, %d bytes\n  layer table:     %s, %d bytes\n",
		m.Parent, m.VirtualSize, m.SectorSize, m.DataWriteGUID, m.Pack.Name, m.Pack.Size, m.Table.Name, m.Table.Size)
	return nil
}
