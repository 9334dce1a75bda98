package publish

import (
	"sync"

	"troy/image"
)

// buffers keeps buffers of one region, which is also the size of a chunk, for the next use: to make
// and clear them costs publishing a tenth of its time.
type buffers struct{ pool sync.Pool }

// get returns a buffer of n bytes, at most image.RegionSize, that may hold anything.
func (b *buffers) get(n int64) []byte {
	if p, ok := b.pool.Get().(*[image.RegionSize]byte); ok {
		return p[:n]
	}
	return make([]byte, image.RegionSize)[:n]
}

// put gives back a buffer that get returned and that is no longer in use.
func (b *buffers) put(p []byte) {
	if cap(p) == image.RegionSize {
		b.pool.Put((*[image.RegionSize]byte)(p[:image.RegionSize]))
	}
}
