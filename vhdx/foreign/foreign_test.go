package foreign

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"troy/internal/testing/vhdfile"
)

const diskSize = 8 << 20

// qemuImg runs qemu-img, which is one of the programs that the tests need.
func qemuImg(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %q: %v\n%s", args, err, out)
	}
}

func write(t testing.TB, path string, b []byte) string {
	t.Helper()
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// describe is the text of a VMDK with these lines for its extents.
func describe(extents string) []byte {
	return []byte("# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n\n" + extents + "\n")
}

// TestRefused: what a file says about other files is believed only of plain names of regular files
// beside it.
func TestRefused(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	outside := write(t, filepath.Join(t.TempDir(), "secret"), make([]byte, diskSize))
	qemuImg(t, "create", "-q", "-f", "qcow2", in("base.qcow2"), "8M")
	qemuImg(t, "create", "-q", "-f", "qcow2", "-b", in("base.qcow2"), "-F", "qcow2", in("overlay.qcow2"))
	qemuImg(t, "create", "-q", "-f", "qcow2", "-o", "data_file="+in("data"), in("data.qcow2"), "8M")
	qemuImg(t, "create", "-q", "-f", "vmdk", in("d.vmdk"), "8M")
	qemuImg(t, "create", "-q", "-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse", in("two.vmdk"), "8M")
	qemuImg(t, "create", "-q", "-f", "vdi", in("d.vdi"), "8M")
	if err := os.Symlink(outside, in("link")); err != nil {
		t.Fatal(err)
	}
	content := make([]byte, diskSize)
	base := in("base.vhd")
	if err := vhdfile.WriteFixed(base, content); err != nil {
		t.Fatal(err)
	}
	vhd := func(name, parent string, id [16]byte) string {
		return write(t, in(name), vhdfile.Child(vhdfile.ID(name), content, content, id, parent))
	}
	changed := func(name, from string, change func([]byte)) string {
		b := bytes.Clone(read(t, from))
		change(b)
		return write(t, in(name), b)
	}
	for _, c := range []struct {
		path string
		is   error
		says string
	}{
		{in("overlay.qcow2"), ErrNotWhole, "backing file"},
		{in("data.qcow2"), ErrNotWhole, "another file"},
		{changed("locked.qcow2", in("base.qcow2"), func(b []byte) { b[35] = 2 }), ErrUnsupported, "encrypted"},
		{changed("corrupt.qcow2", in("base.qcow2"), func(b []byte) { b[79] |= 2 }), ErrDamaged, "corrupt"},
		{changed("one.qcow", in("base.qcow2"), func(b []byte) { b[7] = 1 }), ErrUnsupported, "version 1"},
		{changed("huge.qcow2", in("base.qcow2"), func(b []byte) { b[24] = 0xff }), ErrDamaged, "huge.qcow2"},
		{write(t, in("cut.qcow2"), read(t, in("base.qcow2"))[:20]), ErrDamaged, "ends at byte 20"},
		{changed("child.vdi", in("d.vdi"), func(b []byte) { b[0x4c] = 4 }), ErrNotWhole, "differencing VDI"},
		{changed("linked.vdi", in("d.vdi"), func(b []byte) { b[0x1a8] = 1 }), ErrNotWhole, "differencing VDI"},
		{in("two-s001.vmdk"), ErrNotWhole, "descriptor"},
		{changed("snapshot.vmdk", in("d.vmdk"), func(b []byte) { copy(b[bytes.Index(b, []byte("parentCID=")):], "parentCID=0badcafe") }), ErrNotWhole, "snapshot"},
		{changed("none.vmdk", in("d.vmdk"), func(b []byte) { clear(b[12:20]) }), ErrDamaged, "0 sectors"},
		{write(t, in("absolute.vmdk"), describe(`RW 16384 FLAT "`+outside+`" 0`)), ErrNotWhole, "own folder"},
		{write(t, in("tab.vmdk"), describe("RW\t16384\tFLAT\t\""+outside+"\"\t0")), ErrNotWhole, "own folder"},
		{write(t, in("up.vmdk"), describe(`RW 16384 FLAT "../secret" 0`)), ErrNotWhole, "own folder"},
		{write(t, in("address.vmdk"), describe(`RW 16384 FLAT "nbd:localhost" 0`)), ErrNotWhole, "own folder"},
		{write(t, in("tolink.vmdk"), describe(`RW 16384 FLAT "link" 0`)), ErrNotWhole, "no regular file"},
		{write(t, in("missing.vmdk"), describe(`RW 16384 FLAT "absent" 0`)), ErrNotWhole, "is missing"},
		{write(t, in("device.vmdk"), describe(`RW 16384 VMFSRDM "disk"`)), ErrUnsupported, "VMFSRDM"},
		{write(t, in("odd.vmdk"), describe(`RW 16384 FLAT disk`)), ErrDamaged, "the line"},
		{write(t, in("without.vmdk"), describe(``)), ErrDamaged, "no extents"},
		{vhd("up.vhd", `..\secret`, vhdfile.ID("secret")), ErrNotWhole, "own folder"},
		{vhd("root.vhd", "/etc/passwd", vhdfile.ID("passwd")), ErrNotWhole, "own folder"},
		{vhd("orphan.vhd", "absent.vhd", vhdfile.ID("absent.vhd")), ErrNotWhole, "is missing"},
		{vhd("other.vhd", "base.vhd", vhdfile.ID("another")), ErrNotWhole, "identities differ"},
		{vhd("own.vhd", "own.vhd", vhdfile.ID("own.vhd")), ErrUnsupported, "parents"},
		{changed("type.vhd", base, func(b []byte) { b[len(b)-512+63] = 9 }), ErrUnsupported, "type 9"},
	} {
		i, err := Recognise(c.path)
		if i != nil || !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %+v, %v, want %v: %s", filepath.Base(c.path), i, err, c.is, c.says)
		}
	}
	if i, err := Recognise(outside); i != nil || err != nil {
		t.Errorf("a raw file: %+v, %v", i, err)
	}
}

