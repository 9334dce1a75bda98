package vmlab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"troy/trial/vm"
)

// VM is a virtual PC with somebody beside it, who types on its serial line and plugs devices in.
type VM struct {
	*vm.VM
	keys   *os.File
	socket string // of QEMU's monitor
}

// Start is [vm.Start]. The caller must call Close.
func Start(ctx context.Context, c *vm.Config) (*VM, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close() // QEMU has its own
	own := *c
	socket := filepath.Join(c.Dir, cmp.Or(c.Name, "vm")+".qmp")
	own.Stdin, own.Args = r, slices.Concat(c.Args, vm.MonitorArgs(socket))
	m, err := vm.Start(ctx, &own)
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return &VM{VM: m, keys: w, socket: socket}, nil
}

// errPlug: QEMU did not plug a device in.
var errPlug = errors.New("QEMU did not plug the device in")

// Plug plugs a device in, named as after QEMU's -device.
func (v *VM) Plug(ctx context.Context, device string) error {
	if err := vm.Monitor(ctx, v.socket, "device_add "+device); err != nil {
		return fmt.Errorf("%w: %w", errPlug, err)
	}
	return nil
}

// Send types text on the serial line.
func (v *VM) Send(text string) error {
	_, err := v.keys.WriteString(text)
	return err
}

// Close kills the VM if it still runs.
func (v *VM) Close() error { return errors.Join(v.VM.Close(), v.keys.Close()) }
