package initramfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"troy/chainload/release"
)

// Agent writes the folder that is published as a release of the agent, with which
// machines keep the copy on their own ESP new (package chainload/selfboot):
//
//	shimx64.efi           boot loaders that start with Secure Boot on and off
//	grubx64.efi           GRUB's build that reads the configuration beside itself
//	vmlinuz
//	initramfs.cpio.zst
//
// or, when boot is nil, the unified kernel image alone, as troy.efi. The site's files
// are those in the initramfs. Other files of these names in the folder are removed: all
// that lies in it is published.
func Agent(boot *Boot, uki, out string) error {
	files, err := agentFiles(boot, uki)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, f := range files {
		wanted[f.Name] = true
	}
	for _, name := range agentNames() {
		if wanted[name] {
			continue
		}
		if err := os.Remove(filepath.Join(out, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return writeTree(out, files)
}

// agentNames are all that a release may hold.
func agentNames() []string {
	return append(release.Signed(), release.UKI)
}

func agentFiles(boot *Boot, uki string) ([]File, error) {
	if boot == nil {
		data, err := os.ReadFile(uki)
		if err != nil {
			return nil, fmt.Errorf("boot image: %w", err)
		}
		return []File{{Name: release.UKI, Data: data}}, nil
	}
	files, err := boot.payload()
	if err != nil {
		return nil, err
	}
	for i, f := range files {
		files[i].Name = path.Base(f.Name)
	}
	shim, err := boot.loader(Shim)
	if err != nil {
		return nil, err
	}
	beside, err := boot.GRUBBeside()
	return append(files, File{Name: release.Shim, Data: shim}, File{Name: release.GRUB, Data: beside}), err
}
