package agent

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"troy/chainload"
	"troy/diskwriter/pcdisk"
	"troy/internal/testing/dirtyflag"
	"troy/internal/testing/needs"
	"troy/server/protocol"
)

// layout is what an image consists of besides its volume of Windows, which lies at 1 MiB and takes
// 16 MiB.
type layout struct {
	mbr    bool
	hive   []byte                // the hive SYSTEM of a Windows whose setup is pending; nil: it has none
	second func(b *bench) []byte // what a second partition, of 3 MiB, holds; nil: nothing
	own    bool                  // version 2 has fields
}

// newWindowsBench has an image with a GPT and a volume of Windows that was dismounted in order.
func newWindowsBench(t *testing.T, merge protocol.Merge) *bench {
	return newLayoutBench(t, merge, layout{})
}

// newLayoutBench has an image of a layout. Version 2 differs from it outside of the volumes.
func newLayoutBench(t *testing.T, merge protocol.Merge, l layout) *bench {
	t.Helper()
	needs.Root(t)
	b := newBenchIn(t, filepath.Join(t.TempDir(), "bench"))
	for _, dir := range []string{b.dir, b.dmi, b.media} {
		b.must(os.MkdirAll(dir, 0o755))
	}
	b.must(os.WriteFile(filepath.Join(b.dmi, "product_uuid"), []byte("4C4C4544-0042-3510-8054-B4C04F564231\n"), 0o644))
	b.must(os.WriteFile(b.v1, nil, 0o644))
	b.must(os.Truncate(b.v1, testVirtual))
	if l.mbr {
		b.tool(strings.NewReader("label: dos\nstart=2048,size=32768,type=7\nstart=36864,size=6144,type=7\n"), "sfdisk", "-q", b.v1)
	} else {
		b.tool(nil, "sgdisk", "-n", "1:2048:34815", "-t", "1:0700", "-n", "2:36864:43007", "-t", "2:0700", b.v1)
	}
	disk, err := os.ReadFile(b.v1)
	b.must(err)
	if b.setup = l.hive != nil; b.setup {
		copy(disk[1<<20:], b.ntfsWith(16<<20, l.hive, "Windows/System32/config/SYSTEM"))
	} else {
		copy(disk[1<<20:], b.ntfs(16<<20, "Windows"))
	}
	if l.second != nil {
		copy(disk[18<<20:], l.second(b))
	}
	b.must(os.WriteFile(b.v1, disk, 0o644))
	copy(disk[22<<20:], bytes.Repeat([]byte("version 2 "), 1000))
	if l.own {
		putFields(disk, fieldsAt[1])
	}
	b.must(os.WriteFile(b.v2, disk, 0o644))
	b.publish()
	b.makePC(1, b.v1)
	b.orders = fixedOrders{Image: testImage, Version: 2, Rules: protocol.Rules{Merge: merge}}
	b.url = b.serve(b.store)
	return b
}

// ntfsWith makes a volume with one file, and the folders above it.
func (b *bench) ntfsWith(size int64, content []byte, name string) []byte {
	b.t.Helper()
	var folders []string
	for i, c := range name {
		if c == '/' {
			folders = append(folders, name[:i])
		}
	}
	path, file := filepath.Join(b.dir, "volume"), filepath.Join(b.dir, "file")
	b.must(os.WriteFile(path, b.ntfs(size, folders...), 0o644))
	b.must(os.WriteFile(file, content, 0o644))
	b.tool(nil, "ntfscp", "-q", path, file, "/"+name)
	data, err := os.ReadFile(path)
	b.must(errors.Join(err, os.Remove(path), os.Remove(file)))
	return data
}

func (b *bench) tool(in io.Reader, name string, args ...string) {
	b.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = in
	if out, err := cmd.CombinedOutput(); err != nil {
		b.t.Fatalf("%s: %v: %s", name, err, out)
	}
}

// ntfs makes a volume with folders.
func (b *bench) ntfs(size int64, folders ...string) []byte {
	b.t.Helper()
	path, root := filepath.Join(b.dir, "volume"), filepath.Join(b.dir, "root")
	b.must(os.WriteFile(path, nil, 0o644))
	b.must(os.Truncate(path, size))
	b.tool(nil, "mkntfs", "-F", "-q", "-p", "2048", path)
	if len(folders) > 0 {
		b.must(os.Mkdir(root, 0o755))
		b.tool(nil, "ntfs-3g", path, root)
		for _, f := range folders {
			b.must(os.Mkdir(filepath.Join(root, f), 0o755))
		}
		b.tool(nil, "umount", root)
	}
	data, err := os.ReadFile(path)
	b.must(err)
	b.must(os.Remove(path))
	return data
}

