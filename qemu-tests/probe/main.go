// Command probe is an agent for tests: process 1 of an initramfs that installs,
// updates and hands over as the word probe= of the kernel command line says, by
// package selfboot and chainload. What it says begins with "PROBE: ".
//
// The machine has its own disk as vda, with an ESP, and a stick as vdb.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"troy/chainload"
	"troy/chainload/release"
	"troy/chainload/secureboot"
	"troy/chainload/selfboot"
	"troy/internal/guid"
	"troy/internal/testing/guest/inside"
)

// What the test gave the disk.
const (
	espGUID    = "7d4b8b1e-24c5-4b0c-9a3f-5b5f0e0a1c01"
	diskGUID   = "7d4b8b1e-24c5-4b0c-9a3f-5b5f0e0a1c02"
	dataGUID   = "7d4b8b1e-24c5-4b0c-9a3f-5b5f0e0a1c03"
	espStart   = 2048
	espSectors = 409600
)

const (
	stick     = "/stick"
	stateFile = stick + "/state.json" // in place of the journal
)

func main() {
	if err := run(); err != nil {
		say("failed: %v", err)
	}
	say("end")
	inside.PowerOff()
}

func say(format string, args ...any) { fmt.Printf("PROBE: "+format+"\n", args...) }

func reset() error {
	say("reset")
	_ = unix.IoctlSetInt(1, unix.TCSBRK, 1)
	return chainload.Reset()
}

type machine struct {
	selfboot.Options
	windows chainload.Options
	state   selfboot.State
	status  *selfboot.Status
}

func run() error {
	mode, err := setUp()
	if err != nil {
		return err
	}
	m, err := look()
	if err != nil {
		return err
	}
	f, err := chainload.Firmware()
	say("%s: firmware %+v %v, runs %q, first %q, a %q, b %q", mode, f, err, m.status.Running, m.status.First, m.status.Copies["a"].Version, m.status.Copies["b"].Version)
	var verdict selfboot.Verdict
	var message string
	m.state, verdict, message = m.state.Judge(m.status)
	say("%s: trial: %s (%s)", mode, verdict, message)
	if err := m.keep(); err != nil {
		return err
	}
	switch mode {
	case "install", "install-hang", "install-nvfull", "install-full", "install-windows":
		return m.install(strings.TrimPrefix(mode, "install"))
	case "update":
		return m.update("2", "confirm")
	case "update-hang":
		if verdict == selfboot.TrialFailed {
			err := m.update("2", "hang")
			say("again: %v", err)
			return nil
		}
		return m.update("2", "hang")
	case "keys":
		f, err := secureboot.Read(os.DirFS("/sys/firmware/efi/efivars"))
		say("keys: Secure Boot %t, level %q, dbx %s, %d certificates in db, %v", f.On, f.Level, f.DBX, len(f.CAs), err)
		return nil
	case "hang":
		select {}
	case "confirm":
		return m.confirm()
	case "update-nvfull":
		return m.fullVariables()
	case "update-full":
		return m.fullESP()
	case "update-windows":
		return m.handOff()
	}
	return fmt.Errorf("unknown mode %q", mode)
}

// setUp mounts what is needed, loads the drivers, and returns the mode.
func setUp() (string, error) {
	for _, fs := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}} {
		os.MkdirAll(fs[1], 0o755)
		if err := unix.Mount(fs[0], fs[1], fs[0], 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return "", fmt.Errorf("mount %s: %w", fs[1], err)
		}
	}
	if err := inside.LoadModules(); err != nil {
		return "", err
	}
	for range 100 { // the disks appear
		if _, err := os.Stat("/dev/vdb1"); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	os.MkdirAll(stick, 0o755)
	if err := unix.Mount("/dev/vdb1", stick, "vfat", 0, "codepage=437,iocharset=ascii"); err != nil {
		return "", fmt.Errorf("stick: %w", err)
	}
	line, err := os.ReadFile("/proc/cmdline")
	for _, w := range strings.Fields(string(line)) {
		if mode, ok := strings.CutPrefix(w, "probe="); ok {
			return mode, nil
		}
	}
	return "", errors.Join(err, errors.New("no word probe="))
}

