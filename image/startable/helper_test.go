package startable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"troy/chainload/regf"
	"troy/chainload/secureboot"
	"troy/diskwriter/pcdisk"
	"troy/internal/testing/efiprogram"
	"troy/internal/testing/needs"
)

const (
	mib      = 1 << 20
	volumeAt = mib
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func tool(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// folders are those that the tests put files into.
var folders = []string{"Windows/Boot/EFI", "Windows/System32/config", "Windows/System32/Sysprep", "Windows/Panther/Unattend"}

// windows makes a volume of size bytes with the folders of a Windows, its programs and a registry.
func windows(t testing.TB, path string, size int64) {
	t.Helper()
	must(t, os.WriteFile(path, nil, 0o644))
	must(t, os.Truncate(path, size))
	tool(t, "mkntfs", "-q", "-Q", "-F", "-s", "512", "-c", "4096", "-p", "2048", "-H", "255", "-S", "63", path)
	must(t, pcdisk.Mounted(t.Context(), path, func(root string) error {
		var err error
		for _, f := range folders {
			err = errors.Join(err, os.MkdirAll(filepath.Join(root, f), 0o755))
		}
		for name, b := range map[string][]byte{
			"Windows/Boot/EFI/bootmgfw.efi":    efiprogram.Make(efiprogram.Options{SVN: 2 << 16, CA: secureboot.PCA2011}),
			"Windows/System32/winload.efi":     []byte("MZ winload"),
			"Windows/System32/config/SYSTEM":   hiveOf(t, values{`Select\Current`: 1, `Setup\SystemSetupInProgress`: 0, `Setup\Status\SysprepStatus\GeneralizationState`: 7}),
			"Windows/System32/config/SOFTWARE": hiveOf(t, values{imageState: "IMAGE_STATE_COMPLETE"}),
		} {
			err = errors.Join(err, os.WriteFile(filepath.Join(root, name), b, 0o644))
		}
		return err
	}))
}

// A volume with a sound Windows, and a disk around it, made once.
var (
	smallOnce  sync.Once
	smallBytes []byte
	smallDisk  []byte
)

const smallSize = 8 * mib

// disk is a virtual disk with such volumes.
type disk struct {
	t       testing.TB
	volumes []string // files
}

// newDisk is a disk with a sound Windows.
func newDisk(t testing.TB) *disk {
	t.Helper()
	needs.Root(t)
	smallOnce.Do(func() {
		dir, err := os.MkdirTemp("", "startable-")
		must(t, err)
		defer os.RemoveAll(dir)
		windows(t, filepath.Join(dir, "volume"), smallSize)
		smallBytes, err = os.ReadFile(filepath.Join(dir, "volume"))
		must(t, err)
		smallDisk = (&disk{t, []string{filepath.Join(dir, "volume")}}).table()
	})
	d := &disk{t: t}
	d.add(smallBytes)
	return d
}

func (d *disk) add(volume []byte) {
	p := filepath.Join(d.t.TempDir(), "volume")
	must(d.t, os.WriteFile(p, volume, 0o644))
	d.volumes = append(d.volumes, p)
}

// put writes a file into the first volume.
func (d *disk) put(name string, content []byte) *disk {
	d.t.Helper()
	p := filepath.Join(d.t.TempDir(), "file")
	must(d.t, os.WriteFile(p, content, 0o644))
	tool(d.t, "ntfscp", "-q", "-f", d.volumes[0], p, name)
	return d
}

// hive writes one into the first volume.
func (d *disk) hive(name string, v values) *disk {
	return d.put("Windows/System32/config/"+name, hiveOf(d.t, v))
}

// change changes the bytes of the first volume.
func (d *disk) change(f func(b []byte)) *disk {
	d.t.Helper()
	b, err := os.ReadFile(d.volumes[0])
	must(d.t, err)
	f(b)
	must(d.t, os.WriteFile(d.volumes[0], b, 0o644))
	return d
}

// bytes makes the disk.
func (d *disk) bytes() []byte {
	d.t.Helper()
	if len(d.volumes) > 1 {
		return d.table()
	}
	b, err := os.ReadFile(d.volumes[0])
	must(d.t, err)
	out := bytes.Clone(smallDisk)
	copy(out[volumeAt:], b)
	return out
}

// table makes a GPT around the volumes; sgdisk sleeps for a second when it has written.
func (d *disk) table() []byte {
	d.t.Helper()
	out := make([]byte, volumeAt)
	p := filepath.Join(d.t.TempDir(), "disk")
	args := []string{"-a", "1"}
	for i, v := range d.volumes {
		b, err := os.ReadFile(v)
		must(d.t, err)
		n := strconv.Itoa(i + 1)
		args = append(args, "-n", n+":"+sectors(len(out))+":"+sectors(len(out)+len(b)-512), "-t", n+":0700")
		out = append(out, b...)
	}
	must(d.t, os.WriteFile(p, append(out, make([]byte, mib)...), 0o644))
	tool(d.t, "sgdisk", append(args, p)...)
	b, err := os.ReadFile(p)
	must(d.t, err)
	return b
}

func (d *disk) check() *Verdict {
	d.t.Helper()
	b := d.bytes()
	return Check(bytes.NewReader(b), int64(len(b)), 512)
}

// values are the values of a hive by their paths: numbers and texts; nil makes a key.
type values map[string]any

const imageState = `Microsoft\Windows\CurrentVersion\Setup\State\ImageState`

func hiveOf(t testing.TB, v values) []byte {
	t.Helper()
	root := &regf.Key{Name: "ROOT", Flags: 4}
	for path, value := range v {
		parts := strings.Split(path, `\`)
		k := root
		if value == nil {
			parts = append(parts, "")
		}
		for _, name := range parts[:len(parts)-1] {
			k = k.Make(name)
		}
		switch x := value.(type) {
		case int:
			k.Set(parts[len(parts)-1], regf.DWORD, regf.EncodeDWORD(uint32(x)))
		case string:
			k.Set(parts[len(parts)-1], regf.SZ, regf.EncodeSZ(x))
		}
	}
	b, err := (&regf.Hive{Root: root}).Marshal()
	must(t, err)
	return b
}

// unclosed makes a hive one whose last write did not end.
func unclosed(b []byte) []byte {
	b[4]++
	var sum uint32
	for i := 0; i < 508; i += 4 {
		sum ^= binary.LittleEndian.Uint32(b[i:])
	}
	binary.LittleEndian.PutUint32(b[508:], sum)
	return b
}

func sectors(n int) string { return strconv.Itoa(n / 512) }
