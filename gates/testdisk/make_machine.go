package testdisk

import (
	"context"
	"errors"
	"os"

	"troy/diskwriter/machine"
	"troy/internal/errline"
	"troy/vhdx"
)

// image names the versions of the machine; nothing of it leaves the workshop.
const image = "gates"

// slotPayload is what a slot can hold, in bytes.
const slotPayload = 4 * mib

// pc is a machine whose files lie in the workshop.
type pc struct {
	files machine.Files
	open  []*os.File
}

func (p *pc) close() error {
	var errs []error
	for _, f := range p.open {
		errs = append(errs, f.Close())
	}
	return errline.Join(errs...)
}

// file makes one of the machine's files, which never change their size.
func (p *pc) file(path string, size int64) (machine.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return machine.File{}, err
	}
	p.open = append(p.open, f)
	return machine.File{Storage: f, Size: size}, f.Truncate(size)
}

// newPC makes a machine whose parent holds the pieces as version 1.
func (k *maker) newPC(holds []Piece) (p *pc, err error) {
	p = &pc{}
	defer func() {
		if err != nil {
			err = errline.Join(err, p.close())
		}
	}()
	f := &p.files
	for _, want := range []struct {
		to   *machine.File
		name string
		size int64
	}{
		{&f.Base, machine.BaseName, machine.BaseSize(k.size)}, {&f.LayerA, machine.LayerAName, machine.SlotSize(k.size, slotPayload)},
		{&f.LayerB, machine.LayerBName, machine.SlotSize(k.size, slotPayload)}, {&f.Boot, machine.BootName, machine.BootChildSize(k.size)},
		{&f.Journal, machine.JournalName, machine.JournalSize},
	} {
		if *want.to, err = p.file(k.at("machine/"+want.name), want.size); err != nil {
			return nil, err
		}
	}
	if _, err := machine.FormatBase(f.Base, &machine.BaseOptions{VirtualSize: k.size}); err != nil {
		return nil, err
	}
	if err := k.change("machine/base.vhdx", func(c *vhdx.Chain) error { return writeTo(c, holds) }); err != nil {
		return nil, err
	}
	base, err := machine.ReadBase(f.Base)
	if err != nil {
		return nil, err
	}
	return p, machine.FormatChildren(p.files, base, image, 1)
}

// deploy stages a version and commits it.
func (p *pc) deploy(ctx context.Context, version int, changes []Piece) error {
	m, err := machine.Open(p.files)
	if err != nil {
		return err
	}
	runs := make([]machine.Run, len(changes))
	for i, c := range changes {
		runs[i] = machine.Run{Offset: c.Offset, Length: c.Length, Zero: c.Seed == 0}
	}
	s, err := m.Stage(ctx, &machine.StageRequest{Image: image, Version: version, Runs: runs})
	if err != nil {
		return err
	}
	for _, c := range changes {
		if c.Seed != 0 {
			if err := writeTo(s, []Piece{c}); err != nil {
				return err
			}
		}
	}
	if err := s.Finish(ctx); err != nil {
		return err
	}
	return m.Commit(ctx)
}

// merge copies the slots into the parent and frees them.
func (p *pc) merge(ctx context.Context) error {
	m, err := machine.Open(p.files)
	if err != nil {
		return err
	}
	if _, err := m.Merge(ctx, &machine.MergeOptions{Policy: machine.Now}); err != nil {
		return err
	}
	return m.Relink(ctx)
}

// machine makes what lies on the disk of a PC, in its states.
func (k *maker) machine(ctx context.Context) (err error) {
	if err := errors.Join(k.folder("machine"), k.folder("merged")); err != nil {
		return err
	}
	one := []Piece{k.next(64*kib, mib), k.next(blockSize+unit, mib), k.next(k.size-64*kib, 64*kib)}
	two := []Piece{k.next(512*kib, 64*kib), {mib, 64 * kib, 0}, k.next(blockSize, 256*kib)}
	three := []Piece{k.next(512*kib+unit, unit), k.next(blockSize+128*kib, 256*kib), k.next(k.size-unit, unit)}
	p, err := k.newPC(one)
	if err != nil {
		return err
	}
	defer func() { err = errline.Join(err, p.close()) }()
	if err := k.firstVersion(one); err != nil {
		return err
	}
	if err := p.deploy(ctx, 2, two); err != nil {
		return err
	}
	if err := k.leaf("W1", "a chain of three: base, slot, boot child", "machine/chain3.vhdx", join(one, two), "machine/layer-a.vhdx", "machine/base.vhdx"); err != nil {
		return err
	}
	if err := p.deploy(ctx, 3, three); err != nil {
		return err
	}
	if err := k.leaf("W15", "a chain of four: base, two slots, boot child", "machine/chain4.vhdx", join(one, two, three),
		"machine/layer-b.vhdx", "machine/layer-a.vhdx", "machine/base.vhdx"); err != nil {
		return err
	}
	if err := p.merge(ctx); err != nil {
		return err
	}
	return k.merged(join(one, two, three))
}

