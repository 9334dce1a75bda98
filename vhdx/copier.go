package vhdx

import (
	"io"
	"sync"

	"troy/internal/block"
)

// copier copies ranges between files, several at once: a disk with a queue is
// twice as fast as one request at a time.
type copier struct {
	dst  io.WriterAt
	jobs chan copyJob
	open sync.WaitGroup // jobs not yet done
	done sync.WaitGroup // workers
	mu   sync.Mutex
	err  error
}

// copyJob is a range to be copied, of at most copyStep bytes.
type copyJob struct {
	src      io.ReaderAt
	from, to int64
	n        int64
}

// copyWorkers is how many copies are under way at once.
const copyWorkers = 8

func newCopier(dst io.WriterAt) *copier {
	c := &copier{dst: dst, jobs: make(chan copyJob, copyWorkers)}
	for range copyWorkers {
		c.done.Go(c.work)
	}
	return c
}

// copy queues a range. It returns the error of an earlier one.
func (c *copier) copy(src io.ReaderAt, from, to, n int64) error {
	for n > 0 {
		if err := c.failed(); err != nil {
			return err
		}
		k := min(n, copyStep)
		c.open.Add(1)
		c.jobs <- copyJob{src, from, to, k}
		from, to, n = from+k, to+k, n-k
	}
	return nil
}

// wait returns when nothing is under way any more, with the first error.
func (c *copier) wait() error {
	c.open.Wait()
	return c.failed()
}

func (c *copier) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// close ends the workers after what is queued.
func (c *copier) close() {
	close(c.jobs)
	c.done.Wait()
}

func (c *copier) work() {
	var buf []byte
	for j := range c.jobs {
		if int64(len(buf)) < j.n {
			buf = make([]byte, j.n)
		}
		if err := c.one(j, buf[:j.n]); err != nil {
			c.mu.Lock()
			if c.err == nil {
				c.err = err
			}
			c.mu.Unlock()
		}
		c.open.Done()
	}
}

func (c *copier) one(j copyJob, b []byte) error {
	if err := block.ReadFull(j.src, b, j.from); err != nil {
		return err
	}
	_, err := c.dst.WriteAt(b, j.to)
	return err
}
