package source_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"troy/image/source"
	"troy/internal/testing/vhdfile"
	"troy/vhdx"
)

const (
	volumeLen = 24 * mib
	diskLen   = 26 * mib
)

// smallVolume is an NTFS volume with a file of random bytes.
func smallVolume(t *testing.T, sector string) string {
	t.Helper()
	dir := t.TempDir()
	path := sparse(t, filepath.Join(dir, "volume"), volumeLen)
	program(t, "mkntfs", "-q", "-Q", "-F", "-s", sector, "-c", "4096", "-p", "2048", "-H", "255", "-S", "63", path)
	b := make([]byte, 3*mib)
	rand.NewChaCha8([32]byte{1}).Read(b)
	must(t, os.WriteFile(filepath.Join(dir, "file"), b, 0o644))
	program(t, "ntfscp", "-q", path, filepath.Join(dir, "file"), "/file.bin")
	return path
}

// smallDisk is a raw disk with that volume, by sgdisk.
func smallDisk(t *testing.T, volume string) string {
	t.Helper()
	path := sparse(t, filepath.Join(t.TempDir(), "disk.raw"), diskLen)
	program(t, "sgdisk", "-n", "1:2048:+24M", "-t", "1:0700", path)
	program(t, "dd", "if="+volume, "of="+path, "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none")
	return path
}

func sum(t *testing.T, r io.Reader) [32]byte {
	t.Helper()
	h := sha256.New()
	_, err := io.Copy(h, r)
	must(t, err)
	return [32]byte(h.Sum(nil))
}

func sumFile(t *testing.T, path string) [32]byte {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	return sum(t, f)
}

// TestDisks: whatever the format, the bytes of the disk are those of the raw one.
func TestDisks(t *testing.T) {
	t.Parallel()
	raw := smallDisk(t, smallVolume(t, "512"))
	want := sumFile(t, raw)
	dir := t.TempDir()
	convert := func(name string, args ...string) string {
		p := filepath.Join(dir, name)
		program(t, "qemu-img", append([]string{"convert", "-f", "raw", raw, p}, args...)...)
		return p
	}
	base := filepath.Join(dir, "base.vhd")
	content, err := os.ReadFile(raw)
	must(t, err)
	old := bytes.Clone(content)
	copy(old[4*mib:], bytes.Repeat([]byte{0xdb}, 3*mib))
	must(t, vhdfile.WriteFixed(base, old))
	middle, child := filepath.Join(dir, "middle.avhd"), filepath.Join(dir, "child.vhd")
	half := bytes.Clone(old)
	copy(half[4*mib:5*mib], content[4*mib:])
	must(t, vhdfile.WriteChild(middle, half, old, base))
	must(t, vhdfile.WriteChild(child, content, half, middle))
	comma := filepath.Join(dir, "a,b:c.qcow2")
	must(t, os.Link(convert("d.qcow2", "-O", "qcow2"), comma))

	for _, c := range []struct{ kind, path string }{
		{"raw disk", raw},
		{"VHDX", convert("d.vhdx", "-O", "vhdx")},
		{"QCOW2", comma},
		{"QCOW2", convert("compressed", "-O", "qcow2", "-c")},
		{"QCOW2", convert("old.qcow2", "-O", "qcow2", "-o", "compat=0.10")},
		{"VDI", convert("d.vdi", "-O", "vdi")},
		{"VMDK", convert("d.vmdk", "-O", "vmdk")},
		{"VMDK", convert("stream.vmdk", "-O", "vmdk", "-o", "subformat=streamOptimized")},
		{"VMDK", convert("flat.vmdk", "-O", "vmdk", "-o", "subformat=monolithicFlat")},
		{"VMDK", convert("split.vmdk", "-O", "vmdk", "-o", "subformat=twoGbMaxExtentSparse")},
		{"VHD", convert("d.vhd", "-O", "vpc", "-o", "force_size=on")},
		{"VHD", base},
		{"differencing VHD", child},
	} {
		src, err := source.Recognise(c.path)
		must(t, err)
		if src.Kind() != c.kind {
			t.Errorf("%s is a %s, want %s", c.path, src.Kind(), c.kind)
		}
		d, err := open(t, c.path, source.Windows{})
		if err != nil {
			t.Errorf("%s: %v", c.path, err)
			continue
		}
		got, want := sum(t, io.NewSectionReader(d.Reader, 0, d.Size)), want
		if c.path == base {
			want = sha256.Sum256(old)
		}
		if got != want || d.Size != diskLen || d.SectorSize != 512 || (d.Chain != nil) != (c.kind == "VHDX") {
			t.Errorf("%s: disk of %d bytes, sectors of %d, content right: %v", c.path, d.Size, d.SectorSize, got == want)
		}
	}
}

