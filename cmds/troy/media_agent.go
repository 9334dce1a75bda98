package main

import (
	"fmt"
	"path/filepath"

	"troy/initramfs"
)

// makeAgent writes the folder that "troy agent publish" takes. Its kernel arguments are those of the start in which a
// machine fetches it.
func (m *mediaCall) makeAgent(signed bool) error {
	out, what := filepath.Join(m.out, "agent"), "Secure Boot off"
	var boot *initramfs.Boot
	if signed {
		boot, what = &initramfs.Boot{Loaders: m.loaders, Kernel: m.kernel, Initrd: m.initrd, Cmdline: m.cmdline()}, "Secure Boot on or off"
	}
	err := initramfs.Agent(boot, m.uki, out)
	if err == nil {
		fmt.Fprintf(m.stdout, "%s: for the machines' own disks ('troy agent publish --version V %s'); %s\n", out, out, what)
	}
	return err
}
