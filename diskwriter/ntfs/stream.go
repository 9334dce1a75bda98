package ntfs

import (
	"io"
	"sort"
)

// stream reads the content of one attribute: from clusters, or from memory when it
// is resident. Holes and what lies behind the valid length read as zeros.
type stream struct {
	v      *Volume
	runs   []Run
	starts []int64 // byte of the content at which runs[i] begins
	value  []byte  // resident
	size   int64
	valid  int64
}

func (v *Volume) newStream(runs []Run, size, valid int64) *stream {
	s := &stream{v: v, runs: mergeRuns(runs), size: size, valid: valid}
	var at int64
	for _, r := range s.runs {
		s.starts = append(s.starts, at)
		at += r.Length * int64(v.geo.ClusterSize)
	}
	return s
}

func residentStream(value []byte) *stream {
	return &stream{value: value, size: int64(len(value)), valid: int64(len(value))}
}

// locate returns the volume offset (-1: a hole) of content byte off, and how many
// bytes from there on are contiguous.
func (s *stream) locate(off int64) (pos, n int64) {
	i := sort.Search(len(s.starts), func(i int) bool { return s.starts[i] > off }) - 1
	if i < 0 {
		return -1, 0
	}
	length := s.runs[i].Length * int64(s.v.geo.ClusterSize)
	within := off - s.starts[i]
	if within >= length {
		return -1, 0
	}
	if s.runs[i].Hole() {
		return -1, length - within
	}
	return s.runs[i].LCN*int64(s.v.geo.ClusterSize) + within, length - within
}

// ReadAt implements io.ReaderAt over the content.
func (s *stream) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, corrupt("file content", -1, "read at %d", off)
	}
	done := 0
	for done < len(p) {
		at := off + int64(done)
		if at >= s.size {
			return done, io.EOF
		}
		n, err := s.readPiece(p[done:], at)
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func (s *stream) readPiece(p []byte, at int64) (int, error) {
	p = p[:min(int64(len(p)), s.size-at)]
	if s.value != nil {
		return copy(p, s.value[at:]), nil
	}
	if at >= s.valid {
		clear(p)
		return len(p), nil
	}
	p = p[:min(int64(len(p)), s.valid-at)]
	pos, n := s.locate(at)
	if n == 0 {
		return 0, corrupt("file content", -1, "no clusters behind byte %d of %d", at, s.size)
	}
	p = p[:min(int64(len(p)), n)]
	if pos < 0 {
		clear(p)
		return len(p), nil
	}
	return s.v.readFull(p, pos)
}