// TestVolumes: a volume that comes alone gets a disk around it, and is the same but for the last
// sector, which partclone leaves out.
func TestVolumes(t *testing.T) {
	t.Parallel()
	volume := smallVolume(t, "512")
	lost := sparse(t, filepath.Join(t.TempDir(), "lost"), volumeLen-512)
	program(t, "dd", "if="+volume, "of="+lost, "bs=512", "count=49151", "conv=notrunc", "status=none")
	qcow := filepath.Join(t.TempDir(), "linbo.qcow2")
	program(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", volume, qcow)
	image := filepath.Join(t.TempDir(), "volume.img")
	program(t, "partclone.ntfs", "-c", "-s", volume, "-O", image, "-L", os.DevNull, "-f", "0")
	content, err := os.ReadFile(image)
	must(t, err)

	for _, c := range []struct{ name, kind, path string }{
		{"bare", "NTFS volume", volume},
		{"bare, without its last sector", "NTFS volume", lost},
		{"QCOW2", "QCOW2", qcow},
		{"partclone", "partclone image", image},
		{"Clonezilla", "partclone image", clonezilla(t, content)},
		{"FOG", "partclone image", fog(t, content)},
		{"xz", "partclone image", packed(t, content, "xz", "-T1", "-0")},
		{"LZMA", "partclone image", packed(t, content, "xz", "--format=lzma", "-0")},
		{"bzip2", "partclone image", packed(t, content, "bzip2", "-1")},
		{"lz4", "partclone image", packed(t, content, "lz4", "-q")},
		{"lzip", "partclone image", packed(t, content, "lzip", "-0")},
		{"lzop", "partclone image", packed(t, content, "lzop", "-q")},
	} {
		src, err := source.Recognise(c.path)
		must(t, err)
		if src.Kind() != c.kind {
			t.Errorf("%s is a %s, want %s", c.name, src.Kind(), c.kind)
		}
		d, err := open(t, c.path, source.Windows{})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got := takeVolume(t, d)
		program(t, "ntfsfix", "-n", got)
		if a, b := program(t, "ntfscat", got, "/file.bin"), program(t, "ntfscat", volume, "/file.bin"); a != b {
			t.Errorf("%s: the file differs", c.name)
		}
		if c.path == volume && sumFile(t, got) != sumFile(t, volume) {
			t.Errorf("%s: the volume differs", c.name)
		}
	}
	head := make([]byte, 2*mib)
	d, err := open(t, volume, source.Windows{})
	must(t, err)
	again, err := open(t, volume, source.Windows{})
	must(t, err)
	if _, err := d.Reader.ReadAt(head, 0); err != nil || sum(t, bytes.NewReader(head)) != sum(t, io.NewSectionReader(again.Reader, 0, 2*mib)) {
		t.Errorf("the same volume gives another table, %v", err)
	}
	if d, err := open(t, smallVolume(t, "4096"), source.Windows{}); err != nil || d.SectorSize != 4096 {
		t.Errorf("4Kn: %+v, %v", d, err)
	} else if _, err := vhdx.ParseGUID(d.DataWriteGUID); err != nil {
		t.Errorf("identity %q: %v", d.DataWriteGUID, err)
	}
}

// packed is a folder as Clonezilla leaves it: a volume that a program packed, in pieces.
func packed(t *testing.T, image []byte, program string, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command(program, append(args, "-c")...)
	cmd.Stdin = bytes.NewReader(image)
	b, err := cmd.Output()
	must(t, err)
	for n, name := range []string{"aa", "ab"} {
		half := len(b) / 2
		must(t, os.WriteFile(filepath.Join(dir, "nvme0n1p3.ntfs-ptcl-img."+program+"."+name), b[n*half:half+n*(len(b)-half)], 0o644))
	}
	return dir
}

// clonezilla is a folder as Clonezilla leaves it: a small volume, and a large one in gzip, in pieces.
func clonezilla(t *testing.T, image []byte) string {
	t.Helper()
	dir := t.TempDir()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write(image)
	must(t, err)
	must(t, z.Close())
	b := packed.Bytes()
	small := bytes.Clone(image[:4096])
	small[68], small[69], small[70] = 1, 0, 0 // one cluster in use
	for name, content := range map[string][]byte{
		"sda3.ntfs-ptcl-img.gz.aa": b[:mib], "sda3.ntfs-ptcl-img.gz.ab": b[mib : 2*mib], "sda3.ntfs-ptcl-img.gz.ac": b[2*mib:],
		"sda4.ntfs-ptcl-img.gz.aa": small, "sda1.vfat-ptcl-img.gz.aa": []byte("no matter"), "parts": []byte("sda1 sda3 sda4"),
	} {
		must(t, os.WriteFile(filepath.Join(dir, name), content, 0o644))
	}
	return dir
}

// fog is a folder of FOG: partitions that partclone knows in zstd, others as they are.
func fog(t *testing.T, image []byte) string {
	t.Helper()
	dir := t.TempDir()
	z, err := zstd.NewWriter(nil)
	must(t, err)
	for name, content := range map[string][]byte{
		"d1p2.img": z.EncodeAll(make([]byte, mib), nil), "d1p3.img": z.EncodeAll(image, nil), "d1.mbr": make([]byte, 512),
	} {
		must(t, os.WriteFile(filepath.Join(dir, name), content, 0o644))
	}
	return dir
}

// TestRefusedDisks: each refusal names the file and says what is wrong.
func TestRefusedDisks(t *testing.T) {
	t.Parallel()
	volume := smallVolume(t, "512")
	content, err := os.ReadFile(volume)
	must(t, err)
	image := filepath.Join(t.TempDir(), "volume.img")
	program(t, "partclone.ntfs", "-c", "-s", volume, "-O", image, "-L", os.DevNull, "-f", "0")
	packed, err := os.ReadFile(image)
	must(t, err)
	with := func(name string, b []byte, change func([]byte) []byte) string {
		p := filepath.Join(t.TempDir(), name)
		must(t, os.WriteFile(p, change(bytes.Clone(b)), 0o644))
		return p
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, err = z.Write(packed)
	must(t, err)
	must(t, z.Close())
	xz, err := exec.Command("xz", "-0", "-c", image).Output()
	must(t, err)
	for _, c := range []struct {
		path, says string
		is         error // nil: any
	}{
		{with("text.iso", []byte("an ISO by its name only"), func(b []byte) []byte { return b }), "text.iso", source.ErrUnknown},
		{with("empty.vhdx", nil, func(b []byte) []byte { return b }), "empty.vhdx", source.ErrUnknown},
		{with("locked", content, func(b []byte) []byte { copy(b[3:], "-FVE-FS-"); return b }), "locked", source.ErrEncrypted},
		{with("half", content, func(b []byte) []byte { return b[:len(b)/2] }), "half", source.ErrCut},
		{with("half.img", packed, func(b []byte) []byte { return b[:len(b)/2] }), "half.img", nil},
		{with("bent.img", packed, func(b []byte) []byte { b[len(b)/2] ^= 1; return b }), "bent.img", nil},
		{with("half.img.gz", zipped.Bytes(), func(b []byte) []byte { return b[:len(b)/2] }), "half.img.gz: unexpected EOF", io.ErrUnexpectedEOF},
		{with("half.img.xz", xz, func(b []byte) []byte { return b[:len(b)/2] }), "half.img.xz: xz: ", nil},
		{with("packed.xz", nil, func([]byte) []byte { return []byte("\xfd7zXZ\x00 and no more") }), "packed.xz", source.ErrUnknown},
		{with("ext4.img", packed, func(b []byte) []byte { copy(b[36:], "EXTFS\x00"); return b }), "EXTFS", source.ErrUnknown},
		{with("packed.gz", nil, func([]byte) []byte { return []byte("\x1f\x8b no gzip at all") }), "packed.gz", source.ErrUnknown},
		{with("zeros", make([]byte, mib), func(b []byte) []byte { return b }), "zeros", source.ErrUnknown},
		{t.TempDir(), "Clonezilla and FOG", source.ErrUnknown},
		{filepath.Join(t.TempDir(), "absent"), "absent", os.ErrNotExist},
	} {
		d, err := open(t, c.path, source.Windows{})
		if d != nil || err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %v", filepath.Base(c.path), err, c.is)
		}
	}
}
