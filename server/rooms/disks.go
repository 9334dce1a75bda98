package rooms

import (
	"troy/diskwriter/pcdisk"
	"troy/server/lab"
	"troy/server/protocol"
	"troy/server/state"
)

// diskFor is how many bytes the disk of a machine of a room needs at least for an image.
func diskFor(room *lab.Policy, s *Size) int64 {
	o := pcdisk.BareOptions{VirtualSize: s.Virtual, SlotBytes: room.Provision.Slot.Bytes(), DataSize: room.Provision.System.Bytes()}
	return o.Smaller(s.Taken).Need()
}

// tooSmall tells whether a machine cannot be provisioned for want of space, and takes its disk into
// the estimate.
func tooSmall(e *Estimate, m *state.Machine) bool {
	if m == nil {
		return false
	}
	size := diskOf(m.CheckIn.Disks)
	if size > 0 && (e.Smallest == 0 || size < e.Smallest) {
		e.Smallest = size
	}
	return size > 0 && size < e.Disk && bare(m.CheckIn.Disks)
}

// diskOf is the size of the disk that is Troy's, or else of the largest; 0 = none is known.
func diskOf(disks []protocol.Disk) (size int64) {
	for _, d := range disks {
		if d.Troy {
			return d.Size
		}
		size = max(size, d.Size)
	}
	return size
}
