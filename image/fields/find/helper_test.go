package find

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"troy/chainload/regf"
	"troy/diskwriter/ntfs"
	"troy/diskwriter/pcdisk"
	"troy/image"
	"troy/image/fields"
	"troy/internal/acl"
	"troy/internal/testing/needs"
)

const (
	mib      = 1 << 20
	volumeAt = mib
	hiveFile = "Windows/System32/config/SYSTEM"
	ownFile  = "Troy/machine.json"
	setFile  = "Windows/Panther/unattend.xml"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// volume is an NTFS volume in a file.
type volume struct {
	t     testing.TB
	path  string
	start int64 // on its disk
}

// newVolume makes one of size bytes with the folders of a Windows.
func newVolume(t testing.TB, size, cluster int64) *volume {
	t.Helper()
	needs.Root(t)
	v := &volume{t, filepath.Join(t.TempDir(), "volume"), volumeAt}
	must(t, os.WriteFile(v.path, nil, 0o644))
	must(t, os.Truncate(v.path, size))
	tool(t, "mkntfs", "-q", "-Q", "-F", "-s", "512", "-c", fmt.Sprint(cluster), "-p", "2048", "-H", "255", "-S", "63", v.path)
	v.mounted(func(root string) error {
		var err error
		for _, f := range []string{hiveFile, ownFile, setFile} {
			err = errors.Join(err, os.MkdirAll(filepath.Join(root, filepath.Dir(f)), 0o755))
		}
		return err
	})
	return v
}

func (v *volume) mounted(do func(root string) error) {
	v.t.Helper()
	must(v.t, pcdisk.Mounted(v.t.Context(), v.path, do))
}

// put writes files into the volume, which users of its Windows cannot read.
func (v *volume) put(files map[string][]byte) *volume {
	v.t.Helper()
	v.mounted(func(root string) error {
		var err error
		for name, b := range files {
			err = errors.Join(err, writePrivate(filepath.Join(root, name), b))
		}
		return err
	})
	return v
}

func writePrivate(path string, b []byte) error {
	return errors.Join(os.WriteFile(path, b, 0o644), hide(path, acl.Private(false)))
}

// hide gives a file a security descriptor.
func hide(path string, d []byte) error { return unix.Setxattr(path, "system.ntfs_acl", d, 0) }

// get reads a file of the volume by a program of others.
func (v *volume) get(name string) []byte {
	v.t.Helper()
	out, err := exec.Command("ntfscat", "-f", v.path, name).Output()
	must(v.t, err)
	return out
}

// scatter gives an empty file clusters that are neighbours nowhere and lie in reverse order, and
// writes b there.
func (v *volume) scatter(path string, b []byte) {
	v.t.Helper()
	f, err := os.OpenFile(v.path, os.O_RDWR, 0)
	must(v.t, err)
	defer f.Close()
	info, err := f.Stat()
	must(v.t, err)
	vol, err := ntfs.Open(f, info.Size())
	must(v.t, err)
	free, err := vol.FreeRuns()
	must(v.t, err)
	cluster := int64(vol.Geometry().ClusterSize)
	last := free[len(free)-1]
	var runs []ntfs.Run
	for n := (int64(len(b)) + cluster - 1) / cluster; n > 0; n-- {
		runs = append(runs, ntfs.Run{LCN: last.LCN + 9*n, Length: 1})
	}
	patches, err := vol.AllocatePatches(path, runs)
	must(v.t, err)
	for _, p := range patches {
		_, err := f.WriteAt(p.Data, p.Offset)
		must(v.t, err)
	}
	for i, r := range runs {
		_, err := f.WriteAt(b[int64(i)*cluster:min(int64(len(b)), int64(i+1)*cluster)], r.LCN*cluster)
		must(v.t, err)
	}
}

// bytes is a disk with the volume as its partition, in an MBR.
func (v *volume) bytes() []byte {
	v.t.Helper()
	b, err := os.ReadFile(v.path)
	must(v.t, err)
	disk := make([]byte, volumeAt+len(b)+mib)
	e := disk[446:]
	e[4] = 7
	binary.LittleEndian.PutUint32(e[8:], uint32(v.start/512))
	binary.LittleEndian.PutUint32(e[12:], uint32(len(b)/512))
	disk[510], disk[511] = 0x55, 0xaa
	copy(disk[v.start:], b)
	return disk
}

// find looks for the fields of a disk and demands that a manifest can hold them.
func find(t testing.TB, disk []byte) ([]image.Field, []string) {
	t.Helper()
	list, notes := Fields(bytes.NewReader(disk), int64(len(disk)), 512)
	encoded(t, list, int64(len(disk)))
	return list, notes
}

// encoded returns the manifest with the fields as it is published.
func encoded(t testing.TB, list []image.Field, size int64) []byte {
	t.Helper()
	empty := func(kind image.Kind) image.Object { return image.NewObject(kind, 1, image.Sum{1}) }
	m := image.Manifest{Image: "pc", Version: 1, VirtualSize: size, SectorSize: 512, Fields: list, DataWriteGUID: "00000000-0000-0000-0000-000000000001",
		Table: empty(image.KindTable), Pack: empty(image.KindPack), Map: empty(image.KindMap)}
	b, _, err := m.Encode()
	must(t, err)
	return b
}

// filled applies values to a copy of the disk, and fails if another page changes than those whose
// hashes the edits have, or one that is not as they say.
func filled(t testing.TB, disk []byte, list []image.Field, v *fields.Values) []byte {
	t.Helper()
	edits, err := fields.Fill(list, v, bytes.NewReader(disk))
	must(t, err)
	out := bytes.Clone(disk)
	touched := map[int64]bool{}
	end := int64(0)
	for _, e := range edits {
		if e.Offset < end {
			t.Errorf("the edit at %d begins within the one before", e.Offset)
		}
		end = e.Offset + int64(copy(out[e.Offset:], e.Data))
		for i, sum := range e.Pages {
			at := e.Offset/image.PageSize*image.PageSize + int64(i)*image.PageSize
			if touched[at] = true; sha256.Sum256(disk[at:at+image.PageSize]) != sum {
				t.Errorf("the page at %d has another hash than the edit says", at)
			}
		}
	}
	for at := int64(0); at < int64(len(disk)); at += image.PageSize {
		if end := min(int64(len(disk)), at+image.PageSize); !touched[at] && !bytes.Equal(disk[at:end], out[at:end]) {
			t.Errorf("the page at %d changed and is not named", at)
		}
	}
	return out
}

// store makes the volume that of a disk.
func (v *volume) store(disk []byte) {
	v.t.Helper()
	must(v.t, os.WriteFile(v.path, disk[v.start:v.start+int64(len(disk)-volumeAt-mib)], 0o644))
}

// named returns the fields of a name.
func named(list []image.Field, name string) (out []image.Field) {
	for _, f := range list {
		if f.Name == name {
			out = append(out, f)
		}
	}
	return out
}

// values are the values of a hive by their paths: numbers, texts, bytes.
type values map[string]any

// windows are the values that a Windows has, in one control set that starts.
func windows() values {
	v := values{`Select\Current`: 1, `Select\Default`: 1, `Select\LastKnownGood`: 1, `Select\Failed`: 0}
	v.set("ControlSet001", "WIN-0123456789A")
	return v
}

// set adds a control set.
func (v values) set(set, name string) {
	for path, x := range map[string]any{
		`Control\ComputerName\ComputerName\ComputerName`: name, `Services\Tcpip\Parameters\Hostname`: strings.ToLower(name),
		`Services\Tcpip\Parameters\NV Hostname`: strings.ToLower(name), `Services\FsDepends\Parameters\VirtualDiskExpandOnMount`: 1,
		`Control\Session Manager\Power\HiberbootEnabled`: 1, `Services\Netlogon\Parameters\DisablePasswordChange`: 0,
		`Services\Netlogon\Parameters\MaximumPasswordAge`: 30, `Services\iaStorV\StartOverride\0`: 3, `Services\storufs\StartOverride\0`: 3,
	} {
		v[set+`\`+path] = x
	}
}

// hive makes a hive of values. Its version is that of a Windows.
func hive(t testing.TB, v values) []byte {
	t.Helper()
	root := &regf.Key{Name: "ROOT", Flags: 4}
	for _, path := range slices.Sorted(maps.Keys(v)) {
		value := v[path]
		at := strings.LastIndex(path, `\`)
		k := root
		for name := range strings.SplitSeq(path[:at], `\`) {
			k = k.Make(name)
		}
		switch x := value.(type) {
		case int:
			k.Set(path[at+1:], regf.DWORD, regf.EncodeDWORD(uint32(x)))
		case string:
			k.Set(path[at+1:], regf.SZ, regf.EncodeSZ(x))
		case []byte:
			k.Set(path[at+1:], regf.SZ, x)
		}
	}
	b, err := (&regf.Hive{Root: root}).Marshal()
	must(t, err)
	return rebased(b, func(base []byte) { base[24] = 5 })
}

// rebased changes the base block of a hive, and its checksum.
func rebased(b []byte, change func(base []byte)) []byte {
	change(b)
	var sum uint32
	for i := 0; i < 508; i += 4 {
		sum ^= binary.LittleEndian.Uint32(b[i:])
	}
	binary.LittleEndian.PutUint32(b[508:], sum)
	return b
}

// padded is a file with spaces at its end.
func padded(text string, size int) []byte {
	return append([]byte(text), bytes.Repeat([]byte{' '}, size-len(text))...)
}

const answersText = `<?xml version="1.0" encoding="utf-8"?>
<unattend xmlns="urn:schemas-microsoft-com:unattend">
  <settings pass="specialize">
    <component name="Microsoft-Windows-Shell-Setup" processorArchitecture="amd64">
      <ComputerName>*</ComputerName>
      <RegisteredOwner/>
      <TimeZone><!-- kept -->UTC</TimeZone>
    </component>
    <component name="Microsoft-Windows-UnattendedJoin" processorArchitecture="amd64">
      <Identification><Provisioning><AccountData> </AccountData></Provisioning></Identification>
    </component>
  </settings>
</unattend>
`
