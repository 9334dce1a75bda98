package bootfiles

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"troy/chainload/secureboot"
	"troy/diskwriter/pcdisk"
	"troy/internal/testing/efiprogram"
)

const (
	mib       = 1 << 20
	diskSize  = 12 * mib
	windowsAt = 3 * mib // the volume with Windows, 4 MiB
)

// tool runs a program that has to succeed.
func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// program is a file of the size of an EFI program; the boot managers are signed.
func program(name string) []byte {
	r := rand.New(rand.NewPCG(uint64(len(name)), uint64(name[0])))
	switch filepath.Base(name) {
	case "bootmgfw.efi":
		return signed(secureboot.PCA2011)
	case "bootmgfw_EX.efi":
		return signed(secureboot.CA2023)
	}
	b := append([]byte("MZ"+name), make([]byte, 30000+r.IntN(90000))...)
	for i := len(b) / 2; i < len(b); i++ {
		b[i] = byte(r.Uint32())
	}
	return b
}

// signed is a boot manager, the same at each call.
var signed = func() func(ca string) []byte {
	made := map[string][]byte{}
	for _, ca := range []string{secureboot.PCA2011, secureboot.CA2023} {
		made[ca] = efiprogram.Make(efiprogram.Options{SVN: 2 << 16, CA: ca, Body: make([]byte, 40000)})
	}
	return func(ca string) []byte { return made[ca] }
}()

// firmware has Secure Boot on, db with some CAs, and dbx with others.
func firmware(db []string, dbx ...string) *secureboot.Firmware {
	cas := func(names []string) (all []secureboot.CA) {
		for _, name := range names {
			all = append(all, secureboot.CA{Name: name})
		}
		return all
	}
	return &secureboot.Firmware{On: true, CAs: cas(db), Revoked: cas(dbx)}
}

// windows is a tree of files as Windows has it, named from its root.
func windows(newer bool) map[string][]byte {
	files := map[string][]byte{}
	for _, name := range []string{
		`Windows/Boot/EFI/bootmgfw.efi`, `Windows/Boot/EFI/bootmgr.efi`, `Windows/Boot/EFI/memtest.efi`, `Windows/Boot/EFI/boot.stl`,
		`Windows/Boot/EFI/en-US/bootmgfw.efi.mui`, `Windows/Boot/EFI/en-US/memtest.efi.mui`, `Windows/Boot/EFI/de-DE/bootmgfw.efi.mui`,
		`Windows/Boot/Fonts/segoe_slboot.ttf`, `Windows/Boot/Fonts/chs_boot.ttf`,
		`Windows/Boot/Resources/bootres.dll`, `Windows/Boot/Resources/en-US/bootres.dll.mui`,
	} {
		files[name] = program(name)
	}
	files[`Windows/Boot/EFI/tiny.p7b`] = []byte("in the MFT record")
	files[`Windows/Boot/EFI/empty.p7b`] = nil
	files[`Windows/Boot/EFI/BCD`] = []byte("a store of somebody else")
	files[`Windows/Boot/PCAT/bootmgr`] = []byte("for BIOS machines")
	if newer {
		for _, name := range []string{`Windows/Boot/EFI_EX/bootmgfw_EX.efi`, `Windows/Boot/EFI_EX/bootmgr_EX.efi`,
			`Windows/Boot/EFI_EX/de-DE/bootmgfw_EX.efi.mui`, `Windows/Boot/Fonts_EX/chs_boot_EX.ttf`} {
			files[name] = program(name)
		}
	}
	return files
}

