package image

import (
	"iter"

	"troy/internal/progress"
)

// What the sink holds already, from an earlier Fetch that was cut off.

// heldRange says that a range need not be written, and counts it.
func (f *fetcher) heldRange(off, n int64) bool {
	if f.o.Have == nil || !f.o.Have(off, n) {
		return false
	}
	f.held.Add(n)
	return true
}

// heldChunk says that the sink holds all pages of the plan that lie in a chunk.
func (f *fetcher) heldChunk(j *chunkJob) bool {
	if f.o.Have == nil {
		return false
	}
	for off, n := range j.stretches() {
		if !f.o.Have(off, n) {
			return false
		}
	}
	return true
}

// leaveOut counts a chunk as done if it is held.
func (f *fetcher) leaveOut(j *chunkJob) bool {
	if !f.heldChunk(j) {
		return false
	}
	for _, n := range j.stretches() {
		f.held.Add(n)
	}
	f.heldFetch.Add(int64(j.chunk.Packed))
	progress.Add(f.o.Progress, int64(j.chunk.Packed))
	return true
}

// stretches yields the parts of the virtual disk that the chunk's pages go to, neighbours as one:
// offset and length in bytes.
func (j *chunkJob) stretches() iter.Seq2[int64, int64] {
	return func(yield func(off, n int64) bool) {
		for i := 0; i < len(j.pieces); {
			lo, hi := j.pieces[i].dst, j.pieces[i].dst+int64(j.pieces[i].count)
			for i++; i < len(j.pieces) && j.pieces[i].dst == hi; i++ {
				hi += int64(j.pieces[i].count)
			}
			if !yield(lo*PageSize, (hi-lo)*PageSize) {
				return
			}
		}
	}
}
