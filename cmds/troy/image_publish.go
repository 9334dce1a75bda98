package main

import (
	"context"
	"fmt"

	"troy/image"
	"troy/image/publish"
	"troy/image/unused"
	"troy/vhdx"
)

// publishing is one import or add.
type publishing struct {
	*imageCall
	parents  paths
	noFilter bool
	compare  bool
	o        publish.Options
	keys     keyFlags
}

func newPublishing(c *call) *publishing {
	p := &publishing{imageCall: newImageCall(c)}
	p.fs.Var(&p.parents, "parent", "a parent of the disk, nearest first (default: the file that each child names, in its own folder)")
	p.fs.BoolVar(&p.noFilter, "no-filter", false, "ship free clusters and page files as well: the version is then equal to the disk byte by byte")
	p.fs.BoolVar(&p.o.NoCopies, "no-copies", false, "ship pages that stand elsewhere in the version below, instead of telling machines where they have them: "+
		"spares reading all of the parent once")
	p.fs.IntVar(&p.o.Level, "level", publish.DefaultLevel, "`level` of compression, 1 to 22")
	p.keys.add(p.fs)
	return p
}

func runImport(ctx context.Context, c *call) error {
	p := newPublishing(c)
	args, err := p.open(2, 2)
	if err != nil {
		return err
	}
	return p.publish(ctx, args[1], func(d *publish.Disk) (*image.Manifest, error) {
		return publish.Import(ctx, p.store, args[0], d, &p.o)
	})
}

func runAdd(ctx context.Context, c *call) error {
	p := newPublishing(c)
	p.fs.BoolVar(&p.compare, "compare", false, "the disk stands on no file of the version below: read and compare all of both")
	args, err := p.open(2, 2)
	if err != nil {
		return err
	}
	return p.publish(ctx, args[1], func(d *publish.Disk) (*image.Manifest, error) {
		if p.compare {
			below, err := image.OpenVersion(ctx, p.store, args[0], 0)
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
		return &usageError{fmt.Sprintf("--level %d: want 1 to 22", p.o.Level)}
	}
	signer, err := p.signer(ctx, &p.keys)
	if err != nil {
		return err
	}
	parents := &vhdx.Parents{Named: p.parents}
	chain, err := openChain(path, parents)
	if err != nil {
		return explain(err, "nothing was published")
	}
	defer chain.Close()
	p.noteChain(chain, parents)
	changed := changedBytes(chain)
	search := &stage{w: p.stderr, what: "looking for what has moved", total: changed + dataBytes(chain)}
	read := &stage{w: p.stderr, what: "reading", total: changed, before: search}
	p.o.Search, p.o.Progress = search, read
	if !p.noFilter {
		p.o.Filter = unused.Filter{}
	}
	m, err := f(publish.ChainDisk(chain))
	read.Done()
	if err != nil {
		return oneLine(err)
	}
	if err := signer.sign(ctx, p.imageCall); err != nil {
		return &fault{err: err, fate: fmt.Sprintf("%s version %d is in the store, but not signed: machines do not see it", m.Image, m.Version), advice: "'troy key sign' signs it"}
	}
	if p.json {
		return p.printJSON(m)
	}
	p.showFigures(m)
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
