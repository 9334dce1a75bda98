package image

import (
	"context"
	"fmt"
	"io"
	"iter"
	"runtime"

	"troy/image/internal/pipeline"
	"troy/internal/block"
	"troy/internal/progress"
)

// Verify reads a disk of the map's size and returns the regions whose defined pages differ from the
// version, ascending. The error is that of reading, or of the context.
func (m *Map) Verify(ctx context.Context, disk io.ReaderAt, p progress.Adder) ([]int64, error) {
	type judged struct {
		region int64
		ok     bool
	}
	look := func(ctx context.Context, region int64) (judged, error) {
		if err := ctx.Err(); err != nil {
			return judged{}, err
		}
		b := make([]byte, min(RegionSize, m.VirtualSize-region*RegionSize))
		if err := block.ReadFull(disk, b, region*RegionSize); err != nil {
			return judged{}, fmt.Errorf("image: reading bytes %d+%d of the disk: %w", region*RegionSize, len(b), err)
		}
		progress.Add(p, int64(len(b)))
		return judged{region, m.Holds(region, b)}, nil
	}
	var damaged []int64
	note := func(j judged) error {
		if !j.ok {
			damaged = append(damaged, j.region)
		}
		return nil
	}
	if err := pipeline.Ordered(ctx, runtime.GOMAXPROCS(0), m.each(), look, note); err != nil {
		return nil, err
	}
	return damaged, nil
}

func (m *Map) each() iter.Seq2[int64, error] {
	return func(yield func(int64, error) bool) {
		for r := range int64(len(m.Sums)) {
			if !yield(r, nil) {
				return
			}
		}
	}
}
