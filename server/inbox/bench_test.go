package inbox_test

import (
	"os"
	"path/filepath"
	"testing"

	"troy/image"
	"troy/image/capture"
	"troy/image/publish"
	"troy/internal/testing/goldenpc"
	"troy/internal/testing/imagetest"
	"troy/server/inbox"
)

// BenchmarkUpload sends a session of 64 MiB that does not compress, by TLS, to a disk that is
// flushed.
func BenchmarkUpload(b *testing.B) {
	golden, dir := newMachine(b), filepath.Join(b.TempDir(), "inbox")
	url, _ := serve(b, &inbox.Options{Dir: dir, Spare: -1}, orders{golden.key: "golden"})
	r := imagetest.Seeded(b, 1)
	now := make([]byte, 64<<20)
	imagetest.Fill(r, now)
	base, guid := goldenpc.Base(b, b.TempDir(), make([]byte, len(now)))
	store := imagetest.NewStore(b)
	m, err := publish.Import(b.Context(), store, "pc", (&imagetest.State{Data: make([]byte, len(now)), ID: guid}).Disk(nil), nil)
	must(b, err)
	v := goldenpc.VersionOf(b, store, m)
	chain := goldenpc.Open(b, goldenpc.Child(b, base, "boot.vhdx", now, []image.Range{{Length: int64(len(now))}}))
	s, err := capture.Open(b.Context(), chain, &v, imagetest.Filter{})
	must(b, err)
	b.SetBytes(int64(len(now)))
	for b.Loop() {
		must(b, os.RemoveAll(dir))
		sent, err := capture.Upload(b.Context(), golden, url, s, nil)
		must(b, err)
		if sent.Pieces != 64 {
			b.Fatalf("%d pieces were sent", sent.Pieces)
		}
	}
}
