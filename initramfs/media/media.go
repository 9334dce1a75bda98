// Package media makes all boot media of a place at once: the initramfs with what it carries for the
// place, the stick, the ISO image, the tree for network boot, and the release of the agent.
//
//	initramfs.cpio.zst   what all of them start
//	usb.img              a stick, to be written as it is
//	troy.iso             for CDs, remote consoles and UEFI HTTP boot
//	net/                 for PXE and UEFI HTTP boot
//	agent/               for the machines' own disks; not of rescue media
//
// Open reads and checks everything that the media will carry, so that a mistake shows before
// anything is made.
package media

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"troy/initramfs"
	"troy/internal/progress"
)

// Options of a Maker. Kernel, Modules and Out are needed.
type Options struct {
	Kernel, Modules string // see initramfs.Options
	Cache           string
	Programs        []string
	Loaders         string // folder below which the signed boot loaders lie
	Out             string // folder to write to
	Config          *Config
	Made            func(path, what string) // is told of each medium when it is there; may be nil
}

// Maker makes the media that Open has checked.
type Maker struct {
	o      Options
	config *Config
	files  []initramfs.File
	boot   *initramfs.Boot

	initrd, usb, iso, net, agent string
}

// Open checks what the media are to carry. Nothing is made. Errors: ErrSources,
// initramfs.ErrNoLoader.
func Open(o *Options) (*Maker, error) {
	m := &Maker{o: *o, config: o.Config.complete()}
	if m.o.Made == nil {
		m.o.Made = func(string, string) {}
	}
	var err error
	if m.files, err = m.config.files(time.Now()); err != nil {
		return nil, err
	}
	for name, p := range map[string]*string{"initramfs.cpio.zst": &m.initrd, "usb.img": &m.usb, "troy.iso": &m.iso, "net": &m.net, "agent": &m.agent} {
		*p = filepath.Join(o.Out, name)
	}
	if err := initramfs.HasLoaders(o.Loaders); err != nil {
		return nil, err
	}
	m.boot = &initramfs.Boot{Loaders: o.Loaders, Kernel: o.Kernel, Initrd: m.initrd, Cmdline: m.cmdline()}
	return m, nil
}

// Warnings are what the admin should know before the media are carried away.
func (m *Maker) Warnings() (lines []string) {
	if m.config.Rescue {
		lines = append(lines, "these media give a shell to whoever sits at the machine, as root: keep them locked away; no release of the agent is made of them")
	}
	return lines
}

// Make makes everything. It builds the agent from source, so it has to run inside a checkout of
// Troy with Go installed.
func (m *Maker) Make(ctx context.Context) error {
	if err := os.MkdirAll(m.o.Out, 0o755); err != nil {
		return err
	}
	for _, make := range []func(context.Context) error{m.makeInitrd, m.makeUSB, m.makeISO, m.makeNet, m.makeAgent} {
		if err := make(ctx); err != nil {
			return err
		}
	}
	return nil
}

// cmdline are the kernel arguments. A kernel that panics, as it does when init ends, is restarted:
// nobody may be there.
func (m *Maker) cmdline() string { return strings.TrimSpace("quiet panic=30 " + m.config.Append) }

func (m *Maker) makeInitrd(ctx context.Context) error {
	info, err := initramfs.Build(ctx, &initramfs.Options{Kernel: m.o.Kernel, Modules: m.o.Modules, Cache: m.o.Cache, Out: m.initrd,
		Files: m.files, Programs: m.o.Programs, Rescue: m.config.Rescue})
	if err != nil {
		return err
	}
	var parts []string
	for _, p := range info.Parts {
		parts = append(parts, p.Name+" "+progress.Bytes(p.Size))
	}
	m.o.Made(m.initrd, fmt.Sprintf("kernel %s, %d modules, %s (%s; unpacked %s)", info.Release, len(info.Modules),
		progress.Bytes(info.Size), strings.Join(parts, ", "), progress.Bytes(info.RawSize)))
	return nil
}

func (m *Maker) makeUSB(ctx context.Context) error {
	err := initramfs.USB(ctx, &initramfs.USBOptions{Boot: m.boot, Out: m.usb})
	return m.made(err, m.usb, "write it to a stick as it is; Secure Boot on or off; kernel arguments can be added in its file troy/arguments.cfg")
}

func (m *Maker) makeISO(ctx context.Context) error {
	err := initramfs.ISO(ctx, &initramfs.ISOOptions{Boot: m.boot, Out: m.iso})
	return m.made(err, m.iso, "for CDs, remote consoles, UEFI HTTP boot; Secure Boot on or off")
}

func (m *Maker) makeNet(ctx context.Context) error {
	err := initramfs.Net(ctx, &initramfs.NetOptions{Boot: m.boot, ISO: m.iso, URL: m.config.BootURL, Out: m.net})
	return m.made(err, m.net, "serve it by TFTP and HTTP; what DHCP has to say is in its dnsmasq.conf")
}

// makeAgent writes the folder that "troy agent publish" takes. Its kernel arguments are those of
// the start in which a machine fetches it.
func (m *Maker) makeAgent(context.Context) error {
	if m.config.Rescue {
		return nil
	}
	err := initramfs.Agent(m.boot, m.agent)
	return m.made(err, m.agent, fmt.Sprintf("for the machines' own disks ('troy agent publish --version V %s'); Secure Boot on or off", m.agent))
}

// made tells of a medium that is there.
func (m *Maker) made(err error, path, what string) error {
	if err == nil {
		m.o.Made(path, what)
	}
	return err
}
