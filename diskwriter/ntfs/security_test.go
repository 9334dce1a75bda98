package ntfs_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"troy/diskwriter/ntfs"
	"troy/internal/acl"
	"troy/internal/testing/samples"
)

var descriptorLine = regexp.MustCompile(`(?m)^\s+[0-9a-f]{6}((?: +[0-9a-f]{8})+)`)

// audited is the descriptor of a file as ntfssecaudit reads it.
func audited(t *testing.T, volume, path string) []byte {
	t.Helper()
	var text strings.Builder
	for _, m := range descriptorLine.FindAllStringSubmatch(tool(t, "ntfssecaudit", "-v", volume, path), -1) {
		text.WriteString(strings.ReplaceAll(m[1], " ", ""))
	}
	b, err := hex.DecodeString(text.String())
	if err != nil || len(b) == 0 {
		t.Fatalf("ntfssecaudit of %s: %x, %v", path, b, err)
	}
	return b
}

// partsOf are control, owner, group and both lists of a descriptor: programs lay them out in another
// order.
func partsOf(t *testing.T, d []byte) (parts [5]string) {
	t.Helper()
	le := binary.LittleEndian
	parts[0] = fmt.Sprintf("%x", le.Uint16(d[2:]))
	for i, at := range []int{4, 8, 12, 16} {
		off, n := int(le.Uint32(d[at:])), 0
		switch {
		case off == 0:
			continue
		case i < 2:
			n = 8 + 4*int(d[off+1])
		default: // ntfssecaudit counts the entries alone
			n = 8
			for range le.Uint16(d[off+4:]) {
				n += int(le.Uint16(d[off+n+2:]))
			}
			off, n = off+8, n-8
		}
		parts[i+1] = fmt.Sprintf("%x", d[off:off+n])
	}
	return parts
}

// compareDescriptor compares what we read with ntfssecaudit.
func compareDescriptor(t *testing.T, v *ntfs.Volume, volume, path string) []byte {
	t.Helper()
	got, err := v.SecurityDescriptor(path)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return nil
	}
	if have, want := partsOf(t, got), partsOf(t, audited(t, volume, path)); have != want {
		t.Errorf("%s: %q, ntfssecaudit has %q", path, have, want)
	}
	return got
}

// numbered is a descriptor like no other: its owner has a number.
func numbered(n int) []byte {
	d := acl.Private(false)
	binary.LittleEndian.PutUint32(d[32:], uint32(1000+n))
	return d
}