// firstVersion makes the children that stand on the parent alone.
func (k *maker) firstVersion(holds []Piece) error {
	if err := k.leaf("W9", "a boot child as a reset leaves it", "machine/fresh.vhdx", holds, "machine/base.vhdx"); err != nil {
		return err
	}
	set := []Piece{k.next(64*kib+3*sector, sector), k.next(mib, 2*sector), k.next(k.size-sector, sector)}
	err := errors.Join(copyFile(k.at("machine/personal.vhdx"), k.at("machine/boot.vhdx")), copyFile(k.at("machine/dirty.vhdx"), k.at("machine/boot.vhdx")),
		k.change("machine/personal.vhdx", func(c *vhdx.Chain) error { return writeTo(c, set) }))
	if err != nil {
		return err
	}
	if err := k.leaf("W11", "a boot child in which a few sectors are set", "machine/personal.vhdx", join(holds, set), "machine/base.vhdx"); err != nil {
		return err
	}
	left := []Piece{k.next(16*kib, 8*kib), k.next(blockSize+mib, 64*kib)}
	if err := k.leaveLog(left); err != nil {
		return err
	}
	return k.leaf("W2", "a boot child whose log was not closed", "machine/dirty.vhdx", join(holds, left), "machine/base.vhdx")
}

// leaveLog writes to the copy of the boot child and loses power when the log holds what the
// structures do not yet.
func (k *maker) leaveLog(pieces []Piece) error {
	named := 0
	leaf, err := k.openLossy("machine/dirty.vhdx", func(p []byte, off int64) bool {
		if named == 2 {
			return true
		}
		if h, err := vhdx.ParseHeader(p); (off == vhdx.Header1Offset || off == vhdx.Header2Offset) && err == nil && !h.LogGUID.IsZero() {
			named++
		}
		return false
	})
	if err != nil {
		return err
	}
	base, err := vhdx.Open(k.at("machine/base.vhdx"), nil)
	if err != nil {
		return errline.Join(err, leaf.Close())
	}
	c, err := vhdx.NewChain(leaf, base)
	if err != nil {
		return errline.Join(err, leaf.Close(), base.Close())
	}
	return errline.Join(writeTo(c, pieces), c.Sync(), c.Close())
}

// leaf adds a boot child, under a name of its own if it is the machine's.
func (k *maker) leaf(gate, about, name string, holds []Piece, parents ...string) error {
	if _, err := os.Stat(k.at(name)); err != nil {
		if err := copyFile(k.at(name), k.at("machine/boot.vhdx")); err != nil {
			return err
		}
	}
	places, dirty, err := anchors(k.at(name))
	if err != nil {
		return err
	}
	return k.add(Disk{Gate: gate, About: about, Size: k.size, Holds: holds, Writes: k.writes(k.size), Anchors: places, Dirty: dirty}, append([]string{name}, parents...)...)
}

// anchors reads where the blocks of a file are.
func anchors(path string) (places []int64, dirty bool, err error) {
	f, err := vhdx.Open(path, nil)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	geo := f.Geometry()
	for block := range geo.Blocks() {
		e, err := f.BATEntry(geo.PayloadIndex(block))
		if err != nil {
			return nil, false, err
		}
		places = append(places, e.FileOffset())
	}
	return places, f.LogPending(), nil
}

// merged adds parent and boot child as they are after a merge, under their own names.
func (k *maker) merged(holds []Piece) error {
	for _, name := range []string{machine.BaseName, machine.BootName} {
		if err := os.Rename(k.at("machine/"+name), k.at("merged/"+name)); err != nil {
			return err
		}
	}
	return k.leaf("W9", "a boot child over a parent into which two versions were merged", "merged/boot.vhdx", holds, "merged/base.vhdx")
}