// espFiles is what has to stand on the ESP.
func espFiles(tree map[string][]byte, newer bool) map[string][]byte {
	want := map[string][]byte{}
	for name, b := range tree {
		rest := strings.TrimPrefix(name, `Windows/Boot/`)
		to, ok := strings.CutPrefix(rest, "EFI/")
		if !ok {
			to = rest
		}
		switch {
		case strings.HasSuffix(name, "/BCD"), strings.HasPrefix(rest, "PCAT"), strings.Contains(rest, "_EX"):
		default:
			want["EFI/Microsoft/Boot/"+to] = b
		}
	}
	if newer {
		want["EFI/Microsoft/Boot/bootmgfw.efi"] = tree[`Windows/Boot/EFI_EX/bootmgfw_EX.efi`]
		want["EFI/Microsoft/Boot/bootmgr.efi"] = tree[`Windows/Boot/EFI_EX/bootmgr_EX.efi`]
		want["EFI/Microsoft/Boot/de-DE/bootmgfw.efi.mui"] = tree[`Windows/Boot/EFI_EX/de-DE/bootmgfw_EX.efi.mui`]
		want["EFI/Microsoft/Boot/Fonts/chs_boot.ttf"] = tree[`Windows/Boot/Fonts_EX/chs_boot_EX.ttf`]
	}
	want["EFI/Boot/bootx64.efi"] = want["EFI/Microsoft/Boot/bootmgfw.efi"]
	return want
}

// newDisk makes a raw disk: a data volume without Windows, one with the tree (ntfs-3g writes it),
// and with twice another one.
func newDisk(t testing.TB, tree map[string][]byte, twice bool) []byte {
	t.Helper()
	return newDiskBy(t, func(disk string) {
		tool(t, "sgdisk", "-a", "8", "-n", "1:2048:+2M", "-n", "2:0:+4M", "-n", "3:0:+4M", "-t", "1:0700", "-t", "2:0700", "-t", "3:0700", disk)
	}, tree, twice)
}

// newDiskBy is newDisk with another table of the same partitions.
func newDiskBy(t testing.TB, partition func(disk string), tree map[string][]byte, twice bool) []byte {
	t.Helper()
	dir := t.TempDir()
	disk, volume := filepath.Join(dir, "disk"), filepath.Join(dir, "volume")
	must(t, os.WriteFile(disk, make([]byte, diskSize), 0o644))
	partition(disk)
	out, err := os.OpenFile(disk, os.O_RDWR, 0)
	must(t, err)
	defer out.Close()
	for i, p := range []struct{ off, size int64 }{{1 * mib, 2 * mib}, {windowsAt, 4 * mib}, {7 * mib, 4 * mib}} {
		must(t, os.WriteFile(volume, nil, 0o644))
		must(t, os.Truncate(volume, p.size))
		tool(t, "mkntfs", "-q", "-Q", "-F", "-s", "512", "-c", []string{"512", "4096", "1024"}[i], "-p", "0", "-H", "1", "-S", "1", volume)
		if i == 1 || i == 2 && twice {
			must(t, pcdisk.Mounted(t.Context(), volume, func(root string) error { return writeTree(root, tree) }))
		}
		b, err := os.ReadFile(volume)
		must(t, err)
		_, err = out.WriteAt(b, p.off)
		must(t, err)
	}
	b, err := os.ReadFile(disk)
	must(t, err)
	return b
}

func writeTree(root string, tree map[string][]byte) error {
	for name, b := range tree {
		at := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(at, b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// compareSet holds the files of a set against what is wanted.
func compareSet(t *testing.T, s *Set, want map[string][]byte) {
	t.Helper()
	have := map[string][]byte{}
	for _, f := range s.Files {
		have[f.Path] = f.Data
	}
	if err := same(have, want); err != nil {
		t.Error(err)
	}
}

func same(have, want map[string][]byte) error {
	var wrong []string
	for name, b := range want {
		if h, ok := have[name]; !ok || !bytes.Equal(h, b) {
			wrong = append(wrong, fmt.Sprintf("%s (there %t)", name, ok))
		}
	}
	for name := range have {
		if _, ok := want[name]; !ok {
			wrong = append(wrong, name+" should not be there")
		}
	}
	slices.Sort(wrong)
	if len(wrong) > 0 {
		return fmt.Errorf("wrong files: %s", strings.Join(wrong, "; "))
	}
	return nil
}

// patched is a disk with other bytes at one place.
type patched struct {
	io.ReaderAt
	off   int64
	bytes []byte
}

func (p patched) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.ReaderAt.ReadAt(b, off)
	from, to := max(off, p.off), min(off+int64(n), p.off+int64(len(p.bytes)))
	if from < to {
		copy(b[from-off:to-off], p.bytes[from-p.off:])
	}
	return n, err
}
