package testlab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"troy/internal/testing/standin"
	"troy/trial/vm"
)

// PC is one machine of the lab: a disk, and firmware variables that outlive a power-off.
type PC struct {
	Disk string // its disk image
	Bus  vm.Bus // how the disk is attached
	NIC  string // model of its network card; empty = virtio
	MAC  string // its address; its own, unless a test changes that
	UUID string // as its firmware tells; its own, unless a test changes that
	// Others are network cards that the kernel finds before its own.
	Others []vm.NIC
	Tap    int // where it is plugged in: PCs that run at the same time need each their own
	// Unplugged: its network card is connected to nothing.
	Unplugged bool
	// Secure has the firmware enforce Secure Boot.
	Secure bool
	// SectorSize and PhysicalSectorSize of the disk in bytes; 0 = 512, and the same.
	SectorSize, PhysicalSectorSize int
	// Stick is the boot stick's image; empty = that of the lab.
	Stick string
	// WriteLog is an existing file to which every write to the disk is added, see vm.Disk.
	WriteLog string
	name     string
	vars     string
	lab      *Lab
}

// bootTimeout bounds one start: firmware, agent, reset, stand-in, all without hardware
// acceleration.
const bootTimeout = 8 * time.Minute

// NewPC makes a PC that holds version 1.
func (l *Lab) NewPC(ctx context.Context, name string) (*PC, error) {
	p := l.newPC(name)
	return p, run(ctx, "cp", "--reflink=auto", "--sparse=always", l.pc, p.Disk)
}

func (l *Lab) newPC(name string) *PC {
	l.pcs++
	return &PC{Disk: filepath.Join(l.o.Dir, name+".img"), UUID: uuid(l.pcs), MAC: fmt.Sprintf("52:54:00:54:%02x:%02x", l.pcs>>8, l.pcs&0xff), name: name, vars: filepath.Join(l.o.Dir, name+".vars.fd"), lab: l}
}

// bareSize is that of a new PC's disk, in bytes: room for the parent, the boot child, two slots and
// some of Windows' own.
const bareSize = 2 << 30

// NewBarePC makes a PC whose disk is empty.
func (l *Lab) NewBarePC(name string) (*PC, error) {
	p := l.newPC(name)
	f, err := os.Create(p.Disk)
	if err != nil {
		return nil, err
	}
	return p, errors.Join(f.Truncate(bareSize), f.Close())
}

// Config is the machine as it stands there, nothing plugged in.
func (p *PC) Config() (*vm.Config, error) {
	find := vm.FindFirmware
	if p.Secure {
		find = vm.FindSecureFirmware
	}
	firmware, err := find()
	if err != nil {
		return nil, err
	}
	c := &vm.Config{
		Name: p.name, Dir: p.lab.o.Dir, Firmware: firmware, Vars: p.vars,
		Disks:     []vm.Disk{{Path: p.Disk, Bus: p.Bus, SectorSize: p.SectorSize, PhysicalSectorSize: p.PhysicalSectorSize, WriteLog: p.WriteLog}},
		NICs:      append(slices.Clip(p.Others), vm.NIC{Model: p.NIC, Tap: p.lab.Net.Taps[p.Tap], MAC: p.MAC, Unplugged: p.Unplugged}),
		Namespace: p.lab.Net.Namespace, Timeout: bootTimeout,
		OnLine: p.show,
	}
	if p.UUID != "" {
		c.Args = []string{"-uuid", p.UUID}
	}
	return c, nil
}

// ClearVariables has the firmware forget all that was written to its variables.
func (p *PC) ClearVariables() error { return os.Remove(p.vars) }

// show passes on what people would read on the screen.
func (p *PC) show(line string) {
	if strings.HasPrefix(line, "deploy: ") || strings.HasPrefix(line, "STANDIN: ") {
		fmt.Fprintf(p.lab.o.Out, "  %s: %s\n", p.name, strings.TrimSpace(line))
	}
}

