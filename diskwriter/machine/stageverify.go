package machine

import (
	"bytes"
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"troy/internal/block"
)

// verifyDepth is how many reads are under way while the payload is read back: one at a time leaves
// a disk idle.
const verifyDepth = 8

func (s *Stager) verifyPayload(ctx context.Context) error {
	data := func(b *stageBlock) *pageSet { return &b.data }
	err := s.readBack(ctx, data, func(b *stageBlock, page int, off int64, p []byte) error {
		for i := range len(p) / pageSize {
			if s.hash(p[i*pageSize:(i+1)*pageSize]) != s.sums[b.first+b.data.rank(page+i)].Load() {
				return fmt.Errorf("%w: %s at %d", ErrVerify, s.slot.name, off+int64(i)*pageSize)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	zero := make([]byte, SlotBlockSize)
	return s.readBack(ctx, func(b *stageBlock) *pageSet { return &b.zero }, func(_ *stageBlock, _ int, off int64, p []byte) error {
		if !bytes.Equal(p, zero[:len(p)]) {
			return fmt.Errorf("%w: %s at %d", ErrVerify, s.slot.name, off)
		}
		return nil
	})
}

// readBack reads all pieces of a set, several at once, and has each looked at.
func (s *Stager) readBack(ctx context.Context, set func(*stageBlock) *pageSet, look func(b *stageBlock, page int, off int64, p []byte) error) error {
	buffers := make(chan []byte, verifyDepth)
	for range verifyDepth {
		buffers <- block.Aligned(SlotBlockSize)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(verifyDepth)
	err := s.plan.pieces(s.slot.l, set, func(b *stageBlock, page, n int, off int64) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		g.Go(func() error {
			buf := <-buffers
			defer func() { buffers <- buf }()
			if err := block.ReadFull(s.slot.f, buf[:n*pageSize], off); err != nil {
				return err
			}
			return look(b, page, off, buf[:n*pageSize])
		})
		return nil
	})
	if failed := g.Wait(); failed != nil { // the cause; err says only that it was over
		return failed
	}
	return err
}

// verifyStructures reads back what was written and lets package vhdx judge it.
func (s *Stager) verifyStructures() error {
	same := func(want []byte, off int64) error {
		if runs, err := changedPages(s.slot.f, want, off); err != nil {
			return err
		} else if len(runs) > 0 {
			return fmt.Errorf("%w: %s at %d", ErrVerify, s.slot.name, off+int64(runs[0][0]))
		}
		return nil
	}
	if err := s.bitmaps(func(chunk int64, b []byte) error { return same(b, s.slot.l.bitmapOffset(chunk)) }); err != nil {
		return err
	}
	if err := same(s.bat(), s.slot.l.bat.off); err != nil {
		return err
	}
	d := readDisk(s.slot.name, s.slot.f)
	if d.v == nil {
		return fmt.Errorf("%w: %s does not read as it was made: %w", ErrVerify, s.slot.name, d.why)
	}
	if d.guid() != s.guid || d.linkage != s.parent.guid() || !d.header.LogGUID.IsZero() {
		return fmt.Errorf("%w: %s does not name what it was made for", ErrVerify, s.slot.name)
	}
	return nil
}