func look() (*machine, error) {
	esp, disk, data := guid.Must(espGUID), guid.Must(diskGUID), guid.Must(dataGUID)
	p := chainload.Partition{Number: 1, StartLBA: espStart, Sectors: espSectors, GUID: esp}
	m := &machine{Options: selfboot.Options{ESPDevice: "/dev/vda1", ESP: p}}
	m.windows = chainload.Options{ESPDevice: "/dev/vda1", ESP: p, Disk: disk, Data: data, AgentFirst: true}
	b, err := os.ReadFile(stateFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if m.state, err = selfboot.ParseState(b); err != nil {
		return nil, err
	}
	m.status, err = selfboot.Inspect(context.Background(), &m.Options)
	return m, err
}

func (m *machine) keep() error {
	b, err := json.Marshal(m.state)
	if err != nil {
		return err
	}
	if err := os.WriteFile(stateFile, b, 0o644); err != nil {
		return err
	}
	unix.Sync()
	return nil
}

// onTheStick is what lies on the stick, under a version, with a mode for its start.
func onTheStick(version, mode string) (*selfboot.Release, error) {
	onStick := map[string]string{release.Shim: "EFI/BOOT/BOOTX64.EFI", release.GRUB: "EFI/BOOT/" + release.GRUB,
		release.Kernel: release.Kernel, release.Initrd: release.Initrd, release.Site: release.Site}
	r := &selfboot.Release{Release: release.Release{Version: version}, Cmdline: "console=ttyS0 quiet panic=-1 probe=" + mode,
		Open: func(name string) (io.ReadCloser, error) { return os.Open(filepath.Join(stick, onStick[name])) }}
	for _, name := range release.Files() {
		b, err := os.ReadFile(filepath.Join(stick, onStick[name]))
		if err != nil {
			return nil, err
		}
		r.Files = append(r.Files, release.File{Name: name, Size: int64(len(b)), SHA256: sha256.Sum256(b)})
	}
	return r, nil
}

func (m *machine) install(next string) error {
	r, err := onTheStick("1", "update"+next)
	if err != nil {
		return err
	}
	res, err := selfboot.Install(context.Background(), &m.Options, r)
	if err != nil {
		return err
	}
	say("installed: copy %s, written %v, entry created %v, order changed %v", res.Copy, res.Written, res.EntryCreated, res.OrderChanged)
	return reset()
}

func (m *machine) update(version, mode string) error {
	r, err := onTheStick(version, mode)
	if err != nil {
		return err
	}
	if m.state, err = selfboot.Update(context.Background(), &m.Options, m.state, r); err != nil {
		return err
	}
	if err := m.keep(); err != nil {
		return err
	}
	by, err := selfboot.Arm(&m.Options, m.state.Trial)
	if err != nil {
		return err
	}
	say("trial of %s in copy %s by %s", version, m.state.Trial.Copy, by)
	return reset()
}

func (m *machine) confirm() (err error) {
	m.windows.AgentEntry = &m.state.Trial.Entry
	if m.state, err = selfboot.Confirm(&m.Options, m.state); err != nil {
		return err
	}
	if err := m.keep(); err != nil {
		return err
	}
	s, err := selfboot.Inspect(context.Background(), &m.Options)
	if err != nil {
		return err
	}
	say("confirmed: first %q", s.First)
	return m.handOff()
}

func (m *machine) handOff() error {
	left, err := chainload.Look(&m.windows)
	say("left %+v %v", left, err)
	r, err := chainload.HandOff(context.Background(), &m.windows)
	for _, n := range r.Notes {
		say("note: %v", n)
	}
	for _, line := range r.Changes {
		say("change: %s", line)
	}
	if err != nil {
		return err
	}
	if m.state.Trial == nil {
		written, err := selfboot.Fallback(context.Background(), &m.Options)
		say("default file: written %v, %v", written, err)
	}
	say("hand-off by %s", r.Method)
	return reset()
}

// fullVariables writes variables that mean nothing until the firmware takes no
// more, then hands over.
func (m *machine) fullVariables() error {
	n, size, total := 0, 8192, 0
	for try := 0; size >= 1; try++ { // a name that was refused cannot be used again: it stays as an empty file
		name := fmt.Sprintf("/sys/firmware/efi/efivars/Fill%04d-%s", try, espGUID)
		err := os.WriteFile(name, append([]byte{7, 0, 0, 0}, make([]byte, size)...), 0o600)
		if err != nil {
			say("variable of %d bytes: %v", size, err)
			size /= 4
			continue
		}
		n, total = n+1, total+size
	}
	say("variables are full with %d more, %d bytes", n, total)
	return m.handOff()
}

// fullESP tries an update on an ESP with no room for it.
func (m *machine) fullESP() error {
	var st unix.Statfs_t
	if err := unix.Mount("/dev/vda1", "/tmp", "vfat", 0, "codepage=437,iocharset=ascii"); err != nil {
		return err
	}
	if err := unix.Statfs("/tmp", &st); err != nil {
		return err
	}
	f, err := os.Create("/tmp/others.bin")
	if err != nil {
		return err
	}
	free := int64(st.Bavail) * st.Bsize
	if err := fill(f, free-(1<<20)); err != nil {
		return err
	}
	if err := errors.Join(f.Close(), unix.Unmount("/tmp", 0)); err != nil {
		return err
	}
	r, err := onTheStick("2", "confirm")
	if err != nil {
		return err
	}
	_, err = selfboot.Update(context.Background(), &m.Options, m.state, r)
	say("update: full %v: %v", errors.Is(err, selfboot.ErrFull), err)
	s, err := selfboot.Inspect(context.Background(), &m.Options)
	if err != nil {
		return err
	}
	say("copy a: %v", s.Copies["a"].Problem)
	return m.handOff()
}

func fill(f *os.File, n int64) error {
	for b := make([]byte, 1<<20); n > 0; n -= int64(len(b)) {
		if _, err := f.Write(b[:min(n, int64(len(b)))]); err != nil {
			return err
		}
	}
	return nil
}
