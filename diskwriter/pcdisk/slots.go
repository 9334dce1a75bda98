package pcdisk

import (
	"troy/diskwriter/machine"
	"troy/internal/block"
)

// Parts of the virtual disk that a slot takes: by default, and at least where a disk is too small
// for that and no past version tells more.
const (
	defaultSlotPart = 4
	leastSlotPart   = 40
)

func defaultSlot(virtual int64) int64 { return max(virtual/defaultSlotPart, machine.SlotBlockSize) }

// LeastSlot is the least payload in bytes that provisioning gives a slot, where the past versions
// of the image took that much at most (0: there are none). A quarter is added to it: the next one
// may be larger.
func LeastSlot(virtual, taken int64) int64 {
	least := block.RoundUp(max(virtual/leastSlotPart, taken+taken/4, machine.SlotBlockSize), machine.SlotBlockSize)
	return min(least, defaultSlot(virtual))
}

// Smaller returns the options with slots of LeastSlot bytes, if it was left to this package how
// large they are.
func (o *BareOptions) Smaller(taken int64) *BareOptions {
	c := *o
	if c.SlotBytes == 0 {
		c.SlotBytes = LeastSlot(c.VirtualSize, taken)
	}
	return &c
}

// Grow makes the slots larger, by what a disk of size bytes has to spare, up to the default.
func (o *BareOptions) Grow(size int64) {
	if o.SlotBytes == 0 {
		return
	}
	spare := (size - o.Need()) / 2 / machine.SlotBlockSize * machine.SlotBlockSize
	o.SlotBytes = max(o.SlotBytes, min(o.SlotBytes+spare, defaultSlot(o.VirtualSize)))
}
