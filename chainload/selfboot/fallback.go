package selfboot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"troy/chainload"
	"troy/chainload/bcd"
	"troy/chainload/efiboot"
	"troy/chainload/esp"
	"troy/chainload/release"
	"troy/internal/block"
	"troy/internal/errline"
)

// Errors of Fallback.
var (
	// ErrNotReady says that the way that firmware takes without boot entries was left as it is:
	// while it is written the entries have to lead to the agent and to Windows.
	ErrNotReady = errors.New("selfboot: " + esp.FallbackPath + " was left as it is")
	// ErrOthers says that the folder of that file belongs to another system.
	ErrOthers = errors.New("selfboot: " + esp.FallbackPath + " belongs to another system")
)

// shimFallback is what Debian's shim starts instead of GRUB where it lies beside it in the folder
// of removable media: it makes boot entries of the files BOOTX64.CSV of all systems on the ESP, and
// restarts the machine. Where an installation of Linux left one, that Linux would start.
const shimFallback = "fbx64.efi"

// suffixNew is what a file is called until it is whole.
const suffixNew = ".new"

// Fallback has \EFI\BOOT\BOOTX64.EFI lead to the copy that runs, and from there to Windows:
// firmware that lost its boot entries (an update of it, an empty battery) starts that file. It is
// for an agent that is no trial, at its end, when the hand-off has seen to the entry of Windows.
// What is right already is not written; written tells whether something was.
//
// The error wraps ErrNotReady, ErrOthers, ErrSource, ErrFull (nothing was changed by these), or
// chainload.ErrESP. An agent that was started from somewhere else does nothing.
func Fallback(ctx context.Context, o *Options) (written bool, err error) {
	vars, err := o.open()
	if err != nil {
		return false, err
	}
	v, err := esp.Open(o.ESPDevice, o.ESPDir)
	if err != nil {
		return false, err
	}
	defer func() { err = errline.Join(err, v.Close()) }()
	c, m, dir, err := o.running(vars, v)
	if err != nil || m == nil {
		return false, err
	}
	want, err := fallbackFiles(c, m, dir)
	if err != nil {
		return false, err
	}
	todo, err := differing(v, want)
	if err != nil || len(todo) == 0 {
		return false, err
	}
	if err := ctx.Err(); err != nil {
		return false, fmt.Errorf("selfboot: stopped: %w", err)
	}
	if err := o.ready(vars, c); err != nil {
		return false, err
	}
	return true, writeFallback(v, todo)
}

// running returns the copy that runs, by its manifest; nil: none does.
func (o *Options) running(vars efiboot.Variables, v *esp.Volume) (Copy, *manifest, esp.Dir, error) {
	s := &Status{Copies: map[Copy]CopyState{}}
	if err := s.findEntries(o, vars); err != nil || s.Running == "" {
		return "", nil, "", err
	}
	state, m, dir := readManifest(v, s.Running)
	if m == nil {
		return "", nil, "", fmt.Errorf("copy %s, which runs, is not whole: %w", s.Running, state.Problem)
	}
	return s.Running, m, dir, nil
}

// fallbackFile is a file for the folder that firmware looks into.
type fallbackFile struct {
	name string
	data []byte
}

// fallbackFiles are in the order in which they are put there: what the firmware starts comes last.
func fallbackFiles(c Copy, m *manifest, dir esp.Dir) ([]fallbackFile, error) {
	read := func(name string) ([]byte, error) {
		f := m.File(name)
		if err := checkFile(dir, *f); err != nil {
			return nil, err
		}
		return dir.Read(name, f.Size)
	}
	start, err := read(release.Shim)
	if err != nil {
		return nil, err
	}
	program, err := read(release.GRUB)
	if err != nil {
		return nil, err
	}
	text := strings.NewReplacer("COPY", string(c), "OTHER", string(c.other()), "MANIFEST", esp.AgentManifest).Replace(fallbackConfig)
	return []fallbackFile{{configName, []byte(text)}, {release.GRUB, program}, {esp.FallbackName, start}}, nil
}

