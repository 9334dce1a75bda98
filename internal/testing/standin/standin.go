// Package standin builds the program that stands in for Windows Boot Manager in
// tests: a Linux kernel as a unified kernel image whose init says on the serial
// line that it was started, by which boot entry, and powers off.
//
// What a test waits for is [Started]; then come a line `STANDIN: Boot0003 "name"`,
// one of "STANDIN: BootNext not set" and "STANDIN: BootNext still set to 0003",
// and "STANDIN: powering off".
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

// Options say what the stand-in is made of. Kernel, Modules and Out are required.
type Options struct {
	Kernel  string // bzImage
	Modules string // its lib/modules/VERSION folder
	Out     string // the EFI program to write
}

// Build builds the stand-in. The go command must be in PATH.
func Build(ctx context.Context, o *Options) error {
	tmp, err := os.MkdirTemp("", "troy-standin-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	initrd := filepath.Join(tmp, "initrd.zst")
	err = guest.Build(ctx, &guest.Options{Program: "troy/internal/testing/standin/init", Modules: o.Modules, Drivers: []string{"efivarfs"}, Out: initrd})
	if err != nil {
		return fmt.Errorf("stand-in: %w", err)
	}
	return unify(o.Kernel, initrd, "console=ttyS0 quiet panic=-1", o.Out)
}