// TestSecurityDescriptor: descriptors in files and in $Secure, so many that its index is a tree, are
// what another program reads.
func TestSecurityDescriptor(t *testing.T) {
	const files = 150
	m := newImage(t, 24*mib, 512, 4096)
	m.mounted(func(root string) error {
		for i := range files {
			path := filepath.Join(root, fmt.Sprintf("file%d", i))
			if err := errors.Join(os.WriteFile(path, nil, 0o644), unix.Setxattr(path, "system.ntfs_acl", numbered(i), 0)); err != nil {
				return err
			}
		}
		path := filepath.Join(root, "private")
		return errors.Join(os.WriteFile(path, nil, 0o644), unix.Setxattr(path, "system.ntfs_acl", acl.Private(false), 0))
	})
	tool(t, "ntfscp", "-q", m.Name(), "security_test.go", "/copied")
	v := m.open()
	for i := range files {
		path := fmt.Sprintf(`\file%d`, i)
		if got, err := v.SecurityDescriptor(path); err != nil || !bytes.Equal(got, numbered(i)) {
			t.Fatalf("%s: %x, %v", path, got, err)
		}
	}
	for path, private := range map[string]bool{"/": false, "/$Volume": true, "/file7": false, "/private": true, "/copied": false} {
		if got := compareDescriptor(t, v, m.Name(), path); acl.IsPrivate(got) != private {
			t.Errorf("%s is private: %v, want %v", path, !private, private)
		}
	}
	if _, err := v.SecurityDescriptor(`\missing`); !errors.Is(err, ntfs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	patchDescriptor(t, m)
	damageDescriptors(t, m)
}

// patchDescriptor: a file with a descriptor of its own gets another one, and others do not change.
func patchDescriptor(t *testing.T, m *image) {
	t.Helper()
	v := m.open()
	patches, err := v.SecurityPatches("/copied", acl.System())
	if err != nil {
		t.Fatal(err)
	}
	m.apply(patches)
	if got := compareDescriptor(t, m.open(), m.Name(), "/copied"); !acl.IsPrivate(got) {
		t.Errorf("patched: %x", got)
	}
	want, err := os.ReadFile("security_test.go")
	if got := tool(t, "ntfscat", m.Name(), "/copied"); err != nil || got != string(want) {
		t.Errorf("its content is %.40q, %v", got, err)
	}
	if out := tool(t, "ntfssecaudit", "-a", m.Name()); !strings.Contains(out, "No errors were found") {
		t.Errorf("ntfssecaudit: %s", out)
	}
	tool(t, "ntfsfix", "-n", m.Name())
	for _, path := range []string{"/private", "/missing"} {
		if p, err := v.SecurityPatches(path, acl.System()); err == nil {
			t.Errorf("%s: %d patches", path, len(p))
		}
	}
	if p, err := v.SecurityPatches("/copied", make([]byte, 81)); !errors.Is(err, ntfs.ErrUnsupported) {
		t.Errorf("a long one: %d patches, %v", len(p), err)
	}
}

// damageDescriptors: a descriptor whose bytes, head, or index entry are not as they have to be is
// none.
func damageDescriptors(t *testing.T, m *image) {
	t.Helper()
	b := make([]byte, m.size)
	if _, err := m.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	// Each stands twice in $SDS: the first one counts.
	at := bytes.Index(b, acl.Private(false))
	if at < 20 {
		t.Fatal("the descriptor is not on the volume")
	}
	for name, off := range map[string]int{"owner": at + 30, "hash": at - 20, "id": at - 16, "offset": at - 12, "length": at - 3} {
		old := b[off]
		m.write([]byte{old ^ 1}, int64(off))
		if d, err := m.open().SecurityDescriptor(`\private`); !errors.Is(err, ntfs.ErrCorrupt) {
			t.Errorf("%s changed at %d: %x, %v", name, off, d, err)
		}
		m.write([]byte{old}, int64(off))
	}
	m.record(`\private`, func(b []byte) { // an id that nothing has
		a := attribute(t, b, 0x10)
		binary.LittleEndian.PutUint32(a[int(binary.LittleEndian.Uint16(a[0x14:]))+0x34:], 77777)
	})
	if d, err := m.open().SecurityDescriptor(`\private`); !errors.Is(err, ntfs.ErrCorrupt) {
		t.Errorf("an unknown id: %x, %v", d, err)
	}
	m.record(`\private`, func(b []byte) {
		a := attribute(t, b, 0x10)
		binary.LittleEndian.PutUint32(a[int(binary.LittleEndian.Uint16(a[0x14:]))+0x34:], 0)
	})
	if d, err := m.open().SecurityDescriptor(`\private`); !errors.Is(err, ntfs.ErrNotExist) {
		t.Errorf("no id: %x, %v", d, err)
	}
}

// TestSecurityOfWindows reads the descriptors of a volume that Windows formatted.
func TestSecurityOfWindows(t *testing.T) {
	path := samples.Unpack(t, t.TempDir(), "ntfs-windows-formatted-40M.dd")
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	v, err := ntfs.Open(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	names, err := v.List(`\`)
	if err != nil {
		t.Fatal(err)
	}
	private := 0
	for _, e := range names {
		if acl.IsPrivate(compareDescriptor(t, v, path, "/"+e.Name)) {
			private++
		}
	}
	if private == 0 || private == len(names) {
		t.Errorf("%d of %d files are private", private, len(names))
	}
}
