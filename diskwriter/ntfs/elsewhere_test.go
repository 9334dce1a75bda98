package ntfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"troy/diskwriter/ntfs"
	"troy/internal/testing/fixture"
)

// TestElsewhere: a file whose content lies elsewhere does not read as the zeros that stand in its
// place.
func TestElsewhere(t *testing.T) {
	m := newImage(t, 8*mib, 512, 4096)
	m.mounted(func(root string) error {
		return errors.Join(fixture.CompactOS(filepath.Join(root, "winload.efi"), 100000), os.WriteFile(filepath.Join(root, "plain"), []byte("x"), 0o644))
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
