package install

import (
	"bytes"
	"testing"

	"troy/image"
	"troy/image/publish"
)

// TestSlotTaken: the largest of the last versions counts, in whole blocks of a slot; the first one
// and those above the number do not.
func TestSlotTaken(t *testing.T) {
	const mib = 1 << 20
	src, disk := newSource(t)
	taken := func(version int) int64 {
		t.Helper()
		n, err := SlotTaken(t.Context(), src, "win", version)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := taken(1); n != 0 {
		t.Errorf("the first version took %d", n)
	}
	// Each version changes a page at the end of each of that many blocks.
	for i, blocks := range []int{9, 2, 5, 1, 3} {
		now := bytes.Clone(disk)
		for b := range blocks {
			copy(now[(b+1)*mib-4096:(b+1)*mib], bytes.Repeat([]byte{byte(i + 1), byte(b + 1)}, 2048))
		}
		child := publish.CompareDisk(&publish.Disk{Reader: bytes.NewReader(now), Size: size, SectorSize: 512, DataWriteGUID: "00000000-0000-4000-8000-00000000000" + string(rune('2'+i))},
			publish.VersionDisk(open(t, src)))
		if _, err := publish.Add(t.Context(), src.Store, "win", child, nil); err != nil {
			t.Fatal(err)
		}
		disk = now
	}
	for version, want := range map[int]int64{2: 9, 3: 9, 4: 9, 5: 9, 6: 5} { // four versions back at most
		if n := taken(version); n < want*mib || n > (want+1)*mib {
			t.Errorf("up to version %d: %d blocks, want %d", version, n/mib, want)
		}
	}
	runs := []image.Run{{Offset: 0, Length: 4096}, {Offset: 8192, Length: mib}, {Offset: 5 * mib, Length: 2 * mib, Zero: true}, {Offset: 7*mib - 4096, Length: 4096}}
	if n := payload(runs); n != 4*mib {
		t.Errorf("runs take %d blocks, want 4", n/mib)
	}
}

func open(t *testing.T, src image.Source) *image.VersionReader {
	t.Helper()
	v, err := image.OpenVersion(t.Context(), src, "win", 0)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
