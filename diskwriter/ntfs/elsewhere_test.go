package ntfs_test

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"troy/diskwriter/ntfs"
)

// compactOS makes a file what CompactOS makes of a program: a hole of its size, a reparse point
// (IO_REPARSE_TAG_WOF, provider "file", XPRESS4K), and the content in a stream.
func compactOS(path string, size int64) error {
	b := binary.LittleEndian.AppendUint32(nil, 0x80000017)
	b = binary.LittleEndian.AppendUint32(b, 16) // length, reserved
	for _, n := range []uint32{1, 2, 1, 0} {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	return errors.Join(os.WriteFile(path, nil, 0o644), os.Truncate(path, size), unix.Setxattr(path, "system.ntfs_reparse_data", b, 0))
}

// TestElsewhere: a file whose content lies elsewhere does not read as the zeros that stand in its
// place.
func TestElsewhere(t *testing.T) {
	m := newImage(t, 8*mib, 512, 4096)
	m.mounted(func(root string) error {
		return errors.Join(compactOS(filepath.Join(root, "winload.efi"), 100000), os.WriteFile(filepath.Join(root, "plain"), []byte("x"), 0o644))
	})
	v := m.open()
	if _, err := v.OpenFile(`\winload.efi`); !errors.Is(err, ntfs.ErrReparse) || !errors.Is(err, ntfs.ErrUnsupported) {
		t.Errorf("CompactOS: %v", err)
	}
	if _, err := v.OpenFile(`\plain`); err != nil {
		t.Error(err)
	}
}

// TestTooLarge: a volume that goes on behind its partition is told from a damaged one.
func TestTooLarge(t *testing.T) {
	m := newImage(t, 8*mib, 512, 4096)
	for size, want := range map[int64]error{8 * mib: nil, 8*mib - 4096: ntfs.ErrTooLarge, 4 * mib: ntfs.ErrTooLarge} {
		if _, err := ntfs.Open(m, size); !errors.Is(err, want) {
			t.Errorf("in %d bytes: %v, want %v", size, err, want)
		}
	}
	m.write([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 0x28)
	if _, err := ntfs.Open(m, 8*mib); !errors.Is(err, ntfs.ErrCorrupt) {
		t.Errorf("2^64 sectors: %v", err)
	}
}