// TestSectorSize tells 512 from 4096 by where the table lies.
func TestSectorSize(t *testing.T) {
	disk := func(marks map[int]string) []byte {
		b := make([]byte, 8192)
		for off, mark := range marks {
			copy(b[off:], mark)
		}
		return b
	}
	for _, c := range []struct {
		name string
		disk []byte
		want uint32
	}{
		{"GPT", disk(map[int]string{510: "\x55\xaa", 512: "EFI PART"}), 512},
		{"GPT, 4Kn", disk(map[int]string{510: "\x55\xaa", 4096: "EFI PART"}), 4096},
		{"MBR", disk(map[int]string{510: "\x55\xaa"}), 512},
		{"none", disk(nil), 0},
		{"short", []byte("x"), 0},
	} {
		if got, err := SectorSize(bytes.NewReader(c.disk)); got != c.want || err != nil {
			t.Errorf("%s: %d, %v, want %d", c.name, got, err, c.want)
		}
	}
}

// FuzzRecognise: whatever a file says, there is no panic, and each name that passes is a plain one.
func FuzzRecognise(f *testing.F) {
	dir := f.TempDir()
	for _, kind := range []string{"qcow2", "vmdk", "vdi", "vpc"} {
		path := filepath.Join(dir, "d."+kind)
		qemuImg(f, "create", "-q", "-f", kind, path, "8M")
		b := read(f, path)
		f.Add(b[:min(len(b), 4096)])
	}
	f.Add(describe(`RW 16384 FLAT "disk" 0`))
	f.Add(vhdfile.Child(vhdfile.ID("c"), make([]byte, 4096), make([]byte, 4096), vhdfile.ID("p"), "p"))
	write(f, filepath.Join(dir, "disk"), nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := recognise(&file{bytes.NewReader(b), filepath.Join(dir, "fuzzed"), int64(len(b))})
		if i == nil {
			return
		}
		if err != nil || i.Size <= 0 || i.Size%512 != 0 {
			t.Fatalf("%+v, %v", i, err)
		}
		for _, path := range i.Files {
			if filepath.Dir(path) != dir {
				t.Fatalf("%s lies outside %s", path, dir)
			}
		}
	})
}
