package vhdx

import (
	"io"
	"sync"

	"troy/internal/block"
)

// page is one cached 4 KiB page of BAT, sector bitmaps or metadata region.
type page struct {
	off   int64 // place in the file
	data  [pageSize]byte
	dirty bool // changed since it was last written: must not be dropped
	used  bool // touched since the clock hand passed
}

// pageCache keeps a bounded number of pages, so that memory does not depend
// on the size of the disk. The memory of a page that is dropped is used again,
// so readers look at pages through view only.
type pageCache struct {
	mu    sync.Mutex
	r     io.ReaderAt
	pages map[int64]*page
	clock []*page
	hand  int
}

// cachePages bounds the cache to 2 MiB per open file.
const cachePages = 512

func newPageCache(r io.ReaderAt) *pageCache {
	return &pageCache{r: r, pages: make(map[int64]*page)}
}

// view calls fn with the page that holds the byte at off.
func (c *pageCache) view(off int64, fn func(b *[pageSize]byte)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := c.load(off &^ (pageSize - 1))
	if err == nil {
		fn(&p.data)
	}
	return err
}

// get returns the page that holds the byte at off, to be changed. The caller must hold
// File.mu exclusively; the page is valid until the next call, or while it is dirty.
func (c *pageCache) get(off int64) (*page, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.load(off &^ (pageSize - 1))
}

// load returns the page at off, reading it if need be. c.mu is held.
func (c *pageCache) load(off int64) (*page, error) {
	if p := c.pages[off]; p != nil {
		p.used = true
		return p, nil
	}
	p := c.room()
	delete(c.pages, p.off)
	p.off = -1 // of no page, until it is read
	if err := block.ReadFull(c.r, p.data[:], off); err == io.ErrUnexpectedEOF {
		return nil, corrupt("file", off, "it ends inside a structure")
	} else if err != nil {
		return nil, err
	}
	p.off, p.used = off, true
	c.pages[off] = p
	return p, nil
}

// room returns a page to be overwritten: a new one while there are few, else
// one that was not used lately. Dirty pages stay; the log bounds their number
// far below the size of the cache.
func (c *pageCache) room() *page {
	if len(c.clock) >= cachePages {
		for range 2 * len(c.clock) {
			p := c.clock[c.hand]
			c.hand = (c.hand + 1) % len(c.clock)
			if !p.dirty && !p.used {
				return p
			}
			p.used = false
		}
	}
	p := &page{off: -1}
	c.clock = append(c.clock, p)
	return p
}

// peek copies the page at off to b without keeping it, for callers that walk a whole
// table.
func (c *pageCache) peek(off int64, b []byte) error {
	c.mu.Lock()
	p := c.pages[off]
	if p != nil {
		copy(b, p.data[:])
	}
	c.mu.Unlock()
	if p != nil {
		return nil
	}
	if err := block.ReadFull(c.r, b, off); err == io.ErrUnexpectedEOF {
		return corrupt("file", off, "it ends inside a structure")
	} else if err != nil {
		return err
	}
	return nil
}

// forget drops all clean pages in a range that gets a new meaning.
func (c *pageCache) forget(off, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := c.clock[:0]
	for _, p := range c.clock {
		if p.off >= off && p.off < off+n {
			delete(c.pages, p.off)
			continue
		}
		kept = append(kept, p)
	}
	clear(c.clock[len(kept):])
	c.clock, c.hand = kept, 0
}
