package vhdx

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"troy/internal/block"
	"troy/internal/progress"
)

// Progress is told of work done, in bytes of the virtual disk. Its one method is
// Add(bytes int64), which may be called from several goroutines.
type Progress = progress.Adder

// Format is what Convert writes.
type Format uint8

// Formats that Convert writes.
const (
	ToDynamic Format = iota // a dynamic VHDX
	ToFixed                 // a fixed VHDX
	ToRaw                   // a raw image, sparse where the disk is zero
)

// ConvertOptions tells how to convert. Zero values mean what Windows does.
type ConvertOptions struct {
	To                 Format
	BlockSize          uint32   // of a VHDX; 0: as CreateOptions
	LogicalSectorSize  uint32   // 0: the source's; 512 for raw
	PhysicalSectorSize uint32   // 0: the source's; 4096 for raw
	Overwrite          bool     // may replace a file
	Progress           Progress // nil: none

	workers int // blocks under way at once; 0: as many as processors, at least 2
}

// conversion is one Convert while it runs.
type conversion struct {
	src      Source
	size     int64 // bytes of the source
	dst      *os.File
	unit     int64 // bytes of one piece of work: a block
	progress Progress
	next     atomic.Int64 // place of the next block of a dynamic disk
	create   *creation    // nil: raw
	dynamic  bool
}

// Convert writes the whole of src to a new file at dst: differencing chains
// become one disk, what is zero takes no space but in the BAT of a fixed
// disk. The new disk is another disk: its identity is new. The file appears
// when it is complete and durable. Errors: fs.ErrExist unless o.Overwrite,
// those of Create, of reading src and of writing, and ctx's.
func Convert(ctx context.Context, dst string, src Source, o *ConvertOptions) error {
	if o == nil {
		o = &ConvertOptions{}
	}
	return makeFile(dst, o.Overwrite, func(f *os.File) error {
		c := &conversion{src: src, size: src.Size(), dst: f, progress: o.Progress}
		return c.run(ctx, o)
	})
}

func (c *conversion) run(ctx context.Context, o *ConvertOptions) error {
	if err := c.prepare(o); err != nil {
		return err
	}
	workers := o.workers
	if workers <= 0 {
		workers = max(runtime.GOMAXPROCS(0), 2)
	}
	if err := c.copyAll(ctx, workers); err != nil {
		return err
	}
	if !c.dynamic {
		return nil
	}
	return c.dst.Truncate(c.next.Load()) // the last block may end in zeros
}

// prepare lays the new file out.
func (c *conversion) prepare(o *ConvertOptions) (err error) {
	if o.To == ToRaw {
		c.unit = defaultDynamicBlock
		return c.dst.Truncate(c.size)
	}
	co := &CreateOptions{BlockSize: o.BlockSize, LogicalSectorSize: o.LogicalSectorSize, PhysicalSectorSize: o.PhysicalSectorSize}
	if ch, ok := c.src.(*Chain); ok {
		m := ch.files[0].Metadata()
		if co.LogicalSectorSize == 0 {
			co.LogicalSectorSize = m.LogicalSectorSize
		}
		if co.PhysicalSectorSize == 0 {
			co.PhysicalSectorSize = m.PhysicalSectorSize
		}
	}
	switch o.To {
	case ToFixed:
		co.Kind = Fixed
	case ToDynamic:
		c.dynamic = true
	default:
		return unsupported("metadata", 0, "conversion to format %d", o.To)
	}
	co.Size = block.RoundUp(c.size, int64(max(co.LogicalSectorSize, 512)))
	if c.create, err = newCreation(co); err != nil {
		return err
	}
	c.unit = int64(c.create.geo.BlockSize)
	c.next.Store(c.create.first)
	return c.create.write(c.dst)
}

// job is the data of one block.
type job struct {
	block  int64
	ranges []span // of the virtual disk
}

// copyAll hands blocks that hold data to the workers.
func (c *conversion) copyAll(ctx context.Context, workers int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	jobs := make(chan job)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			buf := make([]byte, copyStep)
			for j := range jobs {
				if err := c.copyBlock(ctx, j, buf); err != nil {
					cancel(err)
				}
			}
		})
	}
	err := c.plan(ctx, jobs)
	close(jobs)
	wg.Wait()
	if err != nil {
		return err
	}
	return context.Cause(ctx)
}

// plan cuts the extents of the source at block ends.
func (c *conversion) plan(ctx context.Context, jobs chan<- job) error {
	cur := job{block: -1}
	send := func() error {
		if len(cur.ranges) == 0 {
			return nil
		}
		select {
		case jobs <- cur:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for e, err := range c.src.Extents(0, c.size) {
		if err != nil {
			return err
		}
		if e.Kind != Data {
			c.add(e.Length)
			continue
		}
		for e.Length > 0 {
			block := e.Offset / c.unit
			if block != cur.block {
				if err := send(); err != nil {
					return err
				}
				cur = job{block: block}
			}
			n := min(e.Length, (block+1)*c.unit-e.Offset)
			cur.ranges = append(cur.ranges, span{off: e.Offset, length: n})
			e.Offset, e.Length = e.Offset+n, e.Length-n
		}
	}
	return send()
}

const (
	copyStep = 1 * mib  // bytes read at once
	zeroStep = 64 * kib // granularity of skipping zeros
)

func (c *conversion) add(n int64) {
	if c.progress != nil {
		c.progress.Add(n)
	}
}

// copyBlock copies what is not zero in a block; the block gets its place at
// the first byte that is not.
func (c *conversion) copyBlock(ctx context.Context, j job, buf []byte) error {
	base := int64(-1)
	for _, r := range j.ranges {
		for off := r.off; off < r.off+r.length; off += copyStep {
			if ctx.Err() != nil {
				return nil // another worker has the cause
			}
			b := buf[:min(copyStep, r.off+r.length-off)]
			if err := block.ReadFull(c.src, b, off); err != nil {
				return fmt.Errorf("reading the source at %#x: %w", off, err)
			}
			if err := c.writeNonZero(j.block, &base, b, off-j.block*c.unit); err != nil {
				return err
			}
			c.add(int64(len(b)))
		}
	}
	return nil
}

// writeNonZero writes the runs of b that are not zero, at within of block number n.
func (c *conversion) writeNonZero(n int64, base *int64, b []byte, within int64) error {
	for start := 0; start < len(b); {
		end := start
		for end < len(b) && !block.IsZero(b[end:min(end+zeroStep, len(b))]) {
			end = min(end+zeroStep, len(b))
		}
		if end == start {
			start = min(start+zeroStep, len(b))
			continue
		}
		if *base < 0 {
			var err error
			if *base, err = c.place(n); err != nil {
				return err
			}
		}
		if _, err := c.dst.WriteAt(b[start:end], *base+within+int64(start)); err != nil {
			return err
		}
		start = end
	}
	return nil
}

// place returns where the block stands in the new file. The entries of a
// dynamic disk are written one by one: the file has no readers yet.
func (c *conversion) place(block int64) (int64, error) {
	switch {
	case c.create == nil:
		return block * c.unit, nil
	case !c.dynamic:
		return c.create.first + block*c.unit, nil
	}
	off := c.next.Add(c.unit) - c.unit
	e := NewBATEntry(PayloadFullyPresent, off)
	at := c.create.table[0].Offset + 8*c.create.geo.PayloadIndex(block)
	_, err := c.dst.WriteAt(le.AppendUint64(nil, uint64(e)), at)
	return off, err
}
