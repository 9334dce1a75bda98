package selfboot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"troy/chainload"
	"troy/chainload/efiboot"
	"troy/chainload/esp"
	"troy/chainload/release"
	"troy/internal/errline"
	"troy/internal/kernelargs"
)

// Copy is one of the two copies of the agent on the ESP; empty is none.
type Copy string

// The copies, and their directories below \EFI\Troy.
const (
	A Copy = "a"
	B Copy = "b"
)

func (c Copy) other() Copy {
	if c == A {
		return B
	}
	return A
}

func (c Copy) dir() string { return esp.AgentDir + "/" + string(c) }

// path is the path of a file of the copy as firmware has it.
func (c Copy) path(name string) string {
	return `\` + strings.ReplaceAll(c.dir(), "/", `\`) + `\` + name
}

// Options say which machine to work on. ESPDevice or ESPDir, and ESP are
// required.
type Options struct {
	ESPDevice string // block device of the ESP, not mounted
	ESPDir    string // where the ESP is mounted already, writable; ESPDevice is not used then

	ESP       chainload.Partition // the ESP in the GPT
	Variables efiboot.Variables   // nil: those of this machine
	cmdline   string              // of the running kernel; empty: /proc/cmdline
}

// ErrOptions is the class of options that cannot be worked with.
var ErrOptions = errors.New("selfboot: bad options")

// open checks the options and opens the variables. Nothing is touched.
func (o *Options) open() (efiboot.Variables, error) {
	if o.ESPDevice == "" && o.ESPDir == "" || o.ESP.GUID.IsZero() {
		return nil, fmt.Errorf("%w: device and GUID of the ESP are needed", ErrOptions)
	}
	if o.Variables != nil {
		return o.Variables, nil
	}
	return efiboot.OpenVariables()
}

// CopyState is what there is of one copy.
type CopyState struct {
	Version string  // empty: there is no manifest
	Problem error   // why it cannot be started; nil: it is whole
	Entry   *uint16 // its boot entry; nil: none

	manifest []byte
}

// Status is what there is of the agent on the ESP.
type Status struct {
	Copies  map[Copy]CopyState // A and B
	Running Copy               // the copy this agent was started from; empty: from somewhere else
	First   Copy               // the copy that is first in BootOrder; empty: something else is
}

// ErrNoCopy says that there is nothing of a copy.
var ErrNoCopy = errors.New("selfboot: no such copy on the ESP")

// Inspect tells what there is. It only reads; all files are compared with
// their hashes. The error wraps efiboot.ErrNotEFI, ErrOptions or
// chainload.ErrESP.
func Inspect(ctx context.Context, o *Options) (s *Status, err error) {
	vars, err := o.open()
	if err != nil {
		return nil, err
	}
	v, err := esp.Open(o.ESPDevice, o.ESPDir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errline.Join(err, v.Close()) }()
	return o.inspect(ctx, vars, v)
}

func (o *Options) inspect(ctx context.Context, vars efiboot.Variables, v *esp.Volume) (*Status, error) {
	s := &Status{Copies: map[Copy]CopyState{A: {}, B: {}}}
	for c := range s.Copies {
		state, err := readCopy(ctx, v, c)
		if err != nil {
			return nil, err
		}
		s.Copies[c] = state
	}
	return s, s.findEntries(o, vars)
}

// readCopy judges a copy by its manifest. The error is that of ctx.
func readCopy(ctx context.Context, v *esp.Volume, c Copy) (CopyState, error) {
	s, m, dir := readManifest(v, c)
	if m == nil {
		return s, nil
	}
	for _, f := range m.Files {
		if err := ctx.Err(); err != nil {
			return s, fmt.Errorf("selfboot: stopped: %w", err)
		}
		if err := checkFile(dir, f); err != nil && s.Problem == nil {
			s.Problem = fmt.Errorf("selfboot: copy %s: %w", c, err)
		}
	}
	return s, nil
}

// readManifest tells what a copy should be; the manifest is nil, and Problem says why, if there is
// none that can be believed.
func readManifest(v *esp.Volume, c Copy) (s CopyState, m *manifest, dir esp.Dir) {
	dir, err := v.Root.Sub(c.dir())
	if err == nil {
		s.manifest, err = dir.Read(esp.AgentManifest, maxManifest)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %s", ErrNoCopy, c)
	}
	if err == nil {
		m, err = parseManifest(s.manifest)
	}
	if err != nil {
		s.Problem = err
		return s, nil, dir
	}
	s.Version = m.Version
	return s, m, dir
}

// checkFile compares a file on the ESP with the manifest, read from the disk
// and not from what the kernel remembers of it.
func checkFile(dir esp.Dir, want release.File) error {
	path, err := dir.Lookup(want.Name)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) // only pages that were written out are dropped; a file system may not do it
	return compare(f, want)
}

// compare reads r to its end.
func compare(r io.Reader, want release.File) error {
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(r, want.Size+1))
	switch {
	case err != nil:
		return err
	case n != want.Size:
		return fmt.Errorf("%w: %s has not the length %d", ErrSource, want.Name, want.Size)
	case !bytes.Equal(h.Sum(nil), want.SHA256[:]):
		return fmt.Errorf("%w: %s has another hash", ErrSource, want.Name)
	}
	return nil
}

// findEntries fills in what the firmware knows.
func (s *Status) findEntries(o *Options, vars efiboot.Variables) error {
	entries, err := efiboot.Entries(vars)
	if err != nil {
		return err
	}
	order, err := efiboot.BootOrder(vars)
	if err != nil {
		return err
	}
	first := true
	for _, e := range entries {
		c := o.copyOf(e.Option)
		if c != "" {
			s.setEntry(c, e.Number, s.Copies[c].Version != "")
		}
		if first && slices.Contains(order, e.Number) && e.Option.Attributes&efiboot.Active != 0 {
			s.First, first = c, false
		}
	}
	if c := o.cmdlineCopy(); c != "" {
		s.Running = c
	}
	return nil
}

func (s *Status) setEntry(c Copy, n uint16, usable bool) {
	state := s.Copies[c]
	if usable && state.Entry == nil {
		state.Entry = &n
		s.Copies[c] = state
	}
}

// copyOf tells which copy on this ESP a boot entry starts.
func (o *Options) copyOf(l *efiboot.LoadOption) Copy {
	for _, c := range []Copy{A, B} {
		if l.Starts(o.ESP.GUID, c.path(release.Shim)) {
			return c
		}
	}
	return ""
}

// cmdlineCopy is what our GRUB tells the kernel. It is right also where one
// copy's GRUB started the other copy, which BootCurrent does not show.
func (o *Options) cmdlineCopy() Copy {
	line := o.cmdline
	if line == "" {
		b, _ := os.ReadFile("/proc/cmdline") // without /proc BootCurrent has to do
		line = string(b)
	}
	if c, _ := kernelargs.Value(line, kernelargs.Copy); Copy(c) == A || Copy(c) == B {
		return Copy(c)
	}
	return ""
}
