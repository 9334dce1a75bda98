package testdisk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"troy/internal/errline"
	"troy/vhdx"
)

// create makes a disk in the workshop, writes pieces to it, and closes it.
func (k *maker) create(name string, o *vhdx.CreateOptions, pieces []Piece) error {
	if o.Kind == vhdx.Differencing {
		return k.createChild(name, o, pieces)
	}
	f, err := vhdx.Create(k.at(name), o)
	if err != nil {
		return err
	}
	c, err := vhdx.NewChain(f)
	if err != nil {
		return errline.Join(err, f.Close())
	}
	return errline.Join(writeTo(c, pieces), c.Close())
}

// createChild is create for a disk whose parent is beside it, named by ParentPath.
func (k *maker) createChild(name string, o *vhdx.CreateOptions, pieces []Piece) error {
	parent, err := vhdx.Open(k.at(o.ParentPath), nil)
	if err != nil {
		return err
	}
	with := *o
	with.Parent, with.ParentPath = parent, ""
	f, err := vhdx.Create(k.at(name), &with)
	if err != nil {
		return errline.Join(err, parent.Close())
	}
	return errline.Join(f.Close(), parent.Close(), k.change(name, func(c *vhdx.Chain) error { return writeTo(c, pieces) }))
}

// change opens a disk of the workshop for writing.
func (k *maker) change(name string, f func(*vhdx.Chain) error) error {
	c, err := vhdx.OpenChain(k.at(name), &vhdx.ChainOptions{Writable: true, Parents: &vhdx.Parents{}})
	if err != nil {
		return err
	}
	return errline.Join(f(c), c.Close())
}

// plain makes disks of the three kinds, and a child that holds space which no block uses.
func (k *maker) plain(context.Context) error {
	if err := k.folder("plain"); err != nil {
		return err
	}
	fixed := []Piece{k.next(64*kib, mib), k.next(k.size-unit, unit)}
	spread := func() []Piece {
		return []Piece{k.next(unit, 300*kib), k.next(10*mib-sector, 5*sector), k.next(k.plainSize-mib, mib)}
	}
	dynamic, parent := spread(), spread()
	child := []Piece{k.next(8*kib, 64*kib), k.next(20*mib, mib)}
	// What is written to three blocks, and then zeroed in the first of them, leaves its place unused.
	trimmed := []Piece{k.next(24*mib, blockSize), k.next(26*mib, 64*kib), k.next(2*unit, unit)}
	gone := Piece{24 * mib, blockSize, 0}
	small := func(kind vhdx.Kind) *vhdx.CreateOptions {
		return &vhdx.CreateOptions{Kind: kind, Size: k.plainSize, BlockSize: blockSize}
	}
	over := &vhdx.CreateOptions{Kind: vhdx.Differencing, ParentPath: "plain/parent.vhdx"}
	err := errors.Join(
		k.create("plain/fixed.vhdx", &vhdx.CreateOptions{Kind: vhdx.Fixed, Size: k.size}, fixed),
		k.create("plain/dynamic.vhdx", small(vhdx.Dynamic), dynamic),
		k.create("plain/parent.vhdx", small(vhdx.Dynamic), parent))
	if err != nil {
		return err
	}
	if err := errors.Join(k.create("plain/child.vhdx", over, child), k.create("plain/space.vhdx", over, trimmed),
		k.change("plain/space.vhdx", func(c *vhdx.Chain) error { return c.ZeroRange(gone.Offset, gone.Length) })); err != nil {
		return err
	}
	return errors.Join(
		k.add(Disk{Gate: "W9", About: "a fixed disk, to compare with", Size: k.size, Holds: fixed, Writes: k.writes(k.size)}, "plain/fixed.vhdx"),
		k.add(Disk{Gate: "W5", About: "a dynamic disk", Size: k.plainSize, Holds: dynamic, Writes: k.writes(k.plainSize)}, "plain/dynamic.vhdx"),
		k.add(Disk{Gate: "W4", About: "a differencing disk, to compare with", Size: k.plainSize, Holds: join(parent, child), Writes: k.writes(k.plainSize)},
			"plain/child.vhdx", "plain/parent.vhdx"),
		k.add(Disk{Gate: "W4", About: "a differencing disk with space that no block uses", Size: k.plainSize, Holds: join(parent, trimmed, []Piece{gone}),
			Writes: k.writes(k.plainSize)}, "plain/space.vhdx", "plain/parent.vhdx"))
}

func join(lists ...[]Piece) (all []Piece) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// lossy is a file whose power goes: once lost says so of a write, that one and all later ones do
// not reach the medium, and no error tells.
type lossy struct {
	*os.File
	mu   sync.Mutex
	gone bool
	lost func(p []byte, off int64) bool
}

