package initramfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Loader is a boot loader of Debian.
type Loader struct {
	Path    string // where its package puts it
	Package string
}

// The boot loaders that media are made of; read only. Firmware with Microsoft's keys starts
// shim, which starts GRUB and lets it start kernels that Debian signed. iPXE is not signed.
var (
	Shim       = Loader{"usr/lib/shim/shimx64.efi.signed", "shim-signed"}
	grubDisk   = Loader{"usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", "grub-efi-amd64-signed"}
	grubCD     = Loader{"usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed", "grub-efi-amd64-signed"}
	grubNet    = Loader{"usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed", "grub-efi-amd64-signed"}
	ipxeLoader = Loader{"usr/lib/ipxe/snponly.efi", "ipxe"}
)

// ErrNoLoader says that a boot loader is not where its package puts it.
var ErrNoLoader = errors.New("boot loader not found")

// HasLoaders tells whether all boot loaders are below the folder root: those of
// packages that are installed below "/", or that were unpacked elsewhere by dpkg -x.
// The error names the first that is not, and is an [ErrNoLoader].
func HasLoaders(root string) error {
	for _, l := range []Loader{Shim, grubDisk, grubCD, grubNet, ipxeLoader} {
		if _, err := l.read(root); err != nil {
			return err
		}
	}
	return nil
}

func (l Loader) read(root string) ([]byte, error) {
	name := filepath.Join(root, l.Path)
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s (Debian package %s)", ErrNoLoader, name, l.Package)
	}
	if err != nil {
		return nil, fmt.Errorf("boot loader: %w", err)
	}
	return b, nil
}
