// Package standin builds the program that stands in for Windows Boot Manager in
// tests: a Linux kernel as a unified kernel image whose init says on the serial
// line that it was started, by which boot entry, and powers off.
//
// What a test waits for is [Started]; then come a line `STANDIN: Boot0003 "name"`,
// one of "STANDIN: BootNext not set" and "STANDIN: BootNext still set to 0003",
// and "STANDIN: powering off".
//
// With [Options.Plays] it plays the Windows behind the boot manager as well, on the
// PC's disk: what it says and does then is told by package player.
package standin

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"troy/internal/testing/guest"
)

// Started is the first line that the stand-in says.
const Started = "STANDIN: Windows Boot Manager stand-in started"

// cmdline is that of the kernel.
const cmdline = "console=ttyS0 quiet panic=-1"

// Options say what the stand-in is made of. Kernel, Modules and Out are required.
type Options struct {
	Kernel  string // bzImage
	Modules string // its lib/modules/VERSION folder
	Out     string // the EFI program to write
	// Plays has it play a Windows on the PC's disk, see package player.
	Plays bool
}

// Build builds the stand-in. The go command must be in PATH.
func Build(ctx context.Context, o *Options) error {
	tmp, err := os.MkdirTemp("", "troy-standin-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	initrd := filepath.Join(tmp, "initrd.zst")
	if err := o.initrd(ctx, initrd); err != nil {
		return fmt.Errorf("stand-in: %w", err)
	}
	return unify(o.Kernel, initrd, cmdline, o.Out)
}

// initrd writes the initramfs.
func (o *Options) initrd(ctx context.Context, out string) error {
	g := &guest.Options{Program: "troy/internal/testing/standin/init", Modules: o.Modules, Drivers: []string{"efivarfs"}, Out: out}
	if o.Plays {
		g.Program = "troy/internal/testing/standin/playinit"
		g.Drivers = append(g.Drivers, "virtio_pci", "virtio_blk", "nvme", "ahci", "sd_mod", "sr_mod")
	}
	return guest.Build(ctx, g)
}
