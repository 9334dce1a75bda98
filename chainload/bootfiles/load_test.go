package bootfiles

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"troy/chainload/secureboot"
	"troy/diskwriter/blockdev"
	"troy/diskwriter/ntfs"
	"troy/internal/testing/needs"
	"troy/vhdx"
)

func TestLoad(t *testing.T) {
	needs.Root(t)
	const pca, ca = secureboot.PCA2011, secureboot.CA2023
	both, off := firmware([]string{pca, ca}), firmware([]string{pca, ca})
	off.On = false
	revoked := firmware([]string{pca, ca}, pca)
	old, none := windows(false), windows(true)
	delete(none, `Windows/Boot/EFI/bootmgfw.efi`)
	noEX, withEX := newDisk(t, old, false), newDisk(t, windows(true), false)
	mbr := newDiskBy(t, func(disk string) {
		cmd := exec.Command("sfdisk", "-q", disk)
		cmd.Stdin = strings.NewReader("label: dos\nstart=2048,size=4096,type=7,bootable\nstart=6144,size=8192,type=7\nstart=14336,size=8192,type=7\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("sfdisk: %v: %s", err, out)
		}
	}, windows(true), false)
	for name, c := range map[string]struct {
		disk     []byte
		firmware *secureboot.Firmware
		newer    bool
		starts   error
		err      error
	}{
		"off":               {withEX, &secureboot.Firmware{}, false, nil, nil},
		"both":              {withEX, both, true, nil, nil},
		"off, knows 2023":   {withEX, off, true, nil, nil},
		"2011 only":         {withEX, firmware([]string{pca}), false, nil, nil},
		"2023 only":         {withEX, firmware([]string{ca}), true, nil, nil},
		"2011 revoked":      {withEX, revoked, true, nil, nil},
		"old image":         {noEX, both, false, nil, nil},
		"old image revoked": {noEX, revoked, false, ErrNotTrusted, nil},
		"old image, 2023":   {noEX, firmware([]string{ca}), false, ErrNotTrusted, nil},
		"foreign keys":      {withEX, firmware(nil), false, ErrNotTrusted, nil},
		"revoked":           {withEX, firmware([]string{pca}, pca), false, ErrNotTrusted, nil},
		"SVN":               {withEX, svn(both, 2), true, nil, nil},
		"SVN too low":       {withEX, svn(both, 7), false, ErrNotTrusted, nil},
		"two":               {newDisk(t, old, true), both, false, nil, ErrManyWindows},
		"missing":           {newDisk(t, none, false), both, false, nil, ErrMissing},
		"MBR":               {mbr, both, true, nil, nil},
		"empty":             {make([]byte, diskSize), both, false, nil, blockdev.ErrNoTable},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Load(bytes.NewReader(c.disk), diskSize, 512, c.firmware)
			if !errors.Is(err, c.err) {
				t.Errorf("%v, want %v", err, c.err)
			}
			if c.err != nil || err != nil {
				return
			}
			if err := s.Starts(); !errors.Is(err, c.starts) {
				t.Errorf("it starts: %v, want %v", err, c.starts)
			}
			if s.ca2023 != c.newer || s.partition != 2 {
				t.Errorf("CA 2023 %t, partition %d", s.ca2023, s.partition)
			}
			tree := windows(true)
			if bytes.Equal(c.disk, noEX) {
				tree = old
			}
			compareSet(t, s, espFiles(tree, c.newer))
		})
	}
}

// svn is the firmware with a least security version in dbx.
func svn(f *secureboot.Firmware, major secureboot.SVN) *secureboot.Firmware {
	c := *f
	c.SVN = major << 16
	return &c
}

