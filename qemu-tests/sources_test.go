package qemutests

import (
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"troy/internal/testing/testlab"
)

// Images that other programs made, each from its import to a PC with an empty disk that is handed
// over to it: the files are those of the disk that the program was given.
func TestSources(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1; package image/source reads each format without a machine")
		return
	}
	const volume = "volume" // the format is of the volume alone
	for name, c := range map[string]struct {
		from string   // gpt, mbr or volume
		make []string // the command, before its source and its result
	}{
		"mbr":       {from: "mbr"},
		"qcow2":     {"gpt", []string{"qemu-img", "convert", "-O", "qcow2", "-c"}},
		"vmdk":      {"gpt", []string{"qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized"}},
		"vdi":       {"gpt", []string{"qemu-img", "convert", "-O", "vdi"}},
		"vhd":       {"mbr", []string{"qemu-img", "convert", "-O", "vpc", "-o", "force_size=on"}},
		"partclone": {volume, []string{"partclone.ntfs", "-c", "-L", os.DevNull, "-f", "0"}},
	} {
		t.Run(name, func(t *testing.T) {
			disk, err := room.BareDisk(t.Context(), t.TempDir(), 7)
			if err != nil {
				t.Fatal(err)
			}
			want := volumeFiles(t, disk)
			switch c.from {
			case "mbr":
				withMBR(t, disk)
			case volume:
				disk = cutVolume(t, disk)
			}
			file := disk
			if c.make != nil {
				file = disk + "." + name
				args := append(c.make[1:], disk, file)
				if c.from == volume {
					args = append(c.make[1:], "-s", disk, "-O", file)
				}
				command(t, "", c.make[0], args...)
			}
			raw, err := room.PublishFile(t.Context(), "from-"+name, file)
			if err != nil {
				t.Fatal(err)
			}
			if have := volumeFiles(t, raw); len(want) < 20 || !maps.Equal(have, want) {
				t.Errorf("what was imported has %d files, or others than the %d of the disk", len(have), len(want))
			}
			provisioned(t, "from-"+name, raw)
		})
	}
}

// withMBR replaces the GPT of a disk with one partition by an MBR.
func withMBR(t *testing.T, disk string) {
	t.Helper()
	part, err := testlab.OnlyVolume(disk)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	for _, off := range []int64{0, size - 1<<20} {
		if _, err := f.WriteAt(make([]byte, 1<<20), off); err != nil {
			t.Fatal(err)
		}
	}
	command(t, fmt.Sprintf("label: dos\nstart=%d,size=%d,type=7,bootable\n", part.Start/512, part.Size/512), "sfdisk", "-q", disk)
}

func command(t *testing.T, in, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = strings.NewReader(in)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// volumeFiles hashes the files on the volume of a raw disk.
func volumeFiles(t *testing.T, disk string) map[string][sha256.Size]byte {
	t.Helper()
	files, err := testlab.VolumeFiles(t.Context(), cutVolume(t, disk))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// cutVolume copies the volume of a disk into a file of its own.
func cutVolume(t *testing.T, disk string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "volume")
	if err := testlab.CutOnlyVolume(t.Context(), disk, file); err != nil {
		t.Fatal(err)
	}
	return file
}
