package initramfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"troy/chainload/release"
	"troy/image/trust"
	"troy/initramfs/bundle"
)

// The oldest kernel that is taken: the agent was never tried on an older one.
const oldestMajor, oldestMinor = 6, 6

// ErrOldKernel says that a kernel is older than the agent asks for.
var ErrOldKernel = errors.New("kernel too old")

// Build makes a boot bundle (package bundle). The same options, sources, kernel, programs, Go and
// zstd give the same bytes.
//
// The go command and zstd must be in PATH, the working directory inside of Troy's Go module.
func Build(ctx context.Context, o *Options) (*Info, error) {
	c := *o
	c.Loaders = cmp.Or(o.Loaders, "/")
	if err := checkAge(c.Kernel); err != nil {
		return nil, err
	}
	if c.Version != "" {
		if err := trust.CheckRelease(c.Version); err != nil {
			return nil, err
		}
	}
	files, err := readLoaders(c.Loaders)
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("", "troy-bundle-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	initrd, rescue := filepath.Join(tmp, release.Initrd), filepath.Join(tmp, bundle.Rescue)
	info, err := buildInitramfs(ctx, &c, initrd)
	if err != nil {
		return nil, err
	}
	if err := buildRescue(ctx, &c, rescue); err != nil {
		return nil, err
	}
	for name, path := range map[string]string{release.Kernel: c.Kernel, release.Initrd: initrd, bundle.Rescue: rescue} {
		if files[name], err = os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	m := &bundle.Manifest{Version: c.Version, Linux: info.Release, Drivers: info.Modules}
	if err := describe(ctx, &c, m, files); err != nil {
		return nil, err
	}
	return info, bundle.Write(c.Out, m, files)
}

// checkAge returns an ErrOldKernel for a kernel that lacks what the agent needs.
func checkAge(kernel string) error {
	version, err := kernelRelease(kernel)
	if err != nil {
		return err
	}
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		return fmt.Errorf("%w: %s is %s, which is no version", ErrKernel, kernel, version)
	}
	if major < oldestMajor || major == oldestMajor && minor < oldestMinor {
		return fmt.Errorf("%w: %s is Linux %s, want %d.%d or newer", ErrOldKernel, kernel, version, oldestMajor, oldestMinor)
	}
	return nil
}
