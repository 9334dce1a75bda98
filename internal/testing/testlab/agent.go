package testlab

import (
	"context"
	"os"
	"path/filepath"

	"troy/chainload/grub"
	"troy/chainload/release"
	"troy/initramfs"
	"troy/initramfs/bundle"
)

// Release is a folder with the boot files of the agent, as `troy media` makes it.
type Release struct {
	dir    string
	bundle *bundle.Bundle // that its boot loaders are of
}

// arguments are the kernel arguments of media that the lab makes itself.
const arguments = "quiet console=ttyS0"

// SignedMedia makes a stick with Debian's signed boot loaders and returns the boot files of the
// same agent. PCs start from this stick from now on.
func (l *Lab) SignedMedia(ctx context.Context) (Release, error) {
	r := Release{filepath.Join(l.o.Dir, "agent"), l.bundle}
	err := initramfs.Agent(&initramfs.Boot{Bundle: l.bundle, Site: l.site, Cmdline: arguments}, r.dir)
	if err == nil {
		l.USB, err = r.Stick(ctx)
	}
	return r, err
}

// Stick makes a boot stick of the same agent.
func (r Release) Stick(ctx context.Context) (path string, err error) {
	files := map[string][]byte{}
	for _, name := range bundle.Names() {
		if files[name], err = r.bundle.Read(name); err != nil {
			return "", err
		}
	}
	for _, name := range []string{release.Shim, release.Kernel, release.Initrd, release.Site} {
		if files[name], err = os.ReadFile(filepath.Join(r.dir, name)); err != nil {
			return "", err
		}
	}
	m := *r.bundle.Manifest
	if err := bundle.Write(r.dir+"-boot", &m, files); err != nil {
		return "", err
	}
	b, err := bundle.Open(r.dir + "-boot")
	if err != nil {
		return "", err
	}
	boot := &initramfs.Boot{Bundle: b, Site: files[release.Site], Cmdline: arguments}
	path = r.dir + ".img"
	return path, initramfs.USB(ctx, &initramfs.USBOptions{Boot: boot, Out: path})
}

// Change makes a release of another name in which one file has other content.
func (r Release) Change(name, file string, change func([]byte) ([]byte, error)) (Release, error) {
	changed := Release{filepath.Join(filepath.Dir(r.dir), name), r.bundle}
	if err := os.CopyFS(changed.dir, os.DirFS(r.dir)); err != nil {
		return changed, err
	}
	path := filepath.Join(changed.dir, file)
	b, err := os.ReadFile(path)
	if err == nil {
		b, err = change(b)
	}
	if err != nil {
		return changed, err
	}
	return changed, os.WriteFile(path, b, 0o644)
}

// Overlay makes a release whose initramfs has further files, which replace those of the same name.
func (r Release) Overlay(name string, files ...initramfs.File) (Release, error) {
	return r.Change(name, release.Initrd, func(b []byte) ([]byte, error) { return overlay(b, files) })
}

// PublishAgent publishes a release and signs it, as an admin does.
func (l *Lab) PublishAgent(ctx context.Context, version string, r Release) error {
	return l.command(ctx, "agent", "publish", "--store", l.Store, "--version", version, r.dir)
}

// Loader is the file of one of Debian's boot loaders, by its name in a bundle.
func Loader(name string) string {
	for _, l := range initramfs.Loaders() {
		if l.Name == name {
			return filepath.Join(os.Getenv("TROY_CACHE"), "loaders", l.Path)
		}
	}
	return ""
}

// GRUBBeside is the build of Debian's GRUB that reads the configuration beside itself.
func GRUBBeside() ([]byte, error) {
	cd, err := os.ReadFile(Loader(bundle.GRUBCD))
	if err != nil || grub.ReadsBeside(cd) {
		return cd, err
	}
	return os.ReadFile(Loader(bundle.GRUBDisk))
}
