package source_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"troy/diskwriter/blockdev"
	"troy/image/source"
	"troy/internal/testing/imagetest"
	"troy/internal/testing/needs"
)

const mib = 1 << 20

// program runs a tool; one that is missing or fails fails the test.
func program(t testing.TB, name string, args ...string) string {
	t.Helper()
	var errs bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, errs.Bytes())
	}
	return string(out)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sparse(t testing.TB, path string, size int64) string {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	must(t, f.Truncate(size))
	must(t, f.Close())
	return path
}

// windowsVolume makes an NTFS volume with what a Windows has: programs, hard links, alternate
// streams, security descriptors, short names, attributes, reparse points, long paths.
func windowsVolume(t testing.TB, path string) string {
	t.Helper()
	needs.Root(t)
	needs.Downloads(t)
	sparse(t, path, 96*mib)
	program(t, "mkntfs", "-q", "-Q", "-F", "-s", "512", "-p", "2048", "-H", "255", "-S", "63", path)
	root := t.TempDir()
	program(t, "ntfs-3g", "-o", "streams_interface=windows", path, root)
	defer func() { program(t, "umount", root) }()
	fillWindows(t, root)
	return path
}

// at joins a path and makes the folders above it.
func at(t testing.TB, root, path string) string {
	t.Helper()
	p := filepath.Join(root, path)
	must(t, os.MkdirAll(filepath.Dir(p), 0o755))
	return p
}

func fillWindows(t testing.TB, root string) {
	t.Helper()
	files := programs(t)
	put := func(path string, b []byte) string {
		p := at(t, root, path)
		must(t, os.WriteFile(p, b, 0o644))
		return p
	}
	for _, name := range []string{"ntdll.dll", "notepad.exe", "msvcrt40.dll"} {
		b, err := os.ReadFile(filepath.Join(files, name))
		must(t, err)
		put("Windows/System32/"+name, b)
	}
	put("Windows/System32/Sysprep/sysprep.exe", []byte("MZ sysprep"))
	put("Windows/Boot/EFI/bootmgfw.efi", append([]byte("MZ"), bytes.Repeat([]byte("boot manager "), 5000)...))
	must(t, os.MkdirAll(filepath.Join(root, "Windows/WinSxS/amd64"), 0o755))
	must(t, os.Link(filepath.Join(root, "Windows/System32/ntdll.dll"), filepath.Join(root, "Windows/WinSxS/amd64/ntdll.dll")))
	put("Users/Public/long.txt", []byte("a stream of its own"))
	put("Users/Public/long.txt:Zone.Identifier", []byte("[ZoneTransfer]\r\nZoneId=3\r\n"))
	put("empty.txt", nil)
	deep := "Users/Public"
	for i := range 12 {
		deep += fmt.Sprintf("/a folder with a name of some length, number %02d", i)
	}
	put(deep+"/file.txt", []byte("beyond MAX_PATH"))

	xattr := func(path, name string, value []byte) {
		must(t, syscall.Setxattr(filepath.Join(root, path), name, value, 0))
	}
	// S-1-5-18 owns it, and it and S-1-5-32-544 may do everything.
	xattr("Users/Public/long.txt", "system.ntfs_acl", securityDescriptor())
	xattr("Users/Public/long.txt", "system.ntfs_dos_name", []byte("LONGTX~1.TXT"))
	hidden := binary.LittleEndian.AppendUint32(nil, 0x02|0x04|0x20)
	xattr("empty.txt", "system.ntfs_attrib", hidden)
	put("junction.txt", nil)
	xattr("junction.txt", "system.ntfs_reparse_data", reparse(`\??\C:\Users\Public\long.txt`))
}

// programs is the folder of Windows programs that make deps fetches.
func programs(t testing.TB) string {
	t.Helper()
	return filepath.Join(os.Getenv("TROY_CACHE"), "programs/wine/usr/lib/x86_64-linux-gnu/wine/x86_64-windows")
}

// securityDescriptor is self-relative, with owner, group and two entries (MS-DTYP 2.4.6).
func securityDescriptor() []byte {
	system := []byte{1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0}
	admins := []byte{1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 32, 2, 0, 0}
	le := binary.LittleEndian
	var acl []byte
	for _, sid := range [][]byte{system, admins} {
		acl = append(acl, 0, 0)
		acl = le.AppendUint16(acl, uint16(8+len(sid)))
		acl = le.AppendUint32(acl, 0x1f01ff)
		acl = append(acl, sid...)
	}
	head := []byte{2, 0}
	head = le.AppendUint16(head, uint16(8+len(acl)))
	head = append(head, 2, 0, 0, 0)
	d := []byte{1, 0, 0x04, 0x80}
	for _, off := range []int{20, 20 + len(system), 0, 20 + 2*len(system)} {
		d = le.AppendUint32(d, uint32(off))
	}
	d = append(append(d, system...), system...)
	return append(append(d, head...), acl...)
}