// TestLoadChain reads through a differencing VHDX.
func TestLoadChain(t *testing.T) {
	needs.Root(t)
	tree := windows(false)
	disk := newDisk(t, tree, false)
	dir := t.TempDir()
	base, err := vhdx.Create(filepath.Join(dir, "base.vhdx"), &vhdx.CreateOptions{Size: diskSize, BlockSize: mib})
	must(t, err)
	child, err := vhdx.Create(filepath.Join(dir, "child.vhdx"), &vhdx.CreateOptions{Kind: vhdx.Differencing, Parent: base, ParentPath: `.\base.vhdx`})
	must(t, err)
	below, err := vhdx.NewChain(base)
	must(t, err)
	chain, err := vhdx.NewChain(child, base)
	must(t, err)
	for off := int64(0); off < diskSize; off += 64 << 10 { // the child holds some, the base the rest
		to := below
		if rand.IntN(2) == 0 {
			to = chain
		}
		_, err := to.WriteAt(disk[off:off+64<<10], off)
		must(t, err)
		if to == chain {
			_, err = below.WriteAt(bytes.Repeat([]byte("wrong"), 64<<10)[:64<<10], off)
			must(t, err)
		}
	}
	s, err := Load(chain, chain.Size(), 512, &secureboot.Firmware{})
	must(t, err)
	compareSet(t, s, espFiles(tree, false))
	must(t, errors.Join(chain.Close(), os.RemoveAll(dir)))
}

// What is no program, or reads as zeros because Windows keeps the content elsewhere, is named.
func TestLoadRefuses(t *testing.T) {
	needs.Root(t)
	for name, c := range map[string]struct {
		file string
		data []byte
		err  error
	}{
		"no program": {`Windows/Boot/EFI/bootmgfw.efi`, []byte("this is text"), ErrMissing},
		"CompactOS":  {`Windows/Boot/Fonts/chs_boot.ttf`, make([]byte, 100000), ErrCompressed},
		"large":      {`Windows/Boot/EFI/huge.efi`, nil, ErrTooLarge},
		"deep":       {`Windows/Boot/EFI/a/b/c/d/e/f`, []byte("x"), ErrTooLarge},
		"name":       {`Windows/Boot/EFI/..\..\..\x`, []byte("x"), ErrName},
	} {
		tree := windows(false)
		tree[c.file] = c.data
		disk := newDisk(t, tree, false)
		if name == "large" {
			disk = grow(t, disk, c.file)
		}
		s, err := Load(bytes.NewReader(disk), diskSize, 512, &secureboot.Firmware{})
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", name, err, c.err)
		}
		if s != nil {
			t.Errorf("%s: %d files came with the error", name, len(s.Files))
		}
	}
}

// grow makes a file of the volume sparse and larger than is believed.
func grow(t *testing.T, disk []byte, file string) []byte {
	t.Helper()
	volume := filepath.Join(t.TempDir(), "volume")
	must(t, os.WriteFile(volume, disk[windowsAt:windowsAt+4*mib], 0o644))
	must(t, mounted(t, volume, func(root string) error { return os.Truncate(filepath.Join(root, file), maxFile+1) }))
	b, err := os.ReadFile(volume)
	must(t, err)
	return append(append(bytes.Clone(disk[:windowsAt]), b...), disk[windowsAt+4*mib:]...)
}

// FuzzLoad changes bytes of a disk: whatever comes, it is an error or a set within its bounds.
func FuzzLoad(f *testing.F) {
	needs.Root(f)
	disk := newDisk(f, windows(true), false)
	v, err := ntfs.Open(io.NewSectionReader(bytes.NewReader(disk), windowsAt, 4*mib), 4*mib)
	must(f, err)
	mft := windowsAt + v.Geometry().MFT*int64(v.Geometry().ClusterSize)
	for _, off := range []int64{512, 1024, windowsAt, mft, mft + 5*1024, mft + 30*1024, mft + 64*1024 + 100} {
		f.Add(off, disk[off:off+16])
		f.Add(off, []byte{0xff, 0xff, 0xff, 0x7f})
	}
	f.Fuzz(func(t *testing.T, off int64, b []byte) {
		if off < 0 || off > diskSize {
			return
		}
		s, err := Load(patched{bytes.NewReader(disk), off, b}, diskSize, 512, firmware([]string{secureboot.CA2023}))
		if (s == nil) == (err == nil) {
			t.Fatalf("%v, %v", s, err)
		}
		if err != nil {
			return
		}
		total := 0
		for _, f := range s.Files {
			total += len(f.Data)
		}
		if total > 2*maxTotal || len(s.Files) > maxFiles+1 {
			t.Fatalf("%d bytes in %d files", total, len(s.Files))
		}
	})
}
