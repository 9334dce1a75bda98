package image

import (
	"context"
	"fmt"
	"io"
	"iter"
	"runtime"
)

// Verify reads a disk of the map's size and returns the regions whose defined pages differ from the version, ascending.
// The error is that of reading, or of the context.
func (m *Map) Verify(ctx context.Context, disk io.ReaderAt, p Progress) ([]int64, error) {
	type judged struct {
		region int64
		ok     bool
	}
	look := func(ctx context.Context, region int64) (judged, error) {
		if err := ctx.Err(); err != nil {
			return judged{}, err
		}
		b := make([]byte, min(RegionSize, m.virtualSize-region*RegionSize))
		if err := readFull(disk, b, region*RegionSize, m.virtualSize); err != nil {
			return judged{}, fmt.Errorf("image: reading bytes %d+%d of the disk: %w", region*RegionSize, len(b), err)
		}
		progress(p, int64(len(b)))
		return judged{region, sumDefined(b, region*pagesPerRegion, m.undefined) == m.sums[region]}, nil
	}
	var damaged []int64
	note := func(j judged) error {
		if !j.ok {
			damaged = append(damaged, j.region)
		}
		return nil
	}
	if err := ordered(ctx, runtime.GOMAXPROCS(0), m.each(), look, note); err != nil {
		return nil, err
	}
	return damaged, nil
}

func (m *Map) each() iter.Seq2[int64, error] {
	return func(yield func(int64, error) bool) {
		for r := range m.Regions() {
			if !yield(r, nil) {
				return
			}
		}
	}
}
