package vhdx

import (
	"io"
	"sync"
)

// page is one cached 4 KiB page of BAT, sector bitmaps or metadata region.
type page struct {
	off   int64 // place in the file
	data  [pageSize]byte
	dirty bool // changed since it was last written: must not be dropped
	used  bool // touched since the clock hand passed
}

// pageCache keeps a bounded number of pages, so that memory does not depend
// on the size of the disk. Pages are handed out by pointer; File.mu orders
// readers and writers of their content.
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

// get returns the page that holds the byte at off.
func (c *pageCache) get(off int64) (*page, error) {
	off &^= pageSize - 1
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.pages[off]; p != nil {
		p.used = true
		return p, nil
	}
	p := &page{off: off, used: true}
	if err := readFull(c.r, p.data[:], off); err == io.ErrUnexpectedEOF {
		return nil, corrupt("file", off, "it ends inside a structure")
	} else if err != nil {
		return nil, err
	}
	c.insert(p)
	return p, nil
}

// peek copies the page at off to b without keeping it, for who walks a whole
// table.
func (c *pageCache) peek(off int64, b []byte) error {
	c.mu.Lock()
	p := c.pages[off]
	c.mu.Unlock()
	if p != nil {
		copy(b, p.data[:])
		return nil
	}
	if err := readFull(c.r, b, off); err == io.ErrUnexpectedEOF {
		return corrupt("file", off, "it ends inside a structure")
	} else if err != nil {
		return err
	}
	return nil
}

// insert adds p in the place of a page that was not used lately. Dirty pages
// stay; the log bounds their number far below the size of the cache.
func (c *pageCache) insert(p *page) {
	c.pages[p.off] = p
	if len(c.clock) < cachePages {
		c.clock = append(c.clock, p)
		return
	}
	for range 2 * len(c.clock) {
		v := c.clock[c.hand]
		if !v.dirty && !v.used {
			delete(c.pages, v.off)
			c.clock[c.hand] = p
			c.hand = (c.hand + 1) % len(c.clock)
			return
		}
		v.used = false
		c.hand = (c.hand + 1) % len(c.clock)
	}
	c.clock = append(c.clock, p)
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
