package source

import (
	"context"

	"troy/image/publish"
	"troy/vhdx"
)

// chain is a VHDX with its parents.
type chain struct{ path string }

// Kind implements Source.
func (chain) Kind() string { return "VHDX" }

// Open implements Source.
func (c chain) Open(_ context.Context, o *Options) (*Disk, error) {
	opened, err := vhdx.OpenChain(c.path, &vhdx.ChainOptions{Parents: o.Parents})
	if err != nil {
		return nil, err
	}
	d := &Disk{Disk: publish.ChainDisk(opened), Chain: opened}
	d.closers = append(d.closers, opened)
	return d, nil
}
