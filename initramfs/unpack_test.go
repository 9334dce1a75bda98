package initramfs

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/u-root/mkuimage/cpio"

	"troy/chainload/release"
	"troy/initramfs/bundle"
)

// rescueMedia is what the kernel makes of the archives of rescue media.
func rescueMedia(t *testing.T) *cpio.Archive {
	t.Helper()
	b := sharedBuild(t)
	raw := unzstd(t, filepath.Join(b.dir, release.Initrd))
	return archives(t, raw, unzstd(t, filepath.Join(b.dir, bundle.Rescue)), testSite(t)[fileSize(t, filepath.Join(b.dir, bundle.Rescue)):])
}

// unpack reads an initramfs of the bundle.
func unpack(t *testing.T, path string) *cpio.Archive {
	t.Helper()
	return archives(t, unzstd(t, path))
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Size()
}

// unzstd unpacks with the zstd program, not with the library that packed it. Zeros behind the last
// frame make the length a multiple of four.
func unzstd(t *testing.T, path string) []byte {
	t.Helper()
	packed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(packed)%unit != 0 {
		t.Errorf("%s has %d bytes, which is no multiple of %d", path, len(packed), unit)
	}
	for range unit - 1 { // the last byte of a frame may be a zero: ask the program
		if exec.Command("zstd", "-tq", path).Run() == nil {
			break
		}
		packed = bytes.TrimSuffix(packed, []byte{0})
		path = filepath.Join(t.TempDir(), "cut")
		if err := os.WriteFile(path, packed, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := exec.Command("zstd", "-dc", path).Output()
	if err != nil {
		t.Fatalf("zstd: %v", err)
	}
	return raw
}

// archives reads archives one behind the other, as the kernel does: later files replace earlier
// ones.
func archives(t *testing.T, all ...[]byte) *cpio.Archive {
	t.Helper()
	joined, raw := cpio.InMemArchive(), bytes.Join(all, nil)
	for len(raw) > 0 {
		part, err := cpio.ArchiveFromReader(cpio.EOFReader{RecordReader: cpio.Newc.Reader(bytes.NewReader(raw))})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range part.Order {
			if _, twice := joined.Files[name]; !twice {
				joined.Order = append(joined.Order, name)
			}
			joined.Files[name] = part.Files[name]
		}
		end := bytes.Index(raw, []byte("TRAILER!!!\x00"))
		if end < 0 {
			t.Fatal("an archive without its end")
		}
		raw = bytes.TrimLeft(raw[end+len("TRAILER!!!"):], "\x00")
	}
	return joined
}

func content(t *testing.T, a *cpio.Archive, name string) []byte {
	t.Helper()
	r, ok := a.Get(name)
	if !ok {
		t.Errorf("archive lacks %s", name)
		return nil
	}
	b := make([]byte, r.FileSize)
	if _, err := r.ReadAt(b, 0); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return b
}
