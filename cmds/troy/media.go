package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"troy/cmds/internal/progress"
	"troy/initramfs"
)

func mediaCommand() command {
	return command{
		name: "media", args: "--kernel VMLINUZ --modules DIR [--server URL] [--append ARGS] [--out DIR]",
		short: "make the initramfs and the boot stick", run: runMedia,
	}
}

// runMedia writes initramfs.cpio.zst, troy.efi and usb.img. It builds the agent from source, so it has to run inside a
// checkout of Troy with Go installed.
func runMedia(ctx context.Context, c *call) error {
	fs := c.flags()
	kernel := fs.String("kernel", "", "kernel image (bzImage), 6.6 or newer")
	modules := fs.String("modules", "", "its lib/modules/VERSION `folder`")
	server := fs.String("server", "", "`URL` of the server, for machines whose DHCP server does not name it")
	appendix := fs.String("append", "console=ttyS0,115200 console=tty0", "further kernel `arguments`; people see what the last console shows")
	out := fs.String("out", "out", "`folder` to write to")
	cache := fs.String("cache", "", "`folder` to keep the programs that do not change in (faster next time)")
	if _, err := c.parse(fs, 0, 0); err != nil {
		return err
	}
	if *kernel == "" || *modules == "" {
		return &usageError{"--kernel and --modules are needed"}
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	initrd, uki, usb := filepath.Join(*out, "initramfs.cpio.zst"), filepath.Join(*out, "troy.efi"), filepath.Join(*out, "usb.img")
	info, err := initramfs.Build(ctx, &initramfs.Options{Kernel: *kernel, Modules: *modules, Cache: *cache, Out: initrd})
	if err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "%s: kernel %s, %d modules, %s (unpacked %s)\n", initrd, info.Release, len(info.Modules), progress.Bytes(info.Size), progress.Bytes(info.RawSize))
	cmdline := "quiet " + *appendix
	if *server != "" {
		cmdline += " troy.server=" + *server
	}
	if err := initramfs.UKI(ctx, &initramfs.UKIOptions{Kernel: *kernel, Initrd: initrd, Cmdline: cmdline, Out: uki}); err != nil {
		return err
	}
	if err := initramfs.USB(ctx, &initramfs.USBOptions{UKI: uki, Out: usb}); err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "%s: for HTTP or TFTP boot; %s: write it to a stick as it is\n", uki, usb)
	return nil
}