// fallbackConfig starts the copy that is whole, the one that ran last first, and Windows when there
// is none. The copy's own configuration does the rest, and hangs all paths on $fw_path.
const fallbackConfig = `# Written by Troy. Firmware without boot entries comes here.
set superusers=nobody
set timeout=0
set here="$cmdpath"
if [ -n "$fw_path" ]; then set here="$fw_path"; fi
regexp --set=1:esp '^\(([^)]*)\)' "$here"
for copy in COPY OTHER; do
  if [ -f "($esp)/EFI/Troy/$copy/MANIFEST" ]; then
    set fw_path="($esp)/EFI/Troy/$copy"
    source "$fw_path/grub.cfg"
  fi
done
echo "Troy: no copy can be started; starting Windows"
if chainloader "($esp)/EFI/Microsoft/Boot/bootmgfw.efi"; then boot; fi
sleep 10
reboot
`

// differing are the files that are not there as they should be. Where another system's shim is at
// home nothing is to be done.
func differing(v *esp.Volume, want []fallbackFile) ([]fallbackFile, error) {
	dir, err := v.Root.Sub(esp.FallbackDir)
	if errors.Is(err, fs.ErrNotExist) {
		return want, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", chainload.ErrESP, err)
	}
	if _, err := dir.Lookup(shimFallback); !errors.Is(err, fs.ErrNotExist) {
		return nil, errline.Join(fmt.Errorf("%w: %s is beside it; without boot entries this PC does not start the agent", ErrOthers, shimFallback), err)
	}
	var todo []fallbackFile
	for _, f := range want {
		// One that cannot be read is written anew: a power cut may have left it so.
		if have, err := dir.Read(f.name, int64(len(f.data))); err != nil || !bytes.Equal(have, f.data) {
			todo = append(todo, f)
		}
	}
	return todo, nil
}

// ready refuses as long as the firmware needs the way that is to be written: its order has to have
// the copy, and it has to know Windows.
func (o *Options) ready(vars efiboot.Variables, c Copy) error {
	list, err := efiboot.InOrder(vars)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(f efiboot.Found) bool { return f.Option.Starts(o.ESP.GUID, c.path(release.Shim)) }) {
		return fmt.Errorf("%w: the boot order does not have copy %s", ErrNotReady, c)
	}
	windows, err := efiboot.FindEntry(vars, o.ESP.GUID, bcd.BootManagerPath)
	if err != nil {
		return err
	}
	if windows == nil || windows.Option.Attributes&efiboot.Active == 0 {
		return fmt.Errorf("%w: there is no boot entry of Windows", ErrNotReady)
	}
	return nil
}

// writeFallback writes all files under other names and reads them back, then renames them.
func writeFallback(v *esp.Volume, todo []fallbackFile) (err error) {
	if err := fallbackRoom(v, todo); err != nil {
		return err
	}
	if err := v.MakeWritable(); err != nil {
		return fmt.Errorf("%w: %w", chainload.ErrESP, err)
	}
	dir, err := v.Root.MakeSub(esp.FallbackDir)
	if err != nil {
		return fmt.Errorf("%w: %w", chainload.ErrESP, err)
	}
	defer func() {
		if err == nil {
			return
		}
		for _, f := range todo { // what cannot be removed is written over by the next start
			err = errline.Join(err, dir.Remove(f.name+suffixNew))
		}
		err = fmt.Errorf("%w: %s: %w", chainload.ErrESP, esp.FallbackPath, err)
	}()
	for _, f := range todo {
		if err := dir.Write(f.name+suffixNew, f.data); err != nil {
			return err
		}
	}
	for _, f := range todo {
		if err := dir.Rename(f.name+suffixNew, f.name, f.data); err != nil {
			return err
		}
	}
	return nil
}

// fallbackRoom counts the new files, which lie beside the old ones until they are renamed.
func fallbackRoom(v *esp.Volume, todo []fallbackFile) error {
	var st unix.Statfs_t
	if err := unix.Statfs(string(v.Root), &st); err != nil {
		return fmt.Errorf("%w: %w", chainload.ErrESP, err)
	}
	need := int64(reserve) + 4*st.Bsize
	for _, f := range todo {
		need += block.RoundUp(int64(len(f.data)), st.Bsize)
	}
	if free := int64(st.Bavail) * st.Bsize; free < need {
		return fmt.Errorf("%w: %s needs %d bytes, %d are free; nothing was changed", ErrFull, esp.FallbackPath, need, free)
	}
	return nil
}
