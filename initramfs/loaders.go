package initramfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"troy/chainload/release"
	"troy/initramfs/bundle"
)

// Loader is a boot loader of Debian, as a bundle has it.
type Loader struct {
	Name    string // in the bundle
	Path    string // where its package puts it
	Package string
}

// Loaders are the boot loaders of a bundle. Firmware with Microsoft's keys starts shim, which starts
// GRUB and lets it start kernels that Debian signed. iPXE is not signed.
func Loaders() []Loader {
	const grub, signed = "grub-efi-amd64-signed", "usr/lib/grub/x86_64-efi-signed/"
	return []Loader{
		{release.Shim, "usr/lib/shim/shimx64.efi.signed", "shim-signed"},
		{bundle.GRUBDisk, signed + "grubx64.efi.signed", grub},
		{bundle.GRUBCD, signed + "gcdx64.efi.signed", grub},
		{bundle.GRUBNet, signed + "grubnetx64.efi.signed", grub},
		{bundle.IPXE, "usr/lib/ipxe/snponly.efi", "ipxe"},
	}
}

// ErrNoLoader says that a boot loader is not where its package puts it.
var ErrNoLoader = errors.New("boot loader not found")

// readLoaders returns the boot loaders below the folder root, by their names in a bundle.
func readLoaders(root string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, l := range Loaders() {
		name := filepath.Join(root, l.Path)
		b, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: %s (Debian package %s)", ErrNoLoader, name, l.Package)
		}
		if err != nil {
			return nil, fmt.Errorf("boot loader: %w", err)
		}
		files[l.Name] = b
	}
	return files, nil
}
