package testlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"troy/chainload/release"
	"troy/initramfs"
	"troy/initramfs/bundle"
	"troy/internal/testing/fixture"
	"troy/internal/testing/standin"
	"troy/internal/testing/vmlab"
)

// Image is the name of the image that the lab deploys.
const Image = "win11-lab"

// Options of a lab. Dir and Out are required.
type Options struct {
	Dir string    // an existing folder for everything that is made
	Out io.Writer // told what is being done
}

// Lab is a network with a store, a boot stick and the disk of a PC to copy.
type Lab struct {
	Net     *vmlab.Network
	Windows *fixture.Windows
	Store   string         // folder of the store
	USB     string         // image of the boot stick
	boot    string         // folder of the boot bundle of this checkout
	bundle  *bundle.Bundle // the same
	site    []byte         // what the lab adds to it
	kernel  string
	initrd  string // both, for starts without a boot loader
	troy    string // the built command
	pc      string // disk image that PCs are copies of
	pcs     int    // how many were made
	random  bool   // its disks have random content, and no Windows
	o       Options
}

// step is one of building a lab.
type step struct {
	what string
	do   func(context.Context) error
}

// New builds everything. The caller must call Close.
func New(ctx context.Context, o Options) (*Lab, error) {
	l, err := newLab(o)
	if err != nil {
		return nil, err
	}
	return l.made(ctx, []step{
		{"building troy", l.build},
		{"making a stand-in for Windows Boot Manager", l.makeBootManager},
		{"installing two releases of Windows programs on a disk", l.makeWindows},
		{"publishing version 1 and 2", l.publish},
		{"making a boot bundle", l.makeBundle},
		{"making the boot stick", l.makeMedia},
		{"preparing the disk of a PC that holds version 1", l.makePC},
		{"starting a network", l.startNetwork},
	})
}

// Programs makes a lab of the command and a boot bundle alone: what `troy try` needs, which makes all
// else itself.
func Programs(ctx context.Context, o Options) (*Lab, error) {
	l, err := newLab(o)
	if err != nil {
		return nil, err
	}
	return l.made(ctx, []step{{"building troy", l.build}, {"making a boot bundle", l.makeBundle}})
}

func newLab(o Options) (*Lab, error) {
	l := &Lab{kernel: os.Getenv("KERNEL"), o: o, Store: filepath.Join(o.Dir, "store"), boot: filepath.Join(o.Dir, "boot"), troy: filepath.Join(o.Dir, "troy")}
	if l.kernel == "" || os.Getenv("MODULES") == "" || os.Getenv("TROY_CACHE") == "" {
		return nil, errors.New("lab: KERNEL, MODULES and TROY_CACHE are not set: run it by make")
	}
	return l, nil
}

// made is the lab after all steps. After one that fails it is closed.
func (l *Lab) made(ctx context.Context, steps []step) (*Lab, error) {
	for _, step := range steps {
		fmt.Fprintf(l.o.Out, "lab: %s\n", step.what)
		if err := step.do(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("lab: %s: %w", step.what, err), l.Close())
		}
	}
	return l, nil
}

