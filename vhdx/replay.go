package vhdx

import (
	"io"
	"slices"
	"sort"

	"troy/internal/block"
)

// replayView shows a file as it reads after its log was replayed. It keeps
// places in the log, not pages, so that a long log costs little memory.
type replayView struct {
	base io.ReaderAt
	ring *logRing
	size int64 // bytes of the file after replay
	old  int64 // bytes of the file as it is
	segs []replayOp
}

// openLog finds what has to be replayed. h must have a non-zero LogGUID.
func openLog(r io.ReaderAt, size int64, h *Header) (*replayView, error) {
	ring := &logRing{r: r, off: int64(h.LogOffset), length: int64(h.LogLength), guid: h.LogGUID}
	if ring.length > maxLogLength {
		return nil, unsupported("log", ring.off, "a log of %d bytes", ring.length)
	}
	run, err := ring.activeSequence()
	if err != nil {
		return nil, err
	}
	if len(run) == 0 {
		return nil, corrupt("log", ring.off, "it must be replayed but holds no valid sequence of entries")
	}
	head := run[len(run)-1]
	if head.FlushedFileOffset > size {
		return nil, corrupt("log", ring.off+head.pos, "the file was %d bytes long when the log was written and has %d now: it was truncated", head.FlushedFileOffset, size)
	}
	v := &replayView{base: r, ring: ring, old: size, size: max(size, head.LastFileOffset)}
	var ops []replayOp
	for _, e := range run {
		more, err := ring.ops(e)
		if err != nil {
			return nil, err
		}
		if ops = append(ops, more...); len(ops) > maxReplayOps {
			return nil, unsupported("log", ring.off, "more than %d updates", maxReplayOps)
		}
	}
	v.segs = lastWins(ops)
	if n := len(v.segs); n > 0 {
		v.size = max(v.size, block.RoundUp(v.segs[n-1].off+v.segs[n-1].length, mib))
	}
	return v, nil
}

// lastWins turns updates, which may cover one another, into sorted ones that
// do not: each piece of the file is painted from the last update backwards.
func lastWins(ops []replayOp) []replayOp {
	cuts := make([]int64, 0, 2*len(ops))
	for _, op := range ops {
		cuts = append(cuts, op.off, op.off+op.length)
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	owner := make([]int32, len(cuts)) // update that paints cuts[i]..cuts[i+1], plus 1
	skip := make([]int32, len(cuts))  // next piece not yet painted, compressed
	for i := range skip {
		skip[i] = int32(i)
	}
	find := func(i int32) int32 {
		for skip[i] != i {
			skip[i] = skip[skip[i]]
			i = skip[i]
		}
		return i
	}
	for n := len(ops) - 1; n >= 0; n-- {
		from := int32(sort.Search(len(cuts), func(i int) bool { return cuts[i] >= ops[n].off }))
		for i := find(from); cuts[i] < ops[n].off+ops[n].length; i = find(i) {
			owner[i] = int32(n + 1)
			skip[i] = i + 1
		}
	}
	var segs []replayOp
	for i := range owner[:max(len(owner)-1, 0)] {
		if owner[i] == 0 {
			continue
		}
		op := ops[owner[i]-1] // a page is never split: all cuts are 4 KiB apart
		op.off, op.length = cuts[i], cuts[i+1]-cuts[i]
		segs = append(segs, op)
	}
	return segs
}

// ReadAt implements io.ReaderAt on the file as it is after replay.
func (v *replayView) ReadAt(p []byte, off int64) (n int, err error) {
	if off >= v.size {
		return 0, io.EOF
	}
	if int64(len(p)) > v.size-off {
		p, err = p[:v.size-off], io.EOF
	}
	i := sort.Search(len(v.segs), func(i int) bool { return v.segs[i].off+v.segs[i].length > off })
	for n < len(p) {
		part := p[n:]
		at := off + int64(n)
		var e error
		switch {
		case i < len(v.segs) && v.segs[i].off <= at:
			s := &v.segs[i]
			part = part[:min(int64(len(part)), s.off+s.length-at)]
			e = v.readSeg(part, s, at-s.off)
			i++
		case i < len(v.segs):
			part = part[:min(int64(len(part)), v.segs[i].off-at)]
			e = v.readBase(part, at)
		default:
			e = v.readBase(part, at)
		}
		if e != nil {
			return n, e
		}
		n += len(part)
	}
	return n, err
}

func (v *replayView) readSeg(p []byte, s *replayOp, off int64) error {
	if s.sector < 0 {
		clear(p)
		return nil
	}
	var page [pageSize]byte
	if err := v.ring.page(s, page[:]); err != nil {
		return err
	}
	copy(p, page[off:])
	return nil
}

// readBase reads the unreplayed file, zeros past its end.
func (v *replayView) readBase(p []byte, off int64) error {
	n := min(max(v.old-off, 0), int64(len(p)))
	clear(p[n:])
	return block.ReadFull(v.base, p[:n], off)
}

// maxReplayZeros bounds the zeros that replay writes: all sector bitmaps of a
// disk of 64 TiB and its BAT are less.
const maxReplayZeros = 32 * gib

// apply carries the replay out on s and makes it durable. It may be
// interrupted and started again.
func (v *replayView) apply(s Storage) error {
	if err := grow(s, v.old, v.size); err != nil {
		return err
	}
	zeroed := int64(0)
	var page [pageSize]byte
	for i := range v.segs {
		g := &v.segs[i]
		var err error
		if g.sector >= 0 {
			if err = v.ring.page(g, page[:]); err == nil {
				_, err = s.WriteAt(page[:], g.off)
			}
		} else if n := min(g.off+g.length, v.old) - g.off; n > 0 { // what grew is zero
			if zeroed += n; zeroed > maxReplayZeros {
				return unsupported("log", v.ring.off, "more than %d bytes to be zeroed", int64(maxReplayZeros))
			}
			err = writeZeros(s, g.off, n)
		}
		if err != nil {
			return err
		}
	}
	return s.Sync()
}

// truncater is the part of Storage that only growing needs.
type truncater interface{ Truncate(size int64) error }

// grow makes s larger; the new bytes read zero.
func grow(s Storage, from, to int64) error {
	if to <= from {
		return nil
	}
	t, ok := s.(truncater)
	if !ok {
		return errNoGrowth(from, to)
	}
	return t.Truncate(to)
}

// writeZeros writes n zeros at off.
func writeZeros(w io.WriterAt, off, n int64) error {
	if n <= 0 {
		return nil
	}
	b := make([]byte, min(n, mib))
	for n > 0 {
		k := min(n, int64(len(b)))
		if _, err := w.WriteAt(b[:k], off); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}
