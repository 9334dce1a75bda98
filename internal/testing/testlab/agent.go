package testlab

import (
	"context"
	"os"
	"path/filepath"

	"troy/chainload/release"
	"troy/initramfs"
)

// Release is a folder with the boot files of the agent, as `troy media` makes it.
type Release string

// SignedMedia makes a stick with Debian's signed boot loaders and returns the boot files of the
// same agent. PCs start from this stick from now on. Kernel and initramfs are the lab's.
func (l *Lab) SignedMedia(ctx context.Context) (Release, error) {
	r := Release(filepath.Join(l.o.Dir, "agent"))
	err := initramfs.Agent(signedBoot(l.kernel, l.initrd), string(r))
	if err == nil {
		l.USB, err = r.Stick(ctx)
	}
	return r, err
}

func signedBoot(kernel, initrd string) *initramfs.Boot {
	return &initramfs.Boot{Loaders: filepath.Join(os.Getenv("TROY_CACHE"), "loaders"), Kernel: kernel, Initrd: initrd, Cmdline: "quiet console=ttyS0"}
}

// Stick makes a boot stick of the same agent.
func (r Release) Stick(ctx context.Context) (path string, err error) {
	path = string(r) + ".img"
	boot := signedBoot(filepath.Join(string(r), release.Kernel), filepath.Join(string(r), release.Initrd))
	return path, initramfs.USB(ctx, &initramfs.USBOptions{Boot: boot, Out: path})
}

// Change makes a release of another name in which one file has other content.
func (r Release) Change(name, file string, change func([]byte) ([]byte, error)) (Release, error) {
	dir := filepath.Join(filepath.Dir(string(r)), name)
	if err := os.CopyFS(dir, os.DirFS(string(r))); err != nil {
		return "", err
	}
	path := filepath.Join(dir, file)
	b, err := os.ReadFile(path)
	if err == nil {
		b, err = change(b)
	}
	if err != nil {
		return "", err
	}
	return Release(dir), os.WriteFile(path, b, 0o644)
}

// Overlay makes a release whose initramfs has further files, which replace those of the same name.
func (r Release) Overlay(name string, files ...initramfs.File) (Release, error) {
	return r.Change(name, release.Initrd, func(b []byte) ([]byte, error) { return overlay(b, files) })
}

// PublishAgent publishes a release and signs it, as an admin does.
func (l *Lab) PublishAgent(ctx context.Context, version string, r Release) error {
	return l.command(ctx, "agent", "publish", "--store", l.Store, "--version", version, string(r))
}
