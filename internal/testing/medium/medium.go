// Package medium makes installation media of a Windows that the stand-in plays (package
// standin/player): an ISO image that troy image import takes, with all the files that the player
// writes to, small enough for a disk of 128 MiB.
package medium

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"troy/chainload/regf"
	"troy/internal/errline"
	"troy/internal/testing/standin/player"
	"troy/trial/inside"
)

// Build is the build of Windows that the media say they are of.
const Build = "26100"

// Name is what the edition is called, unless Options say otherwise.
const Name = "Windows 11 Pro"

// Options say what is on a medium. BootManager and Out are required.
type Options struct {
	BootManager string // the program in place of Windows Boot Manager
	Out         string // the ISO image to write
	Name        string // of the edition; "" = Name
	Edition     string // as Windows calls it; "" = Professional. Home is Core
	BallastMiB  int    // 0 = 4
	Seed        uint64 // of what its files hold
	// Installed: it is a Windows that was set up, and that knows nothing of a trial.
	Installed bool
}

// Where files lie, below the root of drive C, with slashes.
const (
	bootManager = "Windows/Boot/EFI/bootmgfw.efi"
	loader      = "Windows/System32/winload.efi"
	hives       = "Windows/System32/config/"
	setupLog    = "Windows/Panther/setup.log"
	sysprep     = "Windows/System32/Sysprep/actions.xml"
	content     = 16      // files of content
	longest     = 1 << 19 // bytes of one
)

// Make makes a medium.
func Make(ctx context.Context, o *Options) (err error) {
	tmp, err := os.MkdirTemp(filepath.Dir(o.Out), "medium-")
	if err != nil {
		return err
	}
	defer func() { err = errline.Join(err, os.RemoveAll(tmp)) }()
	drive, sources := filepath.Join(tmp, "drive"), filepath.Join(tmp, "disc", "sources")
	if err := o.Fill(drive); err != nil {
		return err
	}
	if err := os.MkdirAll(sources, 0o755); err != nil {
		return err
	}
	args := []string{"capture", drive, filepath.Join(sources, "install.wim"), cmp.Or(o.Name, Name), "--compress=none"}
	for _, p := range []string{"ARCH=9", "EDITIONID=" + o.edition(), "INSTALLATIONTYPE=Client", "VERSION/MAJOR=10", "VERSION/BUILD=" + Build,
		"LANGUAGES/LANGUAGE=en-US", "LANGUAGES/DEFAULT=en-US"} {
		args = append(args, "--image-property", "WINDOWS/"+p)
	}
	if err := run(ctx, "wimlib-imagex", args...); err != nil {
		return err
	}
	return burn(ctx, filepath.Dir(sources), o.Out)
}

// Other makes a disc that is no installation medium of Windows.
func Other(ctx context.Context, out string) error {
	return single(ctx, "README.TXT", []byte("drivers of a printer\r\n"), out)
}

// Order makes a trial's disc with nothing but an order.
func Order(ctx context.Context, o *inside.Order, out string) error {
	text, err := o.Encode()
	if err != nil {
		return err
	}
	return single(ctx, inside.OrderFile, text, out)
}

// single makes a disc with one file.
func single(ctx context.Context, name string, data []byte, out string) (err error) {
	tmp, err := os.MkdirTemp(filepath.Dir(out), "medium-")
	if err != nil {
		return err
	}
	defer func() { err = errline.Join(err, os.RemoveAll(tmp)) }()
	if err := os.WriteFile(filepath.Join(tmp, name), data, 0o644); err != nil {
		return err
	}
	return burn(ctx, tmp, out)
}

func burn(ctx context.Context, dir, out string) error {
	return run(ctx, "genisoimage", "-quiet", "-udf", "-allow-limited-size", "-o", out, dir)
}

func run(ctx context.Context, name string, args ...string) error {
	if text, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("medium: %s %s: %w: %s", name, strings.Join(args, " "), err, text)
	}
	return nil
}

func (o *Options) edition() string { return cmp.Or(o.Edition, "Professional") }

// Fill fills a folder with what is on drive C of the edition. Out is not used.
func (o *Options) Fill(drive string) error {
	files, err := o.files()
	if err != nil {
		return err
	}
	for name, data := range files {
		path := filepath.Join(drive, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (o *Options) files() (map[string][]byte, error) {
	manager, err := os.ReadFile(o.BootManager)
	if err != nil {
		return nil, err
	}
	system, err := o.systemHive()
	if err != nil {
		return nil, err
	}
	software, err := o.softwareHive()
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{
		bootManager: manager, hives + "SYSTEM": system, hives + "SOFTWARE": software,
		setupLog: []byte("none yet"), sysprep: []byte("<none/>"),
		slashes(player.SetupFile):   make([]byte, player.Parts*player.PartSize),
		slashes(inside.RecordFile):  make([]byte, inside.FileSize),
		slashes(inside.BallastFile): make([]byte, cmp.Or(o.BallastMiB, 4)<<20),
	}
	if o.Installed {
		delete(files, slashes(inside.RecordFile))
		delete(files, slashes(inside.BallastFile))
	}
	noise := rand.NewChaCha8([32]byte{byte(o.Seed), byte(o.Seed >> 8), byte(o.Seed >> 16), byte(o.Seed >> 24)})
	program := make([]byte, 64<<10) // not inside its MFT record, so that it can be overwritten
	noise.Read(program)             // never fails
	copy(program, "MZ")
	files[loader] = program
	for i := range content {
		data := make([]byte, 1+noise.Uint64()%longest)
		noise.Read(data)
		files[fmt.Sprintf("Windows/System32/file%d.dll", i)] = data
	}
	return files, nil
}

// slashes makes a path below the drive's root of one of Windows.
func slashes(path string) string {
	return strings.TrimPrefix(strings.ReplaceAll(path, `\`, "/"), "/")
}

// systemHive is that of a Windows whose setup has still to run, unless it is installed.
func (o *Options) systemHive() ([]byte, error) {
	left := uint32(1)
	if o.Installed {
		left = 0
	}
	root := &regf.Key{Name: "ROOT", Flags: 4}
	setup := root.Make("Setup")
	setup.Set("OOBEInProgress", regf.DWORD, regf.EncodeDWORD(left))
	setup.Set("SystemSetupInProgress", regf.DWORD, regf.EncodeDWORD(left))
	root.Make("Select").Set("Current", regf.DWORD, regf.EncodeDWORD(1))
	root.Make("Select").Set("Default", regf.DWORD, regf.EncodeDWORD(1))
	root.Make("ControlSet001").Make("Services").Make("disk").Set("Start", regf.DWORD, regf.EncodeDWORD(0))
	name := root.Make("ControlSet001").Make("Control").Make("ComputerName").Make("ComputerName")
	name.Set("ComputerName", regf.SZ, regf.EncodeSZ("STAND-IN"))
	return (&regf.Hive{Root: root}).Marshal()
}

func (o *Options) softwareHive() ([]byte, error) {
	root := &regf.Key{Name: "ROOT", Flags: 4}
	version := root.Make("Microsoft").Make("Windows NT").Make("CurrentVersion")
	version.Set("EditionID", regf.SZ, regf.EncodeSZ(o.edition()))
	version.Set("CurrentBuildNumber", regf.SZ, regf.EncodeSZ(Build))
	return (&regf.Hive{Root: root}).Marshal()
}
