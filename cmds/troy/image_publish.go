package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"troy/image"
	"troy/image/publish"
	"troy/image/trust/sign"
	"troy/image/unused"
	"troy/internal/cli"
	"troy/vhdx"
	"troy/vhdx/vhdxcmd"
)

// publishing is one import or add.
type publishing struct {
	*imageCall
	parents  cli.List
	noFilter bool
	compare  bool
	o        publish.Options
	keys     keyFlags
}

// define adds the flags of import and add.
func (p *publishing) define(cmd *cobra.Command) *cobra.Command {
	fs := cmd.Flags()
	fs.Var(&p.parents, "parent", "a parent `file` of the disk, nearest first (default: the file that each child names, in its own folder)")
	fs.BoolVar(&p.noFilter, "no-filter", false, "ship free clusters and page files as well: the version is then equal to the disk byte by byte")
	fs.BoolVar(&p.o.NoCopies, "no-copies", false, "ship moved pages as data, not as references; this avoids reading all of the parent once")
	fs.IntVar(&p.o.Level, "level", publish.DefaultLevel, "compression `level`, 1 to 22")
	p.keys.define(fs)
	return p.withStoreJSON(cmd)
}

func newImport(s *cli.Streams) *cobra.Command {
	p := &publishing{imageCall: newImageCall(s)}
	return p.define(leaf("import NAME BASE.vhdx", "publish a disk as version 1", p.runImport))
}

func (p *publishing) runImport(ctx context.Context, args []string) error {
	return p.publish(ctx, args[1], func(d *publish.Disk) (*image.Manifest, error) {
		return publish.Import(ctx, p.store, args[0], d, &p.o)
	})
}

func newAdd(s *cli.Streams) *cobra.Command {
	p := &publishing{imageCall: newImageCall(s)}
	cmd := leaf("add NAME CHILD.vhdx", "publish what a differencing child changed as the next version", p.runAdd)
	cmd.Flags().BoolVar(&p.compare, "compare", false, "the disk is not a child of the version before: read and compare both in full")
	return p.define(cmd)
}

func (p *publishing) runAdd(ctx context.Context, args []string) error {
	return p.publish(ctx, args[1], func(d *publish.Disk) (*image.Manifest, error) {
		if p.compare {
			below, err := image.OpenVersion(ctx, p.o.Before, args[0], 0)
			if err != nil {
				return nil, err
			}
			d = publish.CompareDisk(d, publish.VersionDisk(below))
		}
		return publish.Add(ctx, p.store, args[0], d, &p.o)
	})
}

// publish opens the chain, publishes it, signs what the store then holds and shows the figures.
func (p *publishing) publish(ctx context.Context, path string, f func(*publish.Disk) (*image.Manifest, error)) error {
	if p.o.Level < 1 || p.o.Level > 22 {
		return cli.Usagef("--level %d: want 1 to 22", p.o.Level)
	}
	if err := p.open(); err != nil {
		return err
	}
	repo, err := p.signer(ctx, &p.keys)
	if err != nil {
		return err
	}
	if p.o.Before, err = repo.Source(ctx, p.store); err != nil {
		return trustFault(err)
	}
	parents := &vhdx.Parents{Named: p.parents}
	chain, err := vhdx.OpenChain(path, &vhdx.ChainOptions{Parents: parents})
	if err != nil {
		return explain(err, "nothing was published")
	}
	defer chain.Close()
	vhdxcmd.NoteChain(p.Streams, chain, parents)
	changed := changedBytes(chain)
	search := &stage{w: p.Err, what: "looking for what has moved", total: changed + dataBytes(chain)}
	read := &stage{w: p.Err, what: "reading", total: changed, before: search}
	p.o.Search, p.o.Progress = search, read
	if !p.noFilter {
		p.o.Filter = unused.Filter{}
	}
	p.o.Approve = func(m *image.Manifest) error {
		read.Done()
		return p.approve(m)
	}
	m, err := f(publish.ChainDisk(chain))
	read.Done()
	if err != nil {
		return oneLine(err)
	}
	if _, err := repo.Sign(ctx, p.store, time.Now(), sign.VersionItem(m)); err != nil {
		return &cli.Fault{Err: err, Fate: fmt.Sprintf("%s version %d is in the store, but not signed: machines do not see it", m.Image, m.Version), Advice: keyAdvice(err)}
	}
	if p.json {
		return p.JSON(m)
	}
	p.showFigures(m)
	return nil
}

// approve asks before the version exists.
func (p *publishing) approve(m *image.Manifest) error {
	if tty := p.terminal(); tty != nil && !p.keys.yes {
		fmt.Fprintln(p.Err, figures(m))
	}
	if err := p.keys.ask(p.call, fmt.Sprintf("publish and sign %s version %d? yes or no: ", m.Image, m.Version)); err != nil {
		return &cli.Fault{Err: err, Fate: "nothing was published"}
	}
	p.keys.approved = true
	return nil
}

// changedBytes is how much of a disk its leaf holds, for the meter; 0 if that cannot be told.
func changedBytes(c *vhdx.Chain) (n int64) {
	single := len(c.Files()) == 1
	for e, err := range c.Extents(0, c.Size()) {
		if err != nil {
			return 0
		}
		if e.Layer == 0 && (!single || e.Kind == vhdx.Data) {
			n += e.Length
		}
	}
	return n
}

// dataBytes is how much data a disk holds, all its files together.
func dataBytes(c *vhdx.Chain) (n int64) {
	for e, err := range c.Extents(0, c.Size()) {
		if err != nil {
			return 0
		}
		if e.Kind == vhdx.Data {
			n += e.Length
		}
	}
	return n
}
