package selfboot

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"troy/chainload/grub"
	"troy/internal/kernelargs"

	"github.com/u-root/mkuimage/cpio"
)

// Errors of releases.
var (
	// ErrRelease is the class of releases that cannot be installed as they are.
	ErrRelease = errors.New("selfboot: bad release")
	// ErrSource says that a file does not hold what its size and hash say.
	ErrSource = errors.New("selfboot: file of the release is not what it should be")
)

// File is a file of a release. Open is called more than once.
type File struct {
	Name   string // without a directory
	Size   int64  // bytes
	SHA256 Hash
	Open   func() (io.ReadCloser, error)
}

// BytesFile is a File in memory.
func BytesFile(name string, data []byte) File {
	return File{Name: name, Size: int64(len(data)), SHA256: sha256.Sum256(data),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }}
}

// DiskFile is a File of a file system, read once for its hash.
func DiskFile(path string) (File, error) {
	f := File{Name: filepath.Base(path), Open: func() (io.ReadCloser, error) { return os.Open(path) }}
	r, err := f.Open()
	if err != nil {
		return f, err
	}
	defer r.Close()
	h := sha256.New()
	f.Size, err = io.Copy(h, r)
	f.SHA256 = Hash(h.Sum(nil))
	return f, err
}

// Release is the agent as the files that the firmware starts. The caller has
// checked its signature: what sizes and hashes say is believed here.
type Release struct {
	Version string // a word of printable ASCII, at most 128 bytes
	Start   string // the file that the firmware starts: shim, or a UKI
	Files   []File
	GRUB    *GRUB // its configuration, written for the copy it lies in; nil: none is needed
}

// GRUB says what GRUB starts.
type GRUB struct {
	Kernel  string // names of files of the release
	Initrd  string
	Cmdline string // kernel arguments, such as those of the running kernel (kernelargs.Keep); troy.copy= is added
	// Site are the admin's files, such as config and ca.pem. They are laid over the
	// initramfs as /etc/troy/NAME, by an archive of their own beside it.
	Site []SiteFile
}

// SiteFile is a file of the admin.
type SiteFile struct {
	Name string // without a directory
	Data []byte
}

// Names of the files of a release that works with Secure Boot. Shim starts a
// file of that name in its own directory.
const (
	ShimName   = "shimx64.efi"
	GRUBName   = "grubx64.efi"
	KernelName = "vmlinuz"
	InitrdName = "initramfs.zst"
	UKIName    = "troy.efi"
	configName = "grub.cfg"
	siteName   = "site.cpio"
)

// NewSigned returns a release that starts with Secure Boot on and off: shim,
// GRUB, kernel and initramfs, whatever their names were. GRUB has to be one that
// reads the configuration beside itself (package grub), see the
// package comment. cmdline are the kernel's arguments.
func NewSigned(version string, shim, grub, kernel, initrd File, cmdline string) *Release {
	shim.Name, grub.Name, kernel.Name, initrd.Name = ShimName, GRUBName, KernelName, InitrdName
	return &Release{Version: version, Start: ShimName, Files: []File{shim, grub, kernel, initrd},
		GRUB: &GRUB{Kernel: KernelName, Initrd: InitrdName, Cmdline: cmdline}}
}

// NewUKI returns a release of one unified kernel image. It starts with Secure
// Boot off, or when the firmware trusts its signer.
func NewUKI(version string, uki File) *Release {
	uki.Name = UKIName
	return &Release{Version: version, Start: UKIName, Files: []File{uki}}
}

// forCopy returns all files of the release as they lie in a copy, and the manifest.
func (r *Release) forCopy(c Copy) ([]File, *manifest, error) {
	files := append([]File(nil), r.Files...)
	if r.GRUB != nil {
		config, err := r.GRUB.config(c)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrRelease, err)
		}
		files = append(files, BytesFile(configName, config))
		if len(r.GRUB.Site) > 0 {
			archive, err := siteArchive(r.GRUB.Site)
			if err != nil {
				return nil, nil, fmt.Errorf("%w: %w", ErrRelease, err)
			}
			files = append(files, BytesFile(siteName, archive))
		}
	}
	if r.Start != ShimName && r.Start != UKIName {
		return nil, nil, fmt.Errorf("%w: %.80q cannot be what is started: %s or %s", ErrRelease, r.Start, ShimName, UKIName)
	}
	m := &manifest{Format: format, Version: r.Version, Start: r.Start}
	for _, f := range files {
		if f.Open == nil {
			return nil, nil, fmt.Errorf("%w: nothing to read %s from", ErrRelease, f.Name)
		}
		m.Files = append(m.Files, manifestFile{Name: f.Name, Size: f.Size, SHA256: f.SHA256})
	}
	if err := m.check(); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrRelease, err)
	}
	return files, m, nil
}

