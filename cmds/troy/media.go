package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"

	"troy/image/trust/sign"
	"troy/initramfs/media"
)

func mediaCommand() command {
	return command{
		name: "media", args: "--kernel VMLINUZ --modules DIR [--config FILE] [--server URL]… --store DIR | --root FILE [--ca FILE] [--argument WORD]… " +
			"[--append ARGS] [--boot-url URL] [--loaders DIR] [--programs LIST] [--cache DIR] [--out DIR]",
		short: "make boot stick, ISO image, and a tree for PXE and UEFI HTTP boot", run: runMedia,
	}
}

// mediaGone says what replaces the flag that media no longer has.
var mediaGone = map[string]string{"unsigned": "every store is signed; --store or --root names whose signatures machines take"}

// mediaFlags are those of "troy media".
type mediaFlags struct {
	media.Options
	carried          media.Config
	config, programs string
}

func (m *mediaFlags) define(fs flagSet) {
	fs.StringVar(&m.Kernel, "kernel", "", "kernel image (bzImage), 6.6 or newer; for Secure Boot the one that Debian signed")
	fs.StringVar(&m.Modules, "modules", "", "its lib/modules/VERSION `folder`")
	fs.StringVar(&m.config, "config", "", "YAML or JSON `file` that says what the flags --server to --boot-url say; flags count more, lists are joined")
	c := &m.carried
	fs.Var((*paths)(&c.Servers), "server", "`URL` of a server, may be repeated; without one DHCP has to name it")
	fs.StringVar(&c.CA, "ca", "", "PEM `file` with the certificate of who signed the servers' certificates")
	fs.StringVar(&c.Root, "root", "", "`file` with the root metadata of the store (troy key root)")
	fs.StringVar(&c.Store, "store", "", "the store's `folder`, to take the root metadata from")
	fs.Var((*paths)(&c.Arguments), "argument", "`word` for the agent such as troy.port=eth0, may be repeated")
	fs.StringVar(&c.Append, "append", "", "kernel `arguments` (default "+media.DefaultAppend+"); people see what the last console shows")
	fs.StringVar(&c.BootURL, "boot-url", "", "`URL` at which the folder net will be served, so that GRUB loads by HTTP and not by TFTP (default: boot/ of the first server if that is http)")
	fs.StringVar(&m.Loaders, "loaders", "/", "`folder` below which Debian's shim-signed, grub-efi-amd64-signed and ipxe are installed or unpacked")
	fs.StringVar(&m.programs, "programs", "mkntfs,ntfs-3g", "programs of this machine that the media carry, by comma; without mkntfs and ntfs-3g they cannot install a machine anew")
	fs.StringVar(&m.Out, "out", "out", "`folder` to write to")
	fs.StringVar(&m.Cache, "cache", "", "`folder` to keep the programs that do not change in (faster next time)")
}

func runMedia(ctx context.Context, c *call) error {
	m := &mediaFlags{}
	fs := c.flags()
	m.define(fs)
	if err := goneFlags(c.args, mediaGone); err != nil {
		return err
	}
	if _, err := c.parse(fs, 0, 0); err != nil {
		return err
	}
	if m.Kernel == "" || m.Modules == "" {
		return &usageError{"--kernel and --modules are needed"}
	}
	m.Config = &m.carried
	if m.config != "" {
		below, err := media.ReadConfig(m.config)
		if err != nil {
			return explain(err, nothingChanged)
		}
		m.Config = m.carried.Under(below)
	}
	if m.programs != "" {
		m.Programs = strings.Split(m.programs, ",")
	}
	fs.Visit(func(f *flag.Flag) { m.NeedLoaders = m.NeedLoaders || f.Name == "loaders" })
	return makeMedia(ctx, c, &m.Options)
}

// makeMedia makes the media and says what each is for.
func makeMedia(ctx context.Context, c *call, o *media.Options) error {
	o.Made = func(path, what string) { fmt.Fprintf(c.stdout, "%s: %s\n", path, what) }
	m, err := media.Open(o)
	if errors.Is(err, media.ErrSources) {
		return &usageError{err.Error()}
	}
	if errors.Is(err, sign.ErrUnsigned) {
		return unsigned(err, o.Config.Store)
	}
	if err != nil {
		return explain(err, nothingChanged)
	}
	for _, line := range m.Warnings() {
		fmt.Fprintln(c.stderr, "troy:", line)
	}
	return m.Make(ctx)
}
