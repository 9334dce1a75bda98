package agent

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/diskwriter/pcdisk"
	"troy/image"
	"troy/image/publish"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/server/protocol"
)

// newGrownBench has a third version, whose disk is larger than the one that the PC was made for,
// and orders it.
func newGrownBench(t *testing.T) (b *bench, raw string) {
	b = newBootBench(t, protocol.MergeNow)
	store, err := image.OpenStore(b.store)
	b.must(err)
	below, err := image.OpenVersion(t.Context(), store, testImage, 2)
	b.must(err)
	disk := append(b.read(b.v2), bytes.Repeat([]byte("a disk that has grown   "), 1<<20/24+1)[:1<<20]...)
	d := &publish.Disk{Reader: bytes.NewReader(disk), Size: int64(len(disk)), SectorSize: 512, DataWriteGUID: "33333333-0000-4000-8000-000000000000"}
	_, err = publish.Add(t.Context(), store, testImage, publish.CompareDisk(d, publish.VersionDisk(below)), nil)
	b.must(err)
	repo, err := sign.Open(b.store, nil)
	b.must(err)
	_, err = repo.SignAll(t.Context(), store, time.Now())
	b.must(err)
	raw = filepath.Join(b.dir, "v3.raw")
	b.must(os.WriteFile(raw, disk, 0o644))
	b.orders.Version = 3
	b.must(os.Truncate(b.disk, (&pcdisk.BareOptions{VirtualSize: int64(len(disk))}).Need()))
	b.run() // makes the machine's key
	return b, raw
}

// TestOutgrown: a PC that was made for a smaller disk waits, untouched, until the room may wipe and
// the admin signed for that PC; then it is made once more, and keeps its key.
func TestOutgrown(t *testing.T) {
	b, raw := newGrownBench(t)
	before := b.digest(pcdisk.Journal, pcdisk.Mailbox)
	says := fmt.Sprintf("plan: %s version 3 is a disk of %d bytes, this machine was made for %d", testImage, testVirtual+1<<20, testVirtual)[6:]
	waits := func(words ...string) {
		t.Helper()
		b.waits(b.run(), append(words, says)...)
		if r := b.reports[len(b.reports)-1]; r.Outcome != protocol.OutcomeWaiting || r.Version != 1 {
			t.Errorf("reports %+v", r)
		}
		if b.digest(pcdisk.Journal, pcdisk.Mailbox) != before {
			t.Error("the files were changed")
		}
		b.holds(b.v1)
	}
	waits("set `provision: {allow: true, wipe: true}`", "`troy permit wipe pc-01 --until DATE`")
	b.permit(trust.Permit{Scope: trust.Wipe})
	b.orders.Permits.Provision, b.orders.Permits.Reinstall = &protocol.Provision{}, true
	waits("set `provision: {allow: true, wipe: true}`")
	repo, err := sign.Open(b.store, nil)
	b.must(err)
	store, err := image.OpenStore(b.store)
	b.must(err)
	b.must(repo.Withdraw(t.Context(), store, func(trust.Permit) bool { return true }, time.Now()))
	b.permit(reinstalls)
	b.sign(trust.Permit{Scope: trust.Wipe, Key: strings.Repeat("ab", 32)})
	b.orders.Permits.Provision.Wipe = true
	says = "no signed permit"
	waits("`troy permit wipe pc-01 --until DATE`")

	key := b.key()
	b.permit(trust.Permit{Scope: trust.Wipe})
	b.orders.Version = 2 // the permit wipes nothing by itself
	b.good()
	b.holds(b.v2)
	b.orders.Version = 3
	b.good()
	b.holds(raw)
	if b.key() != key {
		t.Error("the machine has another key")
	}
	b.orders.Version = 2 // nothing shrinks, either
	b.permit(downgrade(2))
	b.stopped(b.run(), ExitUntouched, "have different sizes")
	b.holds(raw)
}

// countdown is a context that ends after so many looks at it.
type countdown struct {
	context.Context
	left int
}

// Err implements context.Context.
func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestOutgrownCut: cut off while its disk is made once more, the PC holds the old version, or goes
// on without another permit.
func TestOutgrownCut(t *testing.T) {
	b, raw := newGrownBench(t)
	b.orders.Permits.Provision = &protocol.Provision{Wipe: true}
	made, cuts := b.disk, 0
	again := func() {
		b.disk = filepath.Join(b.dir, "cut.img")
		b.tool(nil, "cp", "--sparse=always", made, b.disk)
	}
	const mib, page = 1 << 20, 4096 // where the mark lies, which is written first
	var mark []byte
	for at, cut := 0, true; cut; at = 2*at + 1 {
		again()
		tg, _, err := pcdisk.ProvisionBare(&countdown{t.Context(), at}, b.disk, &pcdisk.BareOptions{Image: testImage, Version: 3,
			Manifest: b.manifestOf(testImage, 3), VirtualSize: int64(len(b.read(raw))), Wipe: true, TempDir: b.dir})
		if cut = err != nil; cut {
			cuts++
			mark = b.read(b.disk)[mib-page : mib]
		} else {
			b.must(tg.Close())
		}
		b.good()
		b.holds(raw)
	}
	if cuts < 3 {
		t.Errorf("only %d cuts while the disk was made", cuts)
	}
	again()
	b.tool(bytes.NewReader(mark), "dd", "of="+b.disk, "bs=4096", "seek=255", "conv=notrunc", "status=none")
	b.waits(b.run(), "no signed permit")
	b.holds(b.v1)
}
