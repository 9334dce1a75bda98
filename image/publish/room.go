package publish

import (
	"context"
	"iter"
	"os"
	"slices"

	"troy/image"
	"troy/internal/space"
)

// samples is how many regions are packed to estimate how large a pack will be.
const samples = 64

// checkRoom returns space.ErrShort if the pack certainly does not fit into the store: what a sample
// packs to, less a quarter, is more than is free. It looks only if not everything would fit
// unpacked.
func (s *scan) checkRoom(ctx context.Context, st *store) error {
	free, err := st.ops.free(st.String())
	if err != nil {
		return err
	}
	if info, err := os.Stat(st.tmp(packName)); err == nil {
		free += info.Size() // of a cut publisher: it is gone on with, or removed
	}
	var work []int64
	for region := range s.regions() {
		if s.reads(region) > 0 {
			work = append(work, region)
		}
	}
	if free >= int64(len(work))*image.RegionSize {
		return nil
	}
	need, err := s.estimate(ctx, work)
	if err == nil && free < need/4*3 {
		err = space.Short(st.String(), "the pack of the version", need, free)
	}
	return err
}

// estimate packs some of the regions, evenly spread, and returns what all would take.
func (s *scan) estimate(ctx context.Context, regions []int64) (int64, error) {
	enc, err := newEncoder(1, 1)
	if err != nil {
		return 0, err
	}
	defer enc.Close()
	var packed, looked int64
	for region := range spread(regions, samples) {
		now, below, verdicts, err := s.compare(ctx, region)
		if err != nil {
			return 0, err
		}
		var raw []byte
		for i, v := range verdicts {
			if v == data {
				raw = append(raw, now[i*image.PageSize:(i+1)*image.PageSize]...)
			}
		}
		packed += int64(min(len(raw), len(enc.EncodeAll(raw, nil))))
		looked++
		s.buffers.put(now)
		s.buffers.put(below)
	}
	return packed * int64(len(regions)) / max(looked, 1), nil
}

// spread yields at most n of a list, evenly spread.
func spread(list []int64, n int) iter.Seq[int64] {
	if len(list) <= n {
		return slices.Values(list)
	}
	return func(yield func(int64) bool) {
		for i := range n {
			if !yield(list[i*len(list)/n]) {
				return
			}
		}
	}
}
