package image

import (
	"context"
	"fmt"

	"troy/image/internal/layer"
	"troy/internal/block"
)

// copyPages is how many pages of a local copy are read and written at once.
const copyPages = 256

// copy takes pages from the disk itself. A page that is not what the version says, or cannot be
// read, is not written.
func (f *fetcher) copy(ctx context.Context, c localCopy) error {
	b := make([]byte, min(c.keys.Count(), copyPages)*PageSize)
	for len(c.keys) > 0 {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n := min(c.keys.Count(), copyPages)
		p := b[:n*PageSize]
		if f.heldRange(c.dst*PageSize, int64(len(p))) {
			c = c.from(n)
			continue
		}
		if err := block.ReadFull(f.o.Local, p, c.src*PageSize); err != nil {
			return fmt.Errorf("%w: reading bytes %d+%d: %w", ErrLocal, c.src*PageSize, len(p), err)
		}
		for i := range n {
			if layer.KeyOf(p[i*PageSize:(i+1)*PageSize]) != c.keys.At(i) {
				at := (c.src + i) * PageSize
				return fmt.Errorf("%w: bytes %d-%d differ from %s version %d", ErrLocal, at, at+PageSize-1, f.plan.Image, f.plan.Have)
			}
		}
		if err := f.write(p, c.dst*PageSize); err != nil {
			return err
		}
		f.copied.Add(int64(len(p)))
		c = c.from(n)
	}
	return nil
}
