package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// emulated is QEMU's -accel without the processor's help.
//
// One CPU (see [Config].CPUs) in one thread: with two CPUs, each in a thread of its own, about one
// start in sixty was reported to hang before init with QEMU 10 on Debian 13, by its timers and RCU.
// One CPU waits for no other. Measured with it, on a host of two cores with a load of 3 to 31: 203
// starts with QEMU 7.2 and 206 with 10.0, none of which hung; the longest took 34 s to init. Two
// CPUs did not hang there in 171 starts with 10.0 either, so this is no proof. Of six starts each
// by turns, one CPU took 5.6 s (median), two CPUs in one thread 6.3 s, and in two threads 7.1 s.
const emulated = "tcg,thread=single,tb-size=512"

// probeLimit bounds the start that shows whether a kernel runs in KVM: even emulated it takes 2.
const probeLimit = 30 * time.Second

// probed is the accelerator that the probe of this process chose.
var probed struct {
	once  sync.Once
	accel string
}

// accelerator is QEMU's -accel for a VM.
func accelerator(ctx context.Context, c *Config) string {
	if c.KVM {
		return "kvm"
	}
	if accel := os.Getenv(envAccel); accel != "" {
		return accel
	}
	if os.Getenv(envKVM) != "1" {
		return emulated
	}
	probed.once.Do(func() {
		probed.accel = probe(ctx, orDefault(os.Getenv("KERNEL"), c.Kernel), probeLimit)
	})
	return probed.accel
}

// probe is "kvm" if the kernel runs in it. That /dev/kvm is there does not say so: in a machine
// that is virtual itself QEMU ends at once (seen: its assertion in kvm_buf_set_msrs, with 7.2 and
// 10.0), or a kernel crashes or hangs, in ways that look like faults of the guest.
func probe(ctx context.Context, kernel string, limit time.Duration) string {
	err := errors.New("no kernel to try it with: KERNEL is not set")
	if kernel != "" {
		err = TryKVM(ctx, kernel, limit)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "\nvm: %s=1, but no kernel runs in KVM; EMULATING: %v\n", envKVM, err)
		return emulated
	}
	fmt.Fprintf(os.Stderr, "vm: %s=1, and a kernel runs in KVM: using it\n", envKVM)
	return "kvm"
}

// TryKVM starts a kernel in KVM, without an init. It runs there if it gets as far as to miss that.
func TryKVM(ctx context.Context, kernel string, limit time.Duration) error {
	dir, err := os.MkdirTemp("", "troy-kvm-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	v, err := startOn(ctx, &Config{Name: "kvm-probe", Dir: dir, Kernel: kernel, NoReboot: true,
		Cmdline: "console=ttyS0 panic=-1", Timeout: limit, InitLimit: 2 * limit}, "kvm")
	if err != nil {
		return err
	}
	defer v.Close()
	if _, err = v.Expect(ctx, `Kernel panic - not syncing: VFS: Unable to mount root fs`); err != nil {
		return err
	}
	return v.Wait(ctx)
}
