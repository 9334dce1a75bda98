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

	"troy/initramfs"
	"troy/initramfs/kmod"
)

// Path is where Windows Boot Manager lies on an ESP.
const Path = "EFI/Microsoft/Boot/bootmgfw.efi"

// Started is the first line that the stand-in says.
const Started = "STANDIN: Windows Boot Manager stand-in started"

// Options say what the stand-in is made of. Kernel, Modules and Out are required.
type Options struct {
	Kernel  string // bzImage
	Modules string // its lib/modules/VERSION folder
	Stub    string // systemd's EFI stub; empty = [initramfs.DefaultStub]
	Source  string // folder inside the Go module; empty = the working directory
	Out     string // the EFI program to write
}

// Build builds the stand-in. The go command must be in PATH.
func Build(ctx context.Context, o *Options) error {
	tmp, err := os.MkdirTemp("", "troy-standin-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	files, err := contents(ctx, o, tmp)
	if err != nil {
		return fmt.Errorf("stand-in: %w", err)
	}
	initrd := filepath.Join(tmp, "initrd.zst")
	if err := initramfs.Pack(initrd, files); err != nil {
		return fmt.Errorf("stand-in: %w", err)
	}
	return initramfs.UKI(ctx, &initramfs.UKIOptions{
		Kernel: o.Kernel, Initrd: initrd, Stub: o.Stub, Out: o.Out,
		Cmdline: "console=ttyS0 quiet panic=-1",
	})
}

func contents(ctx context.Context, o *Options, tmp string) ([]initramfs.File, error) {
	program := filepath.Join(tmp, "init")
	if err := initramfs.Compile(ctx, o.Source, "troy/qemu-tests/standin/init", program); err != nil {
		return nil, err
	}
	code, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	files := []initramfs.File{{Name: "init", Data: code, Mode: 0o755}}
	index, err := kmod.Open(o.Modules)
	if err != nil {
		return nil, err
	}
	modules, err := index.Closure("efivarfs") // it depends on nothing
	for _, m := range modules {
		files = append(files, initramfs.File{Name: m.Name + ".ko", Data: m.Data})
	}
	return files, err
}
