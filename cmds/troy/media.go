package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"troy/chainload/release"
	"troy/initramfs"
	"troy/internal/progress"
)

func mediaCommand() command {
	return command{
		name: "media", args: "--kernel VMLINUZ --modules DIR [--config FILE] [--server URL]… [--store DIR | --root FILE | --unsigned] [--ca FILE] [--argument WORD]… " +
			"[--append ARGS] [--boot-url URL] [--loaders DIR] [--programs LIST] [--cache DIR] [--out DIR]",
		short: "make boot stick, ISO image, and a tree for PXE and UEFI HTTP boot", run: runMedia,
	}
}

// mediaCall is one call of "troy media".
type mediaCall struct {
	*call
	site                                         mediaConfig
	kernel, modules, config, loaders, out, cache string
	programs                                     string
	namedLoaders                                 bool // on the command line
	initrd, uki, usb, iso, net                   string
}

func newMediaCall(c *call) (*mediaCall, error) {
	m := &mediaCall{call: c}
	fs := c.flags()
	fs.StringVar(&m.kernel, "kernel", "", "kernel image (bzImage), 6.6 or newer; for Secure Boot the one that Debian signed")
	fs.StringVar(&m.modules, "modules", "", "its lib/modules/VERSION `folder`")
	fs.StringVar(&m.config, "config", "", "YAML or JSON `file` that says what the flags --server to --boot-url say; flags count more, lists are joined")
	m.site.flags(fs)
	fs.StringVar(&m.loaders, "loaders", "/", "`folder` below which Debian's shim-signed, grub-efi-amd64-signed and ipxe are installed or unpacked")
	fs.StringVar(&m.programs, "programs", "mkntfs,ntfs-3g", "programs of this machine that the media carry, by comma; without mkntfs and ntfs-3g they cannot install a machine anew")
	fs.StringVar(&m.out, "out", "out", "`folder` to write to")
	fs.StringVar(&m.cache, "cache", "", "`folder` to keep the programs that do not change in (faster next time)")
	if _, err := c.parse(fs, 0, 0); err != nil {
		return nil, err
	}
	if m.kernel == "" || m.modules == "" {
		return nil, &usageError{"--kernel and --modules are needed"}
	}
	fs.Visit(func(f *flag.Flag) { m.namedLoaders = m.namedLoaders || f.Name == "loaders" })
	for name, p := range map[string]*string{release.Initrd: &m.initrd, release.UKI: &m.uki, "usb.img": &m.usb, release.ISO: &m.iso, "net": &m.net} {
		*p = filepath.Join(m.out, name)
	}
	return m, nil
}

// runMedia writes initramfs.cpio.zst, troy.efi, usb.img, agent/ and, with signed boot loaders, troy.iso and net/. It builds the agent from source, so it
// has to run inside a checkout of Troy with Go installed.
func runMedia(ctx context.Context, c *call) error {
	m, err := newMediaCall(c)
	if err != nil {
		return err
	}
	if err := m.site.load(m.config); err != nil {
		return explain(err, nothingChanged)
	}
	files, err := m.site.files(time.Now())
	if err != nil {
		return explain(err, nothingChanged)
	}
	missing := initramfs.HasLoaders(m.loaders)
	if missing != nil && (m.namedLoaders || !errors.Is(missing, initramfs.ErrNoLoader)) {
		return explain(missing, nothingChanged)
	}
	if w := m.site.warning(); w != "" {
		fmt.Fprintln(c.stderr, "troy:", w)
	}
	if err := os.MkdirAll(m.out, 0o755); err != nil {
		return err
	}
	if err := m.makeInitrd(ctx, files); err != nil {
		return err
	}
	if missing != nil {
		fmt.Fprintf(c.stderr, "troy: %v: the media start with Secure Boot off only, no ISO image and no tree for PXE is made\n", missing)
		return errors.Join(m.makeUnsigned(ctx), m.makeAgent(false))
	}
	return errors.Join(m.makeSigned(ctx, files), m.makeAgent(true))
}

func (m *mediaCall) makeInitrd(ctx context.Context, files []initramfs.File) error {
	o := &initramfs.Options{Kernel: m.kernel, Modules: m.modules, Cache: m.cache, Out: m.initrd, Files: files}
	if m.programs != "" {
		o.Programs = strings.Split(m.programs, ",")
	}
	info, err := initramfs.Build(ctx, o)
	if err != nil {
		return err
	}
	var parts []string
	for _, p := range info.Parts {
		parts = append(parts, p.Name+" "+progress.Bytes(p.Size))
	}
	fmt.Fprintf(m.stdout, "%s: kernel %s, %d modules, %s (%s; unpacked %s)\n", m.initrd, info.Release, len(info.Modules),
		progress.Bytes(info.Size), strings.Join(parts, ", "), progress.Bytes(info.RawSize))
	err = initramfs.UKI(ctx, &initramfs.UKIOptions{Kernel: m.kernel, Initrd: m.initrd, Cmdline: m.cmdline(), Out: m.uki})
	if err == nil {
		fmt.Fprintf(m.stdout, "%s: for UEFI HTTP boot, Secure Boot off\n", m.uki)
	}
	return err
}

func (m *mediaCall) cmdline() string { return strings.TrimSpace("quiet " + m.site.Append) }

// makeUnsigned writes a stick with the unified kernel image.
func (m *mediaCall) makeUnsigned(ctx context.Context) error {
	err := initramfs.USB(ctx, &initramfs.USBOptions{UKI: m.uki, Out: m.usb})
	if err == nil {
		fmt.Fprintf(m.stdout, "%s: write it to a stick as it is; Secure Boot off\n", m.usb)
	}
	return err
}

// makeSigned writes what starts with Secure Boot on and off.
func (m *mediaCall) makeSigned(ctx context.Context, files []initramfs.File) error {
	boot := &initramfs.Boot{Loaders: m.loaders, Kernel: m.kernel, Initrd: m.initrd, Cmdline: m.cmdline()}
	for _, step := range []struct {
		out, what string
		do        func() error
	}{
		{m.usb, "write it to a stick as it is; Secure Boot on or off; kernel arguments can be added in its file troy/arguments.cfg",
			func() error { return initramfs.USB(ctx, &initramfs.USBOptions{Boot: boot, Out: m.usb}) }},
		{m.iso, "for CDs, remote consoles, UEFI HTTP boot; Secure Boot on or off",
			func() error { return initramfs.ISO(ctx, &initramfs.ISOOptions{Boot: boot, Out: m.iso}) }},
		{m.net, "serve it by TFTP and HTTP; what DHCP has to say is in its dnsmasq.conf",
			func() error {
				return initramfs.Net(ctx, &initramfs.NetOptions{Boot: boot, UKI: m.uki, ISO: m.iso, URL: m.site.BootURL, Out: m.net})
			}},
	} {
		if err := step.do(); err != nil {
			return err
		}
		fmt.Fprintf(m.stdout, "%s: %s\n", step.out, step.what)
	}
	return nil
}
