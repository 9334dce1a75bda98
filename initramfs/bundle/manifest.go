package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"troy/chainload/release"
	"troy/internal/digest"
	"troy/internal/format"
)

// Files of a bundle beside those of package release.
const (
	ManifestName = "manifest.json"
	GRUBDisk     = release.GRUB     // reads \EFI\debian\grub.cfg
	GRUBCD       = "gcdx64.efi"     // finds its medium by /.disk/info
	GRUBNet      = "grubnetx64.efi" // reads /grub/grub.cfg of the boot server
	IPXE         = release.IPXE
	Rescue       = "rescue.cpio.zst"
	Copyright    = "copyright"
	Source       = "SOURCE"
)

// Names are the files that every bundle has.
func Names() []string {
	return []string{release.Shim, GRUBDisk, GRUBCD, GRUBNet, IPXE, release.Kernel, release.Initrd, Rescue, Copyright, Source}
}

// Default is where the Debian package and the container have their bundle.
const Default = "/usr/share/troy/boot"

// Kind is the format of the manifest.
var Kind = format.Kind{Name: "the boot bundle's " + ManifestName, Number: 1, Oldest: 1}

// Manifest says what a bundle consists of.
type Manifest struct {
	format.Head
	// Version is the release of Troy whose agent it carries, as it is spelled in a store.
	Version string `json:"version"`
	// Linux is the release of the kernel, such as 6.12.117+deb12-amd64.
	Linux string `json:"linux"`
	// Drivers are the kernel modules in the initramfs, in an order in which they load.
	Drivers  []string  `json:"drivers"`
	Files    []File    `json:"files"`
	Packages []Package `json:"packages"`
	Modules  []Module  `json:"modules"`
}

// File is one file of a bundle.
type File struct {
	Name   string     `json:"name"`
	Size   int64      `json:"size"`
	SHA256 digest.Sum `json:"sha256"`
}

// Package is a Debian package of which a bundle has files.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// Sources are the source packages that it was built from, as "name (= version)".
	Sources []string `json:"sources"`
	// Files are what the bundle has of it: "vmlinuz", or "initramfs.cpio.zst/mkntfs" for what lies in
	// another file.
	Files []string `json:"files"`
}

// Module is a Go module from which programs in a bundle are linked.
type Module struct {
	Name    string   `json:"name"` // "std" is Go's own library
	Version string   `json:"version"`
	Files   []string `json:"files"` // the archives with these programs
}

// ErrInvalid is the class of bundles that are not used. ErrAbsent says that there is none.
var (
	ErrInvalid = errors.New("boot bundle not usable")
	ErrAbsent  = errors.New("no boot bundle")
)

// maxManifest bounds what is read, in bytes.
const maxManifest = 1 << 20

// parse reads and checks a manifest.
func parse(b []byte) (*Manifest, error) {
	m := &Manifest{}
	if err := Kind.Read(b, m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return m, m.check()
}

// check returns an ErrInvalid unless the manifest has each file once, by a plain name.
func (m *Manifest) check() error {
	var names []string
	for _, f := range m.Files {
		if !fs.ValidPath(f.Name) || strings.Contains(f.Name, "/") || f.Size <= 0 || f.Size > release.MaxFile {
			return fmt.Errorf("%w: file %.100q of %d bytes in %s", ErrInvalid, f.Name, f.Size, ManifestName)
		}
		names = append(names, f.Name)
	}
	slices.Sort(names)
	if len(slices.Compact(slices.Clone(names))) != len(names) {
		return fmt.Errorf("%w: %s has a file twice", ErrInvalid, ManifestName)
	}
	for _, name := range Names() {
		if _, ok := slices.BinarySearch(names, name); !ok {
			return fmt.Errorf("%w: %s lacks %s", ErrInvalid, ManifestName, name)
		}
	}
	return nil
}

// file returns the entry of a file.
func (m *Manifest) file(name string) (File, error) {
	for _, f := range m.Files {
		if f.Name == name {
			return f, nil
		}
	}
	return File{}, fmt.Errorf("%w: no file %s", ErrInvalid, name)
}