// siteArchive is an initramfs of the site's files. GRUB's own way to lay files over
// an initramfs (newc:) writes names that Linux 6.12 refuses.
func siteArchive(files []SiteFile) ([]byte, error) {
	records := []cpio.Record{cpio.Directory("etc", 0o755), cpio.Directory(siteDir, 0o755)}
	for _, f := range files {
		if !goodName(f.Name) {
			return nil, fmt.Errorf("file %.80q of the site", f.Name)
		}
		records = append(records, cpio.StaticFile(siteDir+"/"+f.Name, string(f.Data), 0o600))
	}
	var b bytes.Buffer
	w := cpio.Newc.Writer(&b)
	cpio.MakeAllReproducible(records)
	if err := cpio.WriteRecords(w, records); err != nil {
		return nil, err
	}
	err := cpio.WriteTrailer(w)
	return b.Bytes(), err
}

const siteDir = "etc/troy"

// checkGRUB sees whether GRUB will read the configuration that it is given:
// another one would end in a prompt.
func (r *Release) checkGRUB() error {
	i := slices.IndexFunc(r.Files, func(f File) bool { return f.Name == GRUBName })
	if r.GRUB == nil || i < 0 {
		return nil
	}
	f, err := r.Files[i].Open()
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrSource, GRUBName, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxGRUB))
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrSource, GRUBName, err)
	}
	if !grub.ReadsBeside(b) {
		return fmt.Errorf("%w: this GRUB does not read the configuration beside itself (troy media chooses one that does); nothing was changed", ErrRelease)
	}
	return nil
}

// config is the configuration for GRUB in one copy. All paths hang on $here, the
// directory GRUB was started from: $cmdpath, or in GRUB 2.12 $fw_path.
func (g *GRUB) config(c Copy) ([]byte, error) {
	if !goodName(g.Kernel) || !goodName(g.Initrd) {
		return nil, fmt.Errorf("kernel %.80q, initramfs %.80q", g.Kernel, g.Initrd)
	}
	site := ""
	if len(g.Site) > 0 {
		site = ` "$here/` + siteName + `"`
	}
	args := strings.TrimSpace(kernelargs.Keep(g.Cmdline) + " " + kernelargs.Copy + "=" + string(c))
	if err := kernelargs.Check(args); err != nil {
		return nil, err
	}
	return []byte(strings.NewReplacer("COPY", string(c), "OTHER", string(c.other()), "KERNEL", g.Kernel, "INITRD", g.Initrd,
		"SITE", site, "ARGS", kernelargs.ForGRUB(args)).Replace(grubConfig)), nil
}

// grubConfig starts what grubenv names, once, else the agent; and Windows when
// the agent cannot be read. The order is forgotten before it is followed: if
// that fails, it is not followed. GRUB 2.12 starts nothing any more after a kernel
// that it could not load: it restarts the machine, once, with the order to start
// Windows.
const grubConfig = `# Written by Troy for its copy COPY.
set timeout=0
set here="$cmdpath"
if [ -n "$fw_path" ]; then set here="$fw_path"; fi
regexp --set=1:esp '^\(([^)]*)\)' "$here"
set env="($esp)/EFI/Troy/grubenv"
set windows="($esp)/EFI/Microsoft/Boot/bootmgfw.efi"
set next_entry=
load_env -f "$env" next_entry
set once="$next_entry"
if [ -n "$once" ]; then
  set next_entry=
  if save_env -f "$env" next_entry; then
    if [ "$once" = windows ]; then
      if chainloader "$windows"; then boot; fi
    elif [ "$once" = OTHER ]; then
      if chainloader "($esp)/EFI/Troy/OTHER/shimx64.efi"; then boot; fi
    fi
  fi
fi
if linux "$here/KERNEL" ARGS; then
  if initrd "$here/INITRD"SITE; then boot; fi
fi
echo "Troy: copy COPY cannot be started; starting Windows"
if chainloader "$windows"; then boot; fi
if [ "$once" != windows ]; then
  set next_entry=windows
  if save_env -f "$env" next_entry; then reboot; fi
fi
`
