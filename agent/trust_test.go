package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"troy/diskwriter/pcdisk"
	"troy/image"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/server/protocol"
)

// A first server that is gone, and a mirror with a damaged pack: the next one is asked, nothing
// wrong is written.
func TestMirrors(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	bad := filepath.Join(b.dir, "bad")
	b.must(os.CopyFS(bad, os.DirFS(b.store)))
	b.mirrors = []string{"https://127.0.0.1:1", b.serve(bad)}
	good := b.store
	b.store = bad
	b.damage(".pack")
	b.store = good
	if code := b.run(); code != ExitDone || !b.handed {
		t.Fatalf("exit code %d, handed over %t", code, b.handed)
	}
	b.holds(b.v2)
}

func TestMediaWithoutRoot(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.must(os.Remove(filepath.Join(b.media, "root.json")))
	before := b.digest(pcdisk.Journal, pcdisk.Mailbox)
	b.stopped(b.run(), ExitUntouched, "carry no root of a store")
	if b.digest(pcdisk.Journal, pcdisk.Mailbox) != before {
		t.Error("the disk was written to")
	}
}

// forgedStore is a copy of the store that another party signed.
func (b *bench) forgedStore() string {
	b.t.Helper()
	forged := filepath.Join(b.dir, "forged")
	b.must(os.CopyFS(forged, os.DirFS(b.store)))
	for _, dir := range []string{"metadata", "keys"} {
		b.must(os.RemoveAll(filepath.Join(forged, dir)))
	}
	store, err := image.OpenStore(forged)
	b.must(err)
	repo, err := sign.Init(forged, time.Now(), nil)
	b.must(err)
	_, err = repo.SignAll(b.t.Context(), store, time.Now())
	b.must(err)
	return forged
}

// A store that another party signed, or that was changed after it was signed, gives nothing.
func TestForgedStore(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.url = b.serve(b.forgedStore())
	before := b.digest(pcdisk.Journal, pcdisk.Mailbox)
	b.stopped(b.run(), ExitUntouched, "trust")
	if b.digest(pcdisk.Journal, pcdisk.Mailbox) != before {
		t.Error("the disk was written to")
	}
}

// What the machine once trusted it remembers: an older state of the store is refused, although it
// is signed.
func TestOldMetadata(t *testing.T) {
	b := newBench(t, protocol.MergeLazy)
	old := filepath.Join(b.dir, "old")
	b.must(os.CopyFS(old, os.DirFS(b.store)))
	b.sign(trust.Permit{Scope: trust.Clear, Disk: "S1234567"})
	if code := b.run(); code != ExitDone {
		t.Fatalf("exit code %d", code)
	}
	b.orders.Version = 1
	b.url = b.serve(old)
	b.stopped(b.run(), ExitUntouched, "older")
}

// The server names the manifest of the version that it wants: another version of that number is not
// taken.
func TestOtherManifest(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	b.manifest = strings.Repeat("ab", protocol.HashSize/2)
	before := b.digest(pcdisk.Journal, pcdisk.Mailbox)
	b.stopped(b.run(), ExitUntouched, "version 2 of "+testImage, "abab")
	if b.digest(pcdisk.Journal, pcdisk.Mailbox) != before {
		t.Error("the disk was written to")
	}
	store, err := image.OpenStore(b.store)
	b.must(err)
	index, err := image.LoadIndex(t.Context(), store, testImage)
	b.must(err)
	b.manifest = index.Versions[1].Manifest.SHA256.String()
	if code := b.run(); code != ExitDone {
		t.Fatalf("exit code %d", code)
	}
	b.holds(b.v2)
}
