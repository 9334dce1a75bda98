package testdisk

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"strings"

	"troy/vhdx"
)

// fake is Windows, played by package vhdx.
type fake struct {
	refuse string // a leaf that it does not attach for writing, or at all
	always bool
	lose   string // a leaf whose writes it loses, with the log closed in order
	spoil  string // a leaf in which it writes a byte that nobody asked for
	err    error  // of a refusal; nil: errRefused
	slow   func() // called for each attached disk
	busy   map[string]bool
}

var errRefused = errors.New("the parent virtual hard disk does not fit (0xC03A000E)")

func (f *fake) is(leaf, which string) bool {
	return which != "" && strings.HasSuffix(filepath.ToSlash(leaf), which)
}

func (f *fake) Attach(leaf string, write bool) (Attached, error) {
	if f.slow != nil {
		f.slow()
	}
	if f.busy[leaf] {
		return nil, errors.New("the file is being used by another process")
	}
	if f.is(leaf, f.refuse) && (write || f.always) {
		return nil, cmp.Or(f.err, errRefused)
	}
	c, err := vhdx.OpenChain(leaf, &vhdx.ChainOptions{Writable: write, Parents: &vhdx.Parents{}})
	if err != nil {
		return nil, err
	}
	f.busy[leaf] = write
	return &fakeDisk{c, f, leaf, write}, nil
}

func (f *fake) Merge(leaf string) error { return mergeChain(context.Background(), leaf) }

func (f *fake) Size(leaf string) (int64, error) {
	c, err := vhdx.OpenChain(leaf, &vhdx.ChainOptions{Parents: &vhdx.Parents{}})
	if err != nil {
		return 0, err
	}
	return c.Size(), c.Close()
}

type fakeDisk struct {
	*vhdx.Chain
	f     *fake
	leaf  string
	write bool
}

func (d *fakeDisk) WriteAt(p []byte, off int64) (int, error) {
	if d.f.is(d.leaf, d.f.lose) {
		return len(p), nil
	}
	return d.Chain.WriteAt(p, off)
}

func (d *fakeDisk) Close() error {
	d.f.busy[d.leaf] = false
	if d.write && d.f.is(d.leaf, d.f.spoil) {
		if _, err := d.Chain.WriteAt(make([]byte, sector), d.Size()-2*unit); err != nil {
			return err
		}
	}
	return d.Chain.Close()
}

// none is a Windows without the API.
type none struct{}

func (none) Attach(string, bool) (Attached, error) { return nil, ErrNoAPI }
func (none) Merge(string) error                    { return ErrNoAPI }
func (none) Size(string) (int64, error)            { return 0, ErrNoAPI }
