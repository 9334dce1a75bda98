package install

import (
	"context"
	"fmt"
	"io"

	"troy/diskwriter/machine"
	"troy/diskwriter/pcdisk"
	"troy/image"
	"troy/internal/progress"
)

// Version is a version of an image as package pcdisk fills it in.
type Version struct {
	src  image.Source
	docs *documents
	sum  image.Sum // of the manifest
	plan *image.Plan
	runs []machine.Run
	o    Options
}

// Options are for Open. The zero value is right.
type Options struct {
	Workers  int            // of the download, see image.FetchOptions
	Progress progress.Adder // of the bytes fetched; may be nil
}

// Open reads what a version consists of; version 0 means the newest. Nothing of its content is
// read. Errors are those of image.LoadPlan.
func Open(ctx context.Context, src image.Source, name string, version int, o *Options) (*Version, error) {
	v := &Version{src: src, docs: newDocuments(src)}
	if o != nil {
		v.o = *o
	}
	m, err := image.LoadManifest(ctx, v.docs, name, version)
	if err != nil {
		return nil, err
	}
	v.sum = m.SHA256
	if v.plan, err = image.LoadPlan(ctx, v.docs, name, 0, m.Version); err != nil {
		return nil, err
	}
	for _, r := range v.plan.Runs() {
		v.runs = append(v.runs, machine.Run{Offset: r.Offset, Length: r.Length, Zero: r.Zero})
	}
	return v, nil
}

// Manifest is the SHA-256 of the version's manifest, in hex.
func (v *Version) Manifest() string { return v.sum.String() }

// Plan returns the way from nothing to the version: name, sizes, bytes to fetch and to write.
func (v *Version) Plan() *image.Plan { return v.plan }

// Size implements pcdisk.Version.
func (v *Version) Size() int64 { return v.plan.VirtualSize }

// Runs implements pcdisk.Version.
func (v *Version) Runs() []machine.Run { return v.runs }

// Fetch implements pcdisk.Version: it plans and fetches the regions of one piece.
func (v *Version) Fetch(ctx context.Context, from, to int64, sink io.WriterAt) error {
	var regions []int64
	for r := from / image.RegionSize; r*image.RegionSize < to; r++ {
		regions = append(regions, r)
	}
	return v.fetch(ctx, regions, sink, true)
}

func (v *Version) fetch(ctx context.Context, regions []int64, sink io.WriterAt, skipZeros bool) error {
	p, err := image.LoadHeal(ctx, v.docs, v.plan.Image, v.plan.Want, regions)
	if err != nil {
		return err
	}
	_, err = p.Fetch(ctx, v.src, sink, &image.FetchOptions{Workers: v.o.Workers, Progress: v.o.Progress, SkipZeros: skipZeros})
	return err
}

// disk is what can be compared with a version and repaired: a machine.Reinstaller, Healer or Mender.
type disk interface {
	io.ReaderAt
	io.WriterAt
}

// Repair compares a disk with the version, fetches what is wrong and compares again. It returns how
// many regions of 1 MiB were wrong. read is told the bytes compared. Errors: image.ErrCorrupt if it
// is still wrong, those of LoadMap, LoadHeal, Fetch and of the disk.
func (v *Version) Repair(ctx context.Context, d disk, read progress.Adder) (wrong int, err error) {
	m, err := image.LoadMap(ctx, v.docs, v.plan.Image, v.plan.Want)
	if err != nil {
		return 0, err
	}
	damaged, err := m.Verify(ctx, d, read)
	if err != nil || len(damaged) == 0 {
		return 0, err
	}
	if err := v.fetch(ctx, damaged, d, false); err != nil {
		return len(damaged), err
	}
	again, err := m.Verify(ctx, d, read)
	if err == nil && len(again) > 0 {
		err = fmt.Errorf("%w: %d regions read back wrong after they were written, the first at byte %d", image.ErrCorrupt, len(again), again[0]*image.RegionSize)
	}
	return len(damaged), err
}

// Into fills the parent with the version and looks at all of it; what the disk does not give back
// as it was written is fetched again. Then the boot files and r.Finish are next.
func (v *Version) Into(ctx context.Context, t *pcdisk.Target, r *machine.Reinstaller, fill, read progress.Adder) error {
	if err := t.Fill(ctx, r, v, &pcdisk.FillOptions{Progress: fill}); err != nil {
		return err
	}
	_, err := v.Repair(ctx, r, read)
	return err
}

var _ pcdisk.Version = (*Version)(nil)
