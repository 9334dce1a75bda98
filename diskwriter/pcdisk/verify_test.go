package pcdisk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/iotest"

	"troy/diskwriter/machine"
	"troy/internal/block"
	"troy/internal/testing/needs"
)

func TestCompare(t *testing.T) {
	const size = 3*comparePiece + 5000
	whole := bytes.Repeat([]byte("0123456789abcde\n"), size/16+1)[:size]
	change := func(offs ...int) []byte {
		b := bytes.Clone(whole)
		for _, off := range offs {
			b[off] ^= 1
		}
		return b
	}
	var many []int
	var first []Piece
	for i := range DifferentMost + 1 {
		many = append(many, i*8192)
		if i < DifferentMost {
			first = append(first, Piece{int64(i) * 8192, 4096})
		}
	}
	for name, c := range map[string]struct {
		have []byte
		want []Piece
		more bool
	}{
		"equal":                   {whole, nil, false},
		"first byte":              {change(0), []Piece{{0, 4096}}, false},
		"short page at the end":   {change(size - 1), []Piece{{size / 4096 * 4096, size % 4096}}, false},
		"two neighbours are one":  {change(4096, 8191, 8192), []Piece{{4096, 8192}}, false},
		"across the pieces":       {change(comparePiece-1, comparePiece), []Piece{{comparePiece - 4096, 8192}}, false},
		"more than can be listed": {change(many...), first, true},
	} {
		t.Run(name, func(t *testing.T) {
			var told counter
			got, err := Compare(t.Context(), bytes.NewReader(c.have), bytes.NewReader(whole), &told)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got.Different, c.want) || got.More != c.more {
				t.Errorf("different: %v, more: %v", got.Different, got.More)
			}
			if got.Bytes != size || got.SHA256 != sha256.Sum256(c.have) || told != size {
				t.Errorf("%d bytes, told %d, hash %x", got.Bytes, told, got.SHA256)
			}
		})
	}
}

func TestCompareFails(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	good := bytes.NewReader(make([]byte, 8192))
	bad := broken{good}
	for name, c := range map[string]struct {
		ctx        context.Context
		have, want Content
		err        error
	}{
		"another size":            {t.Context(), good, bytes.NewReader(make([]byte, 8191)), machine.ErrOtherSize},
		"the disk is broken":      {t.Context(), bad, nil, iotest.ErrTimeout},
		"the comparison is, too":  {t.Context(), good, bad, iotest.ErrTimeout},
		"a disk that ends before": {t.Context(), longer{good}, nil, io.ErrUnexpectedEOF},
		"stopped":                 {ended, good, nil, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := Compare(c.ctx, c.have, c.want, nil); got != nil || !errors.Is(err, c.err) {
				t.Errorf("got %v, %v, want %v", got, err, c.err)
			}
		})
	}
}

type broken struct{ Content }

func (broken) ReadAt([]byte, int64) (int, error) { return 0, fmt.Errorf("disk: %w", iotest.ErrTimeout) }

type longer struct{ Content }

func (s longer) Size() int64 { return s.Content.Size() + 1 }

// TestCheckChain: a disk as provisioning leaves it has nothing wrong, and a bit that turned in a
// file is found in that file.
func TestCheckChain(t *testing.T) {
	needs.Root(t)
	o := options(newMemory(t))
	path := oldDisk(t, int(DiskSize(o)))
	must(t, Provision(t.Context(), path, o))
	d, err := Look(path, nil)
	must(t, err)
	defer d.Close()
	_, _, err = d.Open()
	must(t, err)
	all, err := CheckChain(d.Files())
	must(t, err)
	var names []string
	for _, f := range all {
		names = append(names, f.Name)
		if len(f.Report.Findings) > 0 {
			t.Errorf("%s: %v", f.Name, f.Report.Findings)
		}
	}
	if !slices.Equal(names, []string{"boot.vhdx", "base.vhdx"}) {
		t.Errorf("files %q", names)
	}
	base := d.Files().Base
	header := make([]byte, 4096)
	must(t, block.ReadFull(base, header, 64<<10))
	header[100] ^= 1
	_, err = base.WriteAt(header, 64<<10)
	must(t, err)
	if all, err = CheckChain(d.Files()); err != nil || len(all) != 2 || len(all[0].Report.Findings) != 0 || len(all[1].Report.Findings) == 0 {
		t.Errorf("damaged: %+v, %v", all, err)
	}
}
