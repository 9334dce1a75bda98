package selfboot

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"troy/chainload/grub"
	"troy/chainload/internal/grubenv"
	"troy/chainload/release"
	"troy/internal/kernelargs"
)

// Errors of releases.
var (
	// ErrRelease is the class of releases that cannot be installed as they are.
	ErrRelease = errors.New("selfboot: bad release")
	// ErrSource says that a file does not hold what its size and hash say.
	ErrSource = errors.New("selfboot: file of the release is not what it should be")
)

// Release is a release of the agent with a way to read it. The caller has checked its signature:
// what sizes and hashes say is believed here.
type Release struct {
	// Release has the files of release.Files, which start with Secure Boot on and off. GRUB has to be one that reads the configuration beside itself (package grub), see the package
	// comment.
	release.Release
	// Open is called more than once for each file.
	Open func(name string) (io.ReadCloser, error)
	// Cmdline are the kernel's arguments where GRUB starts it. They may be those of the running
	// kernel: what belongs to one start only is dropped (kernelargs.Keep), troy.copy= is added.
	Cmdline string
}

// configName is GRUB's configuration, which is written for the copy it lies in.
const configName = "grub.cfg"

// source is a file that goes into a copy.
type source struct {
	release.File
	open func() (io.ReadCloser, error)
}

// check refuses releases that could not be started.
func (r *Release) check() error {
	want := release.Files()
	for _, name := range want {
		if r.File(name) == nil {
			return fmt.Errorf("%w: %s is missing", ErrRelease, name)
		}
	}
	if len(r.Files) != len(want) {
		return fmt.Errorf("%w: %d files, want %q and no others", ErrRelease, len(r.Files), want)
	}
	if r.Open == nil {
		return fmt.Errorf("%w: nothing to read it from", ErrRelease)
	}
	return nil
}

// forCopy returns all files of the release as they lie in a copy, and the manifest.
func (r *Release) forCopy(c Copy) ([]source, *manifest, error) {
	if err := r.check(); err != nil {
		return nil, nil, err
	}
	var files []source
	for _, f := range r.Files {
		files = append(files, source{f, func() (io.ReadCloser, error) { return r.Open(f.Name) }})
	}
	text, err := config(c, r.Cmdline)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrRelease, err)
	}
	files = append(files, source{release.File{Name: configName, Size: int64(len(text)), SHA256: sha256.Sum256(text)},
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }})
	m := &manifest{Release: release.Release{Version: r.Version}}
	for _, f := range files {
		m.Files = append(m.Files, f.File)
	}
	if err := m.check(); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrRelease, err)
	}
	return files, m, nil
}

// checkGRUB sees whether GRUB will read the configuration that it is given:
// another one would end in a prompt.
func (r *Release) checkGRUB() error {
	f, err := r.Open(release.GRUB)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrSource, release.GRUB, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxGRUB))
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrSource, release.GRUB, err)
	}
	if !grub.ReadsBeside(b) {
		return fmt.Errorf("%w: this GRUB does not read the configuration beside itself (troy media chooses one that does); nothing was changed", ErrRelease)
	}
	return nil
}

// config is the configuration for GRUB in one copy. All paths hang on $here, the
// directory GRUB was started from: $cmdpath, or in GRUB 2.12 $fw_path.
func config(c Copy, cmdline string) ([]byte, error) {
	args := strings.TrimSpace(kernelargs.Keep(cmdline) + " " + kernelargs.Copy + "=" + string(c))
	if err := kernelargs.Check(args); err != nil {
		return nil, err
	}
	return []byte(strings.NewReplacer("COPY", string(c), "OTHER", string(c.other()), "SHIM", release.Shim,
		"COUNTS", counts(), "SECONDS", directPause, "KERNEL", release.Kernel, "INITRD", release.Initrd, "SITE", release.Site, "ARGS", kernelargs.ForGRUB(args)).Replace(grubConfig)), nil
}

// directPause is how many seconds the screen offers to have the agent started in place of Windows.
const directPause = "2"

// counts are the values of made in their order.
func counts() string {
	var all []string
	for n := range grubenv.MaxMade + 1 {
		all = append(all, strconv.Itoa(n))
	}
	return strings.Join(all, " ")
}

// grubConfig starts what grubenv names, once; else Windows, where that is allowed, counted and not
// the wish of somebody else; else the agent; and Windows when the agent cannot be read. The order is forgotten before it is followed: if
// that fails, it is not followed. GRUB 2.12 starts nothing any more after a kernel
// that it could not load: it restarts the machine, once, with the order to start
// Windows. A superuser without a password locks the editor and the command line; the script ends in
// a restart, never at a prompt.
const grubConfig = `# Written by Troy for its copy COPY.
set superusers=nobody
set timeout=0
set here="$cmdpath"
if [ -n "$fw_path" ]; then set here="$fw_path"; fi
regexp --set=1:esp '^\(([^)]*)\)' "$here"
set env="($esp)/EFI/Troy/grubenv"
set windows="($esp)/EFI/Microsoft/Boot/bootmgfw.efi"
set next_entry=
set direct=
set made=
load_env -f "$env" next_entry direct made
set once="$next_entry"
if [ -n "$once" ]; then
  set next_entry=
  if save_env -f "$env" next_entry; then
    if [ "$once" = windows ]; then
      if chainloader "$windows"; then boot; fi
    elif [ "$once" = OTHER ]; then
      if chainloader "($esp)/EFI/Troy/OTHER/SHIM"; then boot; fi
    fi
  fi
elif [ "$direct" = y ]; then
  set count=
  set before=none
  for n in COUNTS; do
    if [ "$made" = "$before" ]; then set count="$n"; fi
    set before="$n"
  done
  set wake=
  smbios --type 1 --get-byte 24 --set wake
  if [ -n "$count" ]; then if regexp '^[01268]$' "$wake"; then
    echo "Troy: starting Windows. Press Esc to start Troy first."
    if sleep --interruptible SECONDS; then
      set made="$count"
      if save_env -f "$env" made; then
        if chainloader "$windows"; then boot; fi
      fi
    fi
  fi; fi
fi
if linux "$here/KERNEL" ARGS; then
  if initrd "$here/INITRD" "$here/SITE"; then boot; fi
fi
echo "Troy: copy COPY cannot be started; starting Windows"
if chainloader "$windows"; then boot; fi
if [ "$once" != windows ]; then
  set next_entry=windows
  save_env -f "$env" next_entry
fi
sleep 10
reboot
`
