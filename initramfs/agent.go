package initramfs

import (
	"os"
	"path"

	"troy/chainload/release"
)

// Agent writes the folder that is published as a release of the agent, with which
// machines keep the copy on their own ESP new (package chainload/selfboot):
//
//	shimx64.efi           boot loaders that start with Secure Boot on and off
//	grubx64.efi           GRUB's build that reads the configuration beside itself
//	vmlinuz
//	initramfs.cpio.zst
//	site.cpio             what the site adds
//
// What else lies in the folder would be published with
// it: the caller gives an empty one, or one that this function wrote.
func Agent(boot *Boot, out string) error {
	files, err := boot.release()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	return writeTree(out, files)
}

// release are the files of a release of the agent.
func (b *Boot) release() ([]File, error) {
	files, err := b.payload()
	if err != nil {
		return nil, err
	}
	for i, f := range files {
		files[i].Name = path.Base(f.Name)
	}
	shim, err := b.Bundle.Read(release.Shim)
	if err != nil {
		return nil, err
	}
	beside, err := b.besideGRUB()
	return append(files, File{Name: release.Shim, Data: shim}, File{Name: release.GRUB, Data: beside}), err
}
