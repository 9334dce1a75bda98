package block

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"
	"unsafe"
)

// failing is a source whose reads fail with err after n bytes.
type failing struct {
	n   int
	err error
}

func (f failing) ReadAt(p []byte, _ int64) (int, error) { return min(f.n, len(p)), f.err }

func TestReadFull(t *testing.T) {
	for name, c := range map[string]struct {
		r    io.ReaderAt
		off  int64
		want error
	}{
		"whole":           {bytes.NewReader([]byte("abcdef")), 0, nil},
		"to the end":      {bytes.NewReader([]byte("abcdef")), 2, nil},
		"over the end":    {bytes.NewReader([]byte("abcdef")), 3, io.ErrUnexpectedEOF},
		"behind the end":  {bytes.NewReader([]byte("abcdef")), 9, io.ErrUnexpectedEOF},
		"short, no error": {failing{3, nil}, 0, io.ErrUnexpectedEOF},
		"whole with EOF":  {failing{4, io.EOF}, 0, nil},
		"error":           {failing{0, iotest.ErrTimeout}, 0, iotest.ErrTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			if err := ReadFull(c.r, make([]byte, 4), c.off); !errors.Is(err, c.want) {
				t.Errorf("ReadFull = %v, want %v", err, c.want)
			}
		})
	}
}

func TestRoundUp(t *testing.T) {
	for _, c := range [][3]int64{{0, 4096, 0}, {1, 4096, 4096}, {4096, 4096, 4096}, {4097, 4096, 8192}, {7, 3, 9}} {
		t.Run(fmt.Sprintf("%d to %d", c[0], c[1]), func(t *testing.T) {
			if got := RoundUp(c[0], c[1]); got != c[2] {
				t.Errorf("RoundUp(%d, %d) = %d, want %d", c[0], c[1], got, c[2])
			}
		})
	}
}

func TestPad(t *testing.T) {
	for in, want := range map[string]string{"": "", "a": "a\x00\x00\x00", "abcd": "abcd", "abcde": "abcde\x00\x00\x00"} {
		if got := Pad([]byte(in), 4); string(got) != want {
			t.Errorf("Pad(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestIsZero(t *testing.T) {
	for _, n := range []int{0, 1, 511, 4096, 16<<10 - 1, 16 << 10, 16<<10 + 1, 100000} {
		t.Run(fmt.Sprintf("%d bytes", n), func(t *testing.T) {
			p := make([]byte, n)
			if !IsZero(p) {
				t.Errorf("IsZero of %d zeros is false", n)
			}
			for _, at := range []int{0, n / 2, n - 1} {
				if at < 0 || at >= n {
					continue
				}
				p[at] = 1
				if IsZero(p) {
					t.Errorf("IsZero of %d bytes with a one at %d is true", n, at)
				}
				p[at] = 0
			}
		})
	}
}

func TestAligned(t *testing.T) {
	for _, n := range []int{0, 1, 512, 4096, 1 << 20} {
		t.Run(fmt.Sprintf("%d bytes", n), func(t *testing.T) {
			b := Aligned(n)
			if len(b) != n || cap(b) != n || !IsZero(b) {
				t.Errorf("Aligned(%d): %d bytes, room for %d", n, len(b), cap(b))
			}
			if at := uintptr(unsafe.Pointer(unsafe.SliceData(b))); n > 0 && at%4096 != 0 {
				t.Errorf("Aligned(%d) is at %#x", n, at)
			}
		})
	}
}
