package install

import (
	"context"
	"errors"

	"troy/diskwriter/machine"
	"troy/image"
)

// lookedAt is how many of an image's last versions tell how much the next one may change.
const lookedAt = 4

// SlotTaken returns how many bytes of payload the one of an image's versions that changed most took
// in a slot, among the last ones up to a number. It is 0 if nothing was added to the first.
func SlotTaken(ctx context.Context, src image.Source, name string, version int) (most int64, err error) {
	index, err := image.LoadIndex(ctx, src, name)
	if err != nil {
		return 0, err
	}
	looked := 0
	for i := len(index.Versions) - 1; i >= 0 && looked < lookedAt; i-- {
		e := index.Versions[i]
		if e.Version > version || e.Parent == 0 {
			continue
		}
		looked++
		plan, err := image.LoadPlan(ctx, src, name, e.Parent, e.Version)
		if errors.Is(err, image.ErrOtherSize) {
			continue // it comes to no machine by a slot
		}
		if err != nil {
			return 0, err
		}
		most = max(most, payload(plan.Runs()))
	}
	return most, nil
}

// payload is what runs, which are sorted, take in blocks of a slot.
func payload(runs []image.Run) (bytes int64) {
	next := int64(0) // the first block that is not counted yet
	for _, r := range runs {
		first, end := max(r.Offset/machine.SlotBlockSize, next), (r.Offset+r.Length-1)/machine.SlotBlockSize+1
		if end > first {
			bytes += (end - first) * machine.SlotBlockSize
			next = end
		}
	}
	return bytes
}
