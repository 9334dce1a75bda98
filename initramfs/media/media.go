// Package media makes all boot media of a site at once, of a boot bundle and of what the site adds:
// the stick, the ISO image, the tree for network boot, and the release of the agent.
//
//	usb.img    a stick, to be written as it is
//	troy.iso   for CDs, remote consoles and UEFI HTTP boot
//	net/       for PXE and UEFI HTTP boot
//	agent/     for the machines' own disks; not of rescue media
//
// All of them carry the kernel and the initramfs of the bundle, byte for byte, and beside them
// site.cpio: what the kernel unpacks over the initramfs. The same bundle and site give the same
// media, wherever they are made.
//
// Open reads and checks everything that the media will carry, so that a mistake shows before
// anything is made. The mtools and xorriso must be installed.
package media

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"troy/chainload/release"
	"troy/initramfs"
	"troy/initramfs/bundle"
)

// Options of a Maker. Out is needed.
type Options struct {
	Bundle string // folder of the boot bundle; empty = see bundle.Folder
	Out    string // folder to write to
	Config *Config
	Made   func(path, what string) // is told of each medium when it is there; may be nil
}

// Maker makes the media that Open has checked.
type Maker struct {
	o      Options
	config *Config
	boot   *initramfs.Boot

	usb, iso, net, agent string
}

// Open checks what the media are to carry. Nothing is made. Errors: ErrSources, bundle.ErrAbsent,
// bundle.ErrInvalid.
func Open(o *Options) (*Maker, error) {
	m := &Maker{o: *o, config: o.Config.complete()}
	if m.o.Made == nil {
		m.o.Made = func(string, string) {}
	}
	site, err := m.config.Site(time.Now())
	if err != nil {
		return nil, err
	}
	for name, p := range map[string]*string{"usb.img": &m.usb, "troy.iso": &m.iso, "net": &m.net, "agent": &m.agent} {
		*p = filepath.Join(o.Out, name)
	}
	b, err := bundle.Open(bundle.Folder(o.Bundle))
	if err != nil {
		return nil, err
	}
	m.boot = &initramfs.Boot{Bundle: b, Site: site, Cmdline: m.cmdline()}
	if m.config.Rescue {
		rescue, err := b.Read(bundle.Rescue)
		if err != nil {
			return nil, err
		}
		m.boot.Site = append(rescue, site...)
	}
	return m, nil
}

// Version is the release of Troy whose agent the media carry.
func (m *Maker) Version() string { return m.boot.Bundle.Manifest.Version }

// Warnings are what the admin should know before the media are carried away.
func (m *Maker) Warnings() (lines []string) {
	if m.config.Rescue {
		lines = append(lines, "these media give a shell to whoever sits at the machine, as root: keep them locked away; no release of the agent is made of them")
	}
	return lines
}

// Make makes everything.
func (m *Maker) Make(ctx context.Context) error {
	if err := os.MkdirAll(m.o.Out, 0o755); err != nil {
		return err
	}
	for _, make := range []func(context.Context) error{m.makeUSB, m.makeISO, m.makeNet, m.MakeAgent} {
		if err := make(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Complete tells whether all media lie in a folder, and were made after that time. The release of
// the agent is made last, each file of it whole.
func Complete(out string, since time.Time) bool {
	names := []string{"usb.img", "troy.iso", "net"}
	for _, name := range release.Files() {
		names = append(names, filepath.Join("agent", name))
	}
	return !slices.ContainsFunc(names, func(name string) bool {
		info, err := os.Stat(filepath.Join(out, name))
		return err != nil || !info.ModTime().After(since)
	})
}

// cmdline are the kernel arguments. A kernel that panics, as it does when init ends, is restarted:
// nobody may be there.
func (m *Maker) cmdline() string {
	return strings.TrimSpace("quiet loglevel=3 panic=30 " + m.config.Append)
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

// MakeAgent makes the folder agent/ alone, which "troy agent publish" takes. Its kernel arguments
// are those of the start in which a machine fetches it.
func (m *Maker) MakeAgent(context.Context) error {
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
