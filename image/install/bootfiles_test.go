package install

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"troy/chainload/bcd"
	"troy/diskwriter/blockdev"
	"troy/internal/guid"
)

// TestBootStore: the store names the partitions of the table.
func TestBootStore(t *testing.T) {
	table := &blockdev.Table{DiskGUID: guid.New(), Partitions: []blockdev.Entry{
		{Number: 1, Type: blockdev.TypeESP, GUID: guid.New()}, {Number: 2, Type: blockdev.TypeBasicData, GUID: guid.New()}}}
	f, err := BootStore(table)
	if err != nil || f.Path != "EFI/Microsoft/Boot/BCD" {
		t.Fatalf("%q, %v", f.Path, err)
	}
	s, err := bcd.Parse(f.Data)
	if err != nil {
		t.Fatal(err)
	}
	right := bcd.VHD{Disk: table.DiskGUID, Partition: table.Partitions[1].GUID, Path: bcd.DefaultPath}
	if err := s.Names(right); err != nil {
		t.Error(err)
	}
	wrong := right
	wrong.Partition = guid.New()
	if s.Names(wrong) == nil {
		t.Error("it names any partition")
	}
}

func TestBootFolder(t *testing.T) {
	for name, c := range map[string]struct {
		there   []string
		want    int
		manager bool
	}{
		"with a manager":        {[]string{"EFI/Microsoft/Boot/bootmgfw.efi", "EFI/Boot/bootx64.efi"}, 2, true},
		"in small letters":      {[]string{"efi/microsoft/boot/BOOTMGFW.EFI"}, 1, true},
		"without a manager":     {[]string{"EFI/Microsoft/Boot/memtest.efi"}, 1, false},
		"a store is left there": {[]string{"EFI/Microsoft/Boot/BCD", "efi/microsoft/boot/bcd.LOG1", "EFI/Microsoft/Boot/bootmgfw.efi"}, 1, true},
		"nothing":               {nil, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range c.there {
				path := filepath.Join(dir, name)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(name), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			files, manager, err := BootFolder(dir)
			if err != nil || len(files) != c.want || manager != c.manager {
				t.Errorf("%d files, manager %v, %v", len(files), manager, err)
			}
			for _, f := range files {
				if string(f.Data) != f.Path {
					t.Errorf("%s holds %q", f.Path, f.Data)
				}
			}
		})
	}
	if _, _, err := BootFolder(filepath.Join(t.TempDir(), "x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}
