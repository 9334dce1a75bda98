package blockdev

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"troy/internal/testing/needs"
)

const mib = 1 << 20

// newFile makes a file of random bytes, the same for the same seed.
func newFile(t *testing.T, size int, seed byte) (path string, content []byte) {
	t.Helper()
	content = make([]byte, size)
	rand.NewChaCha8([32]byte{seed}).Read(content)
	path = filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, content
}

func open(t *testing.T, path string, o *Options) *Device {
	t.Helper()
	d, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// loop makes a block device of a file.
func loop(t *testing.T, path string, sector int) string {
	t.Helper()
	needs.Root(t)
	dev := tool(t, "losetup", "-f", "--show", "-b", strconv.Itoa(sector), path)
	t.Cleanup(func() { tool(t, "losetup", "-d", dev) })
	return dev
}
