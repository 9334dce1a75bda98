package agent

import (
	"os"
	"strings"
	"testing"

	"troy/diskwriter/pcdisk"
	"troy/server/protocol"
)

// TestProvisionSlots: on a disk that is too small for slots of the usual size they are made smaller;
// one that is too small for that as well is refused, and stays empty.
func TestProvisionSlots(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.orders.Version = 1 // no version before it tells how much one changes
	usual := pcdisk.BareOptions{VirtualSize: testVirtual}
	least := usual.Smaller(0).Need()
	b.orders.Permits.Provision = &protocol.Provision{}
	for _, c := range []struct {
		size         int64
		says, silent string
	}{
		{usual.Need(), "boot files: ", "the disk is small"},
		{usual.Need() - 1, "the disk is small: each slot takes", "are needed"},
		{least, "the disk is small: each slot takes", "are needed"},
		{least - 1, "are needed", "boot files: "},
	} {
		b.must(os.WriteFile(b.disk, nil, 0o644))
		b.must(os.Truncate(b.disk, c.size))
		b.run() // ends at the boot files, which the image does not have: nothing is written
		if out := b.out.String(); !strings.Contains(out, c.says) || strings.Contains(out, c.silent) {
			t.Errorf("disk of %d bytes (%d are the least, %d the usual): want %q\n%s", c.size, least, usual.Need(), c.says, out)
		}
	}
}
