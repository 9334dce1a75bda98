package vm

import (
	"testing"
	"time"
)

// KVM is used only by request, and an -accel given by hand beats that.
func TestAccelerator(t *testing.T) {
	t.Setenv(envKVM, "")
	t.Setenv(envAccel, "")
	if got := accelerator(t.Context(), &Config{}); got != emulated {
		t.Errorf("without settings: %q, want %q", got, emulated)
	}
	t.Setenv(envKVM, "1")
	t.Setenv(envAccel, "tcg")
	if got := accelerator(t.Context(), &Config{}); got != "tcg" {
		t.Errorf("with %s: %q, want it", envAccel, got)
	}
}

// asKVM runs QEMU with its emulator in place of KVM, which the machine may not have.
const asKVM = `for a; do shift; [ "$a" = kvm ] && a=tcg; set -- "$@" "$a"; done
`

// Only a kernel that runs is proof of KVM: not that QEMU starts, and not a folder entry.
func TestProbe(t *testing.T) {
	k := kernel(t)
	tries := qemuBy(t, asKVM+`exec $qemu "$@"`)
	if got := probe(t.Context(), k, 2*time.Minute); got != "kvm" || tries() != "x" {
		t.Errorf("a kernel that runs: %q after tries %q, want kvm after one", got, tries())
	}
	if got := probe(t.Context(), "", time.Minute); got != emulated {
		t.Errorf("no kernel: %q, want %q", got, emulated)
	}
	qemuBy(t, asKVM+`exec ${qemu} "$@" -S`)
	if got := probe(t.Context(), k, 2*time.Second); got != emulated {
		t.Errorf("a kernel that hangs: %q, want %q", got, emulated)
	}
	t.Setenv(envQEMU, "/no/such/qemu")
	if got := probe(t.Context(), k, time.Minute); got != emulated {
		t.Errorf("no QEMU: %q, want %q", got, emulated)
	}
}
