package pcdisk

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"troy/diskwriter/blockdev"
	"troy/internal/guid"
)

// A disk was cut off while it was being made: its ends are zeros but for the mark. Whatever somebody
// puts there since, without a partition table, is his: the old permission is void.
func TestMarkOnADiskUsedSince(t *testing.T) {
	const size = 64 * mib
	theirs := func(off int64, b string) func(string) { return func(p string) { poke(t, p, off, []byte(b)) } }
	for name, c := range map[string]struct {
		use  func(path string)
		ours bool
	}{
		"nothing":                 {func(string) {}, true},
		"LVM":                     {theirs(512, "LABELONE\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00LVM2 001"), false},
		"LVM's metadata":          {theirs(4608, "vg0 {\nid = \"xQ9x0P\"\nseqno = 2\n"), false},
		"swap":                    {func(p string) { tool(t, "mkswap", p) }, false},
		"RAID 1.2":                {theirs(4096, "\xfc\x4e\x2b\xa9\x01\x00\x00\x00"), false},
		"RAID 1.0":                {theirs(size-8192, "\xfc\x4e\x2b\xa9\x01\x00\x00\x00"), false},
		"ext":                     {theirs(1024, "\x00\x40\x00\x00"), false},
		"LUKS 2, second header":   {theirs(16384, "SKUL\xba\xbe"), false},
		"Btrfs":                   {theirs(65600, "_BHRfS_M"), false},
		"the last sector":         {theirs(size-512, "RAID"), false},
		"a GPT header of others":  {theirs(512, "EFI PART"+string(make([]byte, 48))+"sixteen bytes id"), false},
		"a partition of others":   {theirs(1024, string(blockdev.TypeESP[:])+"sixteen bytes id"), false},
		"one more than the three": {theirs(1024+3*128, string(blockdev.TypeESP[:])), false},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk")
			must(t, os.WriteFile(path, nil, 0o644))
			must(t, os.Truncate(path, size))
			dev := reopen(t, path, 512)
			m := &diskMark{Size: size, Disk: guid.New(), ESP: guid.New(), MSR: guid.New(), Data: guid.New()}
			must(t, m.put(dev))
			must(t, erase(dev, m))
			c.use(path)
			if got, err := unfinishedMark(dev); (got != nil) != c.ours || err != nil {
				t.Errorf("the mark counts: %v, want %v; %v", got != nil, c.ours, err)
			}
		})
	}
}

// markStays: the power went right before the mark was erased, and the machine was finished without
// it. The mark permits nothing any more.
func markStays(t *testing.T, path string, table *blockdev.Table) {
	t.Helper()
	dev := reopen(t, path, 512)
	p := table.Partitions
	m := &diskMark{Size: dev.Size(), Disk: table.DiskGUID, ESP: p[0].GUID, MSR: p[1].GUID, Data: p[2].GUID}
	must(t, m.put(dev))
	if got, err := unfinishedMark(dev); got != nil || err != nil {
		t.Errorf("the mark of a finished machine counts: %+v, %v", got, err)
	}
	if err := mayErase(dev, false); !errors.Is(err, ErrOccupied) {
		t.Errorf("it may be erased: %v", err)
	}
}
