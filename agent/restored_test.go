package agent

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"troy/diskwriter/pcdisk"
	"troy/image"
	"troy/image/publish"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/server/protocol"
	"troy/server/rooms"
	"troy/server/signing"
)

// addVersion3 publishes and signs a version that differs from the second in its first bytes.
func (b *bench) addVersion3() (raw string) {
	b.t.Helper()
	store, err := image.OpenStore(b.store)
	b.must(err)
	below, err := image.OpenVersion(b.t.Context(), store, testImage, 2)
	b.must(err)
	disk, err := os.ReadFile(b.v2)
	b.must(err)
	copy(disk[1<<20:], bytes.Repeat([]byte("third"), 20_000))
	d := publish.VersionDisk(below)
	d.Reader, d.Data, d.DataWriteGUID = bytes.NewReader(disk), nil, "33333333-0000-4000-8000-000000000000"
	_, err = publish.Add(b.t.Context(), store, testImage, publish.CompareDisk(d, publish.VersionDisk(below)), nil)
	b.must(err)
	repo, err := sign.Open(b.store, nil)
	b.must(err)
	_, err = repo.SignAll(b.t.Context(), store, time.Now())
	b.must(err)
	raw = filepath.Join(b.dir, "v3.raw")
	b.must(os.WriteFile(raw, disk, 0o644))
	return raw
}

// TestRestoredFromBackup: the store is restored from last week's backup, and three PCs have seen what
// was signed since. They refuse it and start what they have; when it is signed above the numbers
// that they tell, they go on by themselves.
func TestRestoredFromBackup(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	v3 := b.addVersion3()
	backup := filepath.Join(b.dir, "backup")
	b.must(os.CopyFS(backup, os.DirFS(b.store)))
	pcs, told := []string{b.disk}, make([]rooms.Host, 3)
	for i := 1; i < len(told); i++ {
		pcs = append(pcs, filepath.Join(b.dir, fmt.Sprintf("pc%d.img", i)))
		if out, err := exec.Command("cp", "--sparse=always", b.disk, pcs[i]).CombinedOutput(); err != nil {
			t.Fatalf("cp: %v: %s", err, out)
		}
	}
	for _, b.disk = range pcs { // the week: each has seen more than the one before
		b.sign(trust.Permit{Scope: trust.Clear, Disk: "S12345" + filepath.Base(b.disk)})
		if code := b.run(); code != ExitDone {
			t.Fatalf("exit code %d", code)
		}
	}
	b.must(os.RemoveAll(b.store))
	b.must(os.CopyFS(b.store, os.DirFS(backup)))
	b.url = b.serve(b.store)
	b.orders.Version = 3
	for i, disk := range pcs {
		b.disk = disk
		before := b.digest(pcdisk.Journal, pcdisk.Mailbox)
		b.stopped(b.run(), ExitUntouched, "older")
		if b.digest(pcdisk.Journal, pcdisk.Mailbox) != before {
			t.Errorf("the disk of PC %d was written to", i)
		}
		if r := b.reports[len(b.reports)-1]; r.Outcome != protocol.OutcomeFailed || !r.Refused {
			t.Errorf("PC %d reports %+v: the version is blamed", i, r)
		}
		told[i] = rooms.Host{Name: fmt.Sprint("PC ", i), Keyed: true, Trusted: b.checkIn.Trusted}
	}
	store, err := image.OpenStore(b.store)
	b.must(err)
	repo, err := sign.Open(b.store, nil)
	b.must(err)
	have, err := repo.Numbers()
	b.must(err)
	all := signing.Compare(told, have)
	if all.Machines != len(pcs) || all.Highest.Timestamp != have.Timestamp+3 || all.Highest.Images[testImage] != 2 {
		t.Errorf("of %+v the PCs tell %+v", have, all)
	}
	b.must(repo.Continue(t.Context(), store, time.Now(), all.Highest, func(ctx context.Context, name string, newest int) error {
		return publish.Reserve(ctx, store, name, newest)
	}))
	for _, b.disk = range pcs {
		if code := b.run(); code != ExitDone {
			t.Errorf("exit code %d", code)
		}
		b.holds(v3)
	}
}
