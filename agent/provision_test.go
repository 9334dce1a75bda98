package agent

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"troy/diskwriter/pcdisk"
	"troy/image"
	"troy/image/publish"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/guid"
	"troy/server/protocol"
)

// TestProvisionSlots: on a disk that is too small for slots of the usual size they are made
// smaller; one that is too small for that as well is refused, and stays empty.
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

// TestNothingGrows: a version of a larger disk is refused on a machine that was prepared for a
// smaller one, though it may be written over; nothing is changed, and the machine goes on with what
// it has.
func TestNothingGrows(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	const image2, larger = "larger", testVirtual + 1<<20
	store, err := image.OpenStore(b.store)
	b.must(err)
	disk := bytes.Repeat([]byte("a disk that has grown "), larger/22+1)[:larger]
	_, err = publish.Import(t.Context(), store, image2, &publish.Disk{Reader: bytes.NewReader(disk), Size: larger, SectorSize: 512, DataWriteGUID: guid.New().String()}, nil)
	b.must(err)
	repo, err := sign.Open(b.store, nil)
	b.must(err)
	_, err = repo.SignAll(t.Context(), store, time.Now())
	b.must(err)
	b.run() // makes the machine's key
	b.sign(trust.Permit{Scope: trust.Reinstall, Key: b.key()})
	b.orders.Image, b.orders.Version, b.orders.Permits.Reinstall = image2, 1, true
	before := b.digest(pcdisk.Journal, pcdisk.Mailbox)
	b.run()
	says := fmt.Sprintf("larger version 1 is a disk of %d bytes, this machine was made for %d, and nothing grows in place", larger, testVirtual)
	if r := b.reports[len(b.reports)-1]; r.Outcome != protocol.OutcomeWaiting || !strings.Contains(r.Message, says) || r.Image != testImage || !b.handed {
		t.Errorf("handed over %t, %+v, want %q", b.handed, r, says)
	}
	if b.digest(pcdisk.Journal, pcdisk.Mailbox) != before {
		t.Error("the files were changed")
	}
}