// FromUSB starts the PC from the boot stick, which comes first in the firmware's order, and waits until it is powered off. It returns what was
// said on the serial line. It fails unless the stand-in was started.
func (p *PC) FromUSB(ctx context.Context) (serial string, err error) {
	c, err := p.USBConfig()
	if err != nil {
		return "", err
	}
	return untilWindows(ctx, c)
}

// USBConfig is the machine as FromUSB starts it.
func (p *PC) USBConfig() (*vm.Config, error) {
	c, err := p.Config()
	if err != nil {
		return nil, err
	}
	c.Disks = append(c.Disks, vm.Disk{Path: cmp.Or(p.Stick, p.lab.USB), Bus: vm.USB, ReadOnly: true, BootIndex: 1})
	c.Disks[0].BootIndex = 2 // as for NetConfig
	return c, nil
}

// FromNet starts the PC by PXE, whatever its own boot order says, as FromUSB does from the stick.
func (p *PC) FromNet(ctx context.Context) (serial string, err error) {
	c, err := p.NetConfig()
	if err != nil {
		return "", err
	}
	return untilWindows(ctx, c)
}

// NetConfig is the machine as FromNet starts it.
func (p *PC) NetConfig() (*vm.Config, error) {
	c, err := p.Config()
	if err != nil {
		return nil, err
	}
	c.MemoryMiB = 2048                                           // firmware, loader and kernel each hold the initramfs
	c.NICs[len(p.Others)].BootIndex, c.Disks[0].BootIndex = 1, 2 // OVMF drops the entries of what is not in the list, also that of Windows
	return c, nil
}

// KillAt starts kernel and initramfs as PXE does and cuts the power some time after a line that
// matches the expression was said. It fails if the machine ended before.
func (p *PC) KillAt(ctx context.Context, expression string, after time.Duration) error {
	c, err := p.KernelConfig("")
	if err != nil {
		return err
	}
	machine, err := vm.Start(ctx, c)
	if err != nil {
		return err
	}
	defer machine.Close()
	if _, err := machine.Expect(ctx, expression); err != nil {
		return fmt.Errorf("%w; the serial line said:\n%s", err, machine.Log())
	}
	time.Sleep(after)
	machine.Kill()
	if err := machine.Wait(context.WithoutCancel(ctx)); !errors.Is(err, vm.ErrKilled) {
		return fmt.Errorf("it was through before the power was cut: %w; the serial line said:\n%s", err, machine.Log())
	}
	return nil
}

// FromKernel starts kernel and initramfs as PXE does, with further kernel arguments, and ends at
// the reset.
func (p *PC) FromKernel(ctx context.Context, args string) (serial string, err error) {
	c, err := p.KernelConfig(args)
	if err != nil {
		return "", err
	}
	return start(ctx, c)
}

// KernelConfig is the machine as FromKernel starts it.
func (p *PC) KernelConfig(args string) (*vm.Config, error) {
	c, err := p.Config()
	if err != nil {
		return nil, err
	}
	c.Kernel, c.Initrd, c.Cmdline, c.NoReboot = p.lab.kernel, p.lab.initrd, strings.TrimSpace("console=ttyS0 quiet "+args), true
	return c, nil
}

// FromDisk starts the PC with nothing plugged in, so by what is in its firmware's variables.
func (p *PC) FromDisk(ctx context.Context) (serial string, err error) {
	c, err := p.Config()
	if err != nil {
		return "", err
	}
	return untilWindows(ctx, c)
}

// errNoWindows: the PC was powered off without the stand-in having been started.
var errNoWindows = errors.New("the stand-in for Windows was not started")

func untilWindows(ctx context.Context, c *vm.Config) (string, error) {
	serial, err := start(ctx, c)
	if err == nil && !strings.Contains(serial, standin.Started) {
		err = fmt.Errorf("%w; the serial line said:\n%s", errNoWindows, serial)
	}
	return serial, err
}

// start starts a VM and waits until it ends.
func start(ctx context.Context, c *vm.Config) (string, error) {
	machine, err := vm.Start(ctx, c)
	if err != nil {
		return "", err
	}
	defer machine.Close()
	err = machine.Wait(ctx)
	return machine.Log(), err
}
