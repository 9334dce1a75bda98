package main

import (
	"slices"

	"troy/vhdx"
)

// openChain opens a disk and all its parents for reading.
func openChain(path string, parents *vhdx.Parents) (*vhdx.Chain, error) {
	return vhdx.OpenChain(path, &vhdx.ChainOptions{Parents: parents})
}

// noteChain tells of what was named in vain, and of logs that were left behind.
func (v *vhdxCall) noteChain(c *vhdx.Chain, parents *vhdx.Parents) {
	v.noteUnused(parents)
	for _, f := range c.Files() {
		if f.LogPending() {
			v.note("%s was not closed cleanly: its log was replayed in memory, the file is not touched", f.Path())
		}
	}
}

// noteUnused tells of parents that were named in vain.
func (v *vhdxCall) noteUnused(parents *vhdx.Parents) {
	for _, path := range parents.Named {
		if !slices.Contains(parents.Found(), path) {
			v.note("--parent %s is not in the chain and was not used", path)
		}
	}
}