// WriteAt implements io.WriterAt.
func (l *lossy) WriteAt(p []byte, off int64) (int, error) {
	l.mu.Lock()
	l.gone = l.gone || l.lost(p, off)
	gone := l.gone
	l.mu.Unlock()
	if gone {
		return len(p), nil
	}
	return l.File.WriteAt(p, off)
}

// Truncate makes the file longer or shorter, if it has power.
func (l *lossy) Truncate(size int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return nil
	}
	return l.File.Truncate(size)
}

// openLossy opens a VHDX of the workshop for writing on such a file. Closing it closes the file.
func (k *maker) openLossy(name string, lost func(p []byte, off int64) bool) (*vhdx.File, error) {
	file, err := os.OpenFile(k.at(name), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errline.Join(err, file.Close())
	}
	f, err := vhdx.OpenStorage(&lossy{File: file, lost: lost}, info.Size(), &vhdx.OpenOptions{Writable: true})
	if err != nil {
		return nil, errline.Join(err, file.Close())
	}
	return f, nil
}

// cut makes a merge that lost power after the first changes of the parent.
func (k *maker) cut(ctx context.Context) error {
	if err := k.folder("cut"); err != nil {
		return err
	}
	parent := []Piece{k.next(unit, 512*kib), k.next(28*mib, 128*kib)}
	child := []Piece{k.next(64*kib, 128*kib), k.next(28*mib+64*kib, 256*kib)}
	if err := errors.Join(
		k.create("cut/parent.vhdx", &vhdx.CreateOptions{Size: k.plainSize, BlockSize: blockSize}, parent),
		k.create("cut/child.vhdx", &vhdx.CreateOptions{Kind: vhdx.Differencing, ParentPath: "cut/parent.vhdx"}, child)); err != nil {
		return err
	}
	if err := k.cutMerge(ctx); err != nil {
		return err
	}
	return k.add(Disk{Gate: "W3", About: "a merge that was cut off: the child fits its parent by parent_linkage2", Size: k.plainSize,
		Holds: join(parent, child), Cut: true, Merge: 384 * kib}, "cut/child.vhdx", "cut/parent.vhdx")
}

func (k *maker) cutMerge(ctx context.Context) error {
	payload := 0
	parent, err := k.openLossy("cut/parent.vhdx", func(_ []byte, off int64) bool {
		if off >= vhdx.RegionTable1Offset { // not a header
			payload++
		}
		return payload > 1
	})
	if err != nil {
		return err
	}
	child, err := vhdx.Open(k.at("cut/child.vhdx"), &vhdx.OpenOptions{Writable: true})
	if err != nil {
		return errline.Join(err, parent.Close())
	}
	if err := errline.Join(vhdx.Merge(ctx, child, parent, nil), child.Close(), parent.Close()); err != nil {
		return err
	}
	return k.checkCut()
}

// checkCut makes sure that the moment was the right one.
func (k *maker) checkCut() error {
	parent, err := vhdx.Open(k.at("cut/parent.vhdx"), nil)
	if err != nil {
		return err
	}
	defer parent.Close()
	child, err := vhdx.Open(k.at("cut/child.vhdx"), nil)
	if err != nil {
		return err
	}
	defer child.Close()
	l := child.Metadata().ParentLocator
	first, err1 := l.Linkage()
	second, err2 := l.Linkage2()
	have := parent.Header().DataWriteGUID
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if have != second || have == first || parent.LogPending() || child.LogPending() {
		return fmt.Errorf("the merge was cut at the wrong moment: parent %v, linkages %v and %v", have, first, second)
	}
	return nil
}

// timed makes a pair for two merges to be compared: pieces of 64 KiB here and there.
func (k *maker) timed(context.Context) error {
	if err := k.folder("timed"); err != nil {
		return err
	}
	size := 2 * k.size
	parent := []Piece{k.next(unit, size-unit)}
	var child []Piece
	for off := int64(blockSize); off+64*kib <= size && len(child) < maxPieces/2; off += max(128*kib, size/1024/(64*kib)*(64*kib)) {
		child = append(child, k.next(off, 64*kib))
	}
	if err := errors.Join(
		k.create("timed/parent.vhdx", &vhdx.CreateOptions{Kind: vhdx.Fixed, Size: size}, parent),
		k.create("timed/child.vhdx", &vhdx.CreateOptions{Kind: vhdx.Differencing, ParentPath: "timed/parent.vhdx"}, child)); err != nil {
		return err
	}
	return k.add(Disk{Gate: "W3", About: "a child and its parent, for merges to be timed", Size: size, Holds: join(parent, child),
		Merge: int64(len(child)) * 64 * kib}, "timed/child.vhdx", "timed/parent.vhdx")
}
