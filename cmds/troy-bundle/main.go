// Command troy-bundle makes the boot bundle, of which "troy media" makes the media of a site:
//
//	troy-bundle --kernel VMLINUZ --modules DIR [flags]
//
// It runs in a checkout of Troy ("make bundle"), and needs Go and zstd. Package initramfs has what
// goes into a bundle.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"troy/initramfs"
	"troy/internal/cli"
	"troy/internal/progress"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const usage = "troy-bundle --kernel FILE --modules DIR [--loaders DIR] [--drivers LIST] [--programs LIST] [--version NAME] [--cache DIR] [--out DIR]"

// run makes a bundle and returns the exit code.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	s := cli.New("troy-bundle", out, errOut)
	o := &initramfs.Options{}
	var drivers, programs string
	flags := flag.NewFlagSet("troy-bundle", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.Kernel, "kernel", "", "kernel image (bzImage), 6.6 or newer; for Secure Boot the one that Debian signed")
	flags.StringVar(&o.Modules, "modules", "", "its lib/modules/VERSION folder")
	flags.StringVar(&o.Loaders, "loaders", "/", "folder below which Debian's shim-signed, grub-efi-amd64-signed and ipxe are installed or unpacked")
	flags.StringVar(&drivers, "drivers", "", "comma-separated kernel modules besides those of common PCs")
	flags.StringVar(&programs, "programs", "mkntfs,ntfs-3g", "comma-separated programs of this machine that PCs need to format a disk")
	flags.StringVar(&o.Version, "version", "", "name of the release")
	flags.StringVar(&o.Cache, "cache", "", "folder that keeps compiled programs for the next time")
	flags.StringVar(&o.Out, "out", "out/boot", "folder to write")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(s.Out, "make the boot bundle of which troy media makes media\n\nusage: %s\n\n", usage)
		flags.SetOutput(s.Out)
		flags.PrintDefaults()
		return s.Finish(nil, usage)
	case err != nil:
		return s.Finish(cli.Usagef("%v", err), usage)
	case flags.NArg() > 0:
		return s.Finish(cli.Usagef("%s is not a flag", flags.Arg(0)), usage)
	case o.Kernel == "" || o.Modules == "":
		return s.Finish(cli.Usagef("--kernel and --modules are needed"), usage)
	}
	o.Drivers, o.Programs = list(drivers), list(programs)
	info, err := initramfs.Build(ctx, o)
	if err != nil {
		return s.Finish(err, usage)
	}
	var parts []string
	for _, p := range info.Parts {
		parts = append(parts, p.Name+" "+progress.Bytes(p.Size))
	}
	fmt.Fprintf(s.Out, "%s: Linux %s, %d drivers, initramfs %s (%s; unpacked %s)\n", o.Out, info.Release, len(info.Modules),
		progress.Bytes(info.Size), strings.Join(parts, ", "), progress.Bytes(info.RawSize))
	return s.Finish(nil, usage)
}

// list splits at commas and blanks.
func list(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}