// With makes a lab by New or Programs in a folder of its own, does something with it, and takes both
// away. It returns the exit status of do, or 1.
func With(build func(context.Context, Options) (*Lab, error), do func(*Lab) int) int {
	code, err := with(build, do)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func with(build func(context.Context, Options) (*Lab, error), do func(*Lab) int) (code int, err error) {
	dir, err := os.MkdirTemp(os.Getenv("TROY_CACHE"), "lab-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	l, err := build(context.Background(), Options{Dir: dir, Out: os.Stdout})
	if err != nil {
		return 1, err
	}
	defer l.Close()
	return do(l), nil
}

// Close ends the network.
func (l *Lab) Close() error {
	if l.Net == nil {
		return nil
	}
	return l.Net.Close()
}

func (l *Lab) build(ctx context.Context) error {
	return run(ctx, "go", "build", "-trimpath", "-o", l.troy, "troy/cmds/troy")
}

// Bundle makes the boot bundle of this checkout in a folder. What is slow to make is kept in
// TROY_CACHE.
func Bundle(ctx context.Context, dir string) (*bundle.Bundle, error) {
	cache := os.Getenv("TROY_CACHE")
	_, err := initramfs.Build(ctx, &initramfs.Options{Kernel: os.Getenv("KERNEL"), Modules: os.Getenv("MODULES"), Loaders: filepath.Join(cache, "loaders"),
		Programs: []string{"mkntfs", "ntfs-3g"}, Version: "lab", Cache: filepath.Join(cache, "boot"), Out: dir})
	if err != nil {
		return nil, err
	}
	return bundle.Open(dir)
}

func (l *Lab) makeBundle(ctx context.Context) (err error) {
	l.bundle, err = Bundle(ctx, l.boot)
	return err
}

// makeMedia makes what an admin makes of a bundle.
func (l *Lab) makeMedia(ctx context.Context) (err error) {
	out := filepath.Join(l.o.Dir, "media")
	if err := l.command(ctx, "media", "--bundle", l.boot, "--store", l.Store, "--append", "console=ttyS0", "--out", out); err != nil {
		return err
	}
	l.USB, l.initrd = filepath.Join(out, "usb.img"), filepath.Join(out, release.Initrd)
	if l.site, err = os.ReadFile(filepath.Join(out, "agent", release.Site)); err != nil {
		return err
	}
	return l.join()
}

// join writes the initramfs with what the lab adds to it.
func (l *Lab) join() error {
	base, err := l.bundle.Read(release.Initrd)
	if err != nil {
		return err
	}
	return os.WriteFile(l.initrd, append(base, l.site...), 0o644)
}

func (l *Lab) makeWindows(ctx context.Context) (err error) {
	l.Windows, err = fixture.MakeWindows(ctx, l.o.Dir, l.bootManager())
	return err
}

// publish does what an admin does.
func (l *Lab) publish(ctx context.Context) error {
	pair, err := fixture.MakePair(l.o.Dir, l.Windows)
	if err != nil {
		return err
	}
	defer os.Remove(pair.Base)
	if err := l.command(ctx, "init", "--url", ServerURL, l.Store); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"import", Image, pair.Base},
		{"add", Image, pair.Child},
	} {
		if err := l.image(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// bootManager is the file of the stand-in.
func (l *Lab) bootManager() string { return filepath.Join(l.o.Dir, "standin.efi") }

func (l *Lab) makeBootManager(ctx context.Context) error {
	return standin.Build(ctx, &standin.Options{Kernel: l.kernel, Modules: os.Getenv("MODULES"), Out: l.bootManager()})
}

func (l *Lab) makePC(ctx context.Context) error {
	l.pc = filepath.Join(l.o.Dir, "prepared.img")
	return fixture.MakePC(ctx, l.pc, &fixture.PCOptions{Image: Image, Version: 1, Raw: l.Windows.V1, Store: l.Store, BootMgr: l.bootManager()})
}

// Where troy serve listens in the lab's network.
const (
	serverPort = "8080" // for files
	tlsPort    = "8443"
)

// startNetwork makes the network, for two PCs at a time; its DHCP server names the Troy server in
// option 224.
func (l *Lab) startNetwork(ctx context.Context) (err error) {
	l.Net, err = vmlab.NewNetwork(ctx, &vmlab.NetworkConfig{Dir: l.o.Dir, Taps: 2, DHCP: []string{"--dhcp-option=224," + ServerURL}})
	if err == nil && l.Net.Host.String() != "10.77.0.1" {
		err = fmt.Errorf("the network's host is %s", l.Net.Host)
	}
	return err
}

// image runs a command that publishes: all pages of a disk, also of one without a Windows.
func (l *Lab) image(ctx context.Context, args ...string) error {
	flags := []string{"image", args[0], "--store", l.Store, "--no-filter"}
	if l.random {
		flags = append(flags, "--force-unbootable")
	}
	return l.command(ctx, append(flags, args[1:]...)...)
}

// command runs troy as an admin would and shows what it says.
func (l *Lab) command(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, l.troy, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	for line := range bytes.Lines(out.Bytes()) {
		fmt.Fprintf(l.o.Out, "  %s", line)
	}
	if err != nil {
		return fmt.Errorf("troy %s: %w: %s", args[0], err, bytes.TrimSpace(errs.Bytes()))
	}
	return nil
}

// run runs a program and says, when it fails, what it printed.
func run(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}
