package golden

import (
	"io"
	"slices"
	"sync"

	"troy/image"
	"troy/internal/block"
)

// maxCached is how many regions a cached disk keeps: what reads a file system comes back to a few.
const maxCached = 48

// cached reads a disk by whole regions and keeps some of them: short reads of a version are dear.
type cached struct {
	r    io.ReaderAt
	size int64

	mu      sync.Mutex
	regions map[int64][]byte
	used    []int64 // regions, the one that was used last at the end
}

func newCached(r io.ReaderAt, size int64) *cached {
	return &cached{r: r, size: size, regions: map[int64][]byte{}}
}

// ReadAt implements io.ReaderAt. Reads of whole regions pass by.
func (c *cached) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 || off%image.RegionSize == 0 && len(p) >= image.RegionSize {
		return c.r.ReadAt(p, off)
	}
	for n < len(p) {
		at := off + int64(n)
		if at >= c.size {
			return n, io.EOF
		}
		b, err := c.region(at / image.RegionSize)
		if err != nil {
			return n, err
		}
		n += copy(p[n:], b[at%image.RegionSize:])
	}
	return n, nil
}

func (c *cached) region(number int64) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.used, number); i >= 0 {
		c.used = append(slices.Delete(c.used, i, i+1), number)
		return c.regions[number], nil
	}
	// A reader may still copy from the region that goes: its memory is not used again.
	b := make([]byte, min(image.RegionSize, c.size-number*image.RegionSize))
	if err := block.ReadFull(c.r, b, number*image.RegionSize); err != nil {
		return nil, err
	}
	if len(c.used) == maxCached {
		delete(c.regions, c.used[0])
		c.used = slices.Delete(c.used, 0, 1)
	}
	c.regions[number], c.used = b, append(c.used, number)
	return b, nil
}
