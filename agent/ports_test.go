package agent

import (
	"os"
	"path/filepath"
	"testing"
)

// TestBusOf: adapters are told from ports that stay, as the kernel's tree shows them.
func TestBusOf(t *testing.T) {
	root := t.TempDir()
	device := func(path, bus, removable string) {
		t.Helper()
		dir := filepath.Join(root, "devices", path)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("../../bus/"+bus, filepath.Join(dir, "subsystem")); err != nil {
			t.Fatal(err)
		}
		if removable == "" {
			return
		}
		if err := os.WriteFile(filepath.Join(dir, "removable"), []byte(removable+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	device("pci0000:00", "", "")
	device("pci0000:00/0000:00:1f.6", "pci", "fixed")
	device("pci0000:00/0000:00:14.0", "pci", "")
	device("pci0000:00/0000:00:14.0/usb1", "usb", "unknown")
	device("pci0000:00/0000:00:14.0/usb1/1-2", "usb", "removable")
	device("pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0", "usb", "")
	device("pci0000:00/0000:00:07.0", "pci", "")
	device("pci0000:00/0000:00:07.0/0000:05:00.0", "pci", "removable")
	device("pci0000:00/0000:00:07.0/0000:05:00.0/0000:06:00.0", "pci", "")
	device("pci0000:00/0000:00:03.0/virtio0", "virtio", "")
	for _, x := range []struct{ path, want string }{
		{"pci0000:00/0000:00:1f.6", "pci"},
		{"pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0", "usb"},
		{"pci0000:00/0000:00:07.0/0000:05:00.0/0000:06:00.0", "thunderbolt"},
		{"pci0000:00/0000:00:03.0/virtio0", "virtio"},
		{"none", ""},
	} {
		t.Run(x.path, func(t *testing.T) {
			link := filepath.Join(t.TempDir(), "device")
			if err := os.Symlink(filepath.Join(root, "devices", x.path), link); err != nil {
				t.Fatal(err)
			}
			if got := busOf(link); got != x.want {
				t.Errorf("%q, want %q", got, x.want)
			}
		})
	}
	for _, p := range readPorts(netDir) {
		if p.MAC == "" {
			t.Errorf("a port without an address: %+v", p)
		}
	}
}