// memory is a volume that is changed before it is used.
type memory []byte

// ReadAt implements io.ReaderAt.
func (m memory) ReadAt(p []byte, off int64) (int, error) { return copy(p, m[off:]), nil }

// WriteAt implements io.WriterAt.
func (m memory) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }

// starting has a sector that begins a volume of another kind.
func starting(sector string) func(*bench) []byte {
	return func(*bench) []byte {
		s := make([]byte, 512)
		copy(s, sector)
		s[510], s[511] = 0x55, 0xaa
		return s
	}
}

// dirtyVolume is one of NTFS that Windows wants to check.
func dirtyVolume(b *bench) []byte {
	v := memory(b.ntfs(3 << 20))
	b.must(dirtyflag.Set(v, 0, true))
	return v
}

// session ends one of Windows that has written: in order, or at the mains, so that its volume is
// dirty.
func (b *bench) session(dirty bool) {
	b.t.Helper()
	b.withTarget(func(tg *pcdisk.Target) {
		_, _, err := tg.Open()
		b.must(err)
		chain, err := bootChain(tg.Files())
		b.must(err)
		b.must(dirtyflag.Set(chain, 1<<20, dirty))
		b.must(chain.Close())
	})
}

// What an image holds besides its volume of Windows plays no part in its health, nor does the kind
// of its partition table.
func TestHealthOfLayouts(t *testing.T) {
	for name, l := range map[string]layout{
		"GPT": {}, "MBR": {mbr: true}, "MBR and a dirty volume": {mbr: true, second: dirtyVolume},
		"a second volume": {second: func(b *bench) []byte { return b.ntfs(3 << 20) }}, "a dirty volume": {second: dirtyVolume},
		"exFAT": {second: starting("\xeb\x76\x90EXFAT   ")}, "FAT": {second: starting("\xeb\x3c\x90MSDOS5.0")},
		"ReFS": {second: starting("\x00\x00\x00ReFS\x00\x00\x00\x00FSRS")}, "BitLocker": {second: starting("\xeb\x58\x90-FVE-FS-")},
	} {
		t.Run(name, func(t *testing.T) {
			b := newLayoutBench(t, protocol.MergeLazy, l)
			for i := range chainload.MaxStarts + 2 {
				if code := b.run(); code != ExitDone || !b.handed || len(b.slept) > 0 {
					t.Fatalf("start %d: exit code %d, handed over %t, paused %v", i+1, code, b.handed, b.slept)
				}
				b.windows()
			}
			b.withTarget(func(tg *pcdisk.Target) {
				m, _, err := tg.Open()
				b.must(err)
				if s := m.State(); s.Version != 2 || s.Layers != 0 {
					t.Errorf("the version is not seen healthy: %+v", s)
				}
			})
		})
	}
}

// A sound version whose sessions end at the mains switch ("x") or in order ("o"): it stays, if it
// was closed in order once, and Windows starts every time.
func TestSessionsEndAtTheMains(t *testing.T) {
	for _, c := range []struct {
		merge    protocol.Merge
		sessions string
		want     int
	}{{protocol.MergeNow, "xxxxxxx", 2}, {protocol.MergeLazy, "xxxxxxx", 1}, {protocol.MergeNow, "xxoxxxxx", 2}, {protocol.MergeLazy, "oxxxxxxx", 2}} {
		t.Run(string(c.merge)+" "+c.sessions, func(t *testing.T) {
			b := newWindowsBench(t, c.merge)
			for i, s := range c.sessions {
				b.run()
				if !b.handed {
					t.Fatalf("start %d: Windows was not started", i+1)
				}
				b.session(s == 'x')
			}
			b.withTarget(func(tg *pcdisk.Target) {
				m, _, err := tg.Open()
				b.must(err)
				if s := m.State(); s.Version != c.want {
					t.Errorf("the disk holds version %d, want %d", s.Version, c.want)
				}
			})
		})
	}
}