// reparse is the data of a symbolic link (MS-FSCC 2.1.2.4).
func reparse(target string) []byte {
	var name []byte
	for _, c := range target {
		name = binary.LittleEndian.AppendUint16(name, uint16(c))
	}
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 0xa000000c)
	b = le.AppendUint16(b, uint16(12+2*len(name)))
	b = le.AppendUint16(b, 0)
	for _, n := range []int{0, len(name), len(name), len(name)} {
		b = le.AppendUint16(b, uint16(n))
	}
	b = le.AppendUint32(b, 0)
	return append(append(b, name...), name...)
}

// described are names, attributes, security descriptors, streams and hashes of all files of an
// edition in a WIM, as wimlib prints them, without what says where they lie.
func described(t testing.TB, wim, index string) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(program(t, "wimlib-imagex", "dir", wim, index, "--detailed")) {
		key, _, _ := strings.Cut(line, "=")
		switch strings.TrimSpace(key) {
		case "Offset in WIM", "Compressed size", "Reference Count", "Part Number", "Link Group ID", "Flags", "Last Access Time", "Security ID":
		default:
			if !strings.HasPrefix(line, "Resource") && !strings.Contains(line, "solid") {
				out.WriteString(line)
			}
		}
	}
	return out.String()
}

// stagesOf are the stages in which a disk is made of each kind of source.
var stagesOf = map[string][]string{
	"QCOW2": {"converting"}, "VDI": {"converting"}, "VMDK": {"converting"}, "VHD": {"converting"}, "differencing VHD": {"converting"},
	"partclone image": {"restoring"}, "WIM": {"applying"}, "installation medium": {"taking out the archive", "applying"},
}

// open opens a source with a scratch folder, and closes it when the test ends. Nothing may be left
// in the folder, and the stages of what succeeds end at their totals.
func open(t testing.TB, path string, w source.Windows) (*source.Disk, error) {
	t.Helper()
	s, err := source.Recognise(path)
	if err != nil {
		return nil, err
	}
	dir := t.TempDir()
	stages := &imagetest.Stages{}
	d, err := s.Open(t.Context(), &source.Options{Scratch: func() (string, error) { return dir, nil }, Windows: w, Progress: stages.Begin})
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("%s: %d temporary files are left, the first is %s", path, len(left), left[0].Name())
	}
	if err == nil {
		stages.Check(t, stagesOf[s.Kind()]...)
		t.Cleanup(func() { d.Close() })
	}
	return d, err
}

// takeVolume writes the data partition of a disk to a file, after sgdisk judged the table.
func takeVolume(t testing.TB, d *source.Disk) string {
	t.Helper()
	whole := sparse(t, filepath.Join(t.TempDir(), "disk"), d.Size)
	copyData(t, d, whole, 0, d.Size)
	if out := program(t, "sgdisk", "-v", whole); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk: %s", out)
	}
	table, err := blockdev.ReadTable(d.Reader, d.Size, int(d.SectorSize))
	must(t, err)
	parts := table.ByType(blockdev.TypeBasicData)
	if len(parts) != 1 {
		t.Fatalf("partitions: %+v", table.Partitions)
	}
	path := sparse(t, filepath.Join(t.TempDir(), "volume"), parts[0].Size)
	copyData(t, d, path, parts[0].Start, parts[0].Size)
	return path
}

// copyData copies what the disk says it holds in a range.
func copyData(t testing.TB, d *source.Disk, path string, start, size int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	last := int64(0)
	for r, err := range d.Data {
		must(t, err)
		if r.Offset < last || r.Length <= 0 {
			t.Fatalf("range %+v after %d", r, last)
		}
		last = r.Offset + r.Length
		lo, hi := max(r.Offset, start), min(last, start+size)
		if lo < hi {
			_, err := io.Copy(io.NewOffsetWriter(f, lo-start), io.NewSectionReader(d.Reader, lo, hi-lo))
			must(t, err)
		}
	}
}
