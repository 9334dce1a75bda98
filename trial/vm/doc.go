// Package vm starts virtual PCs and follows what they say on the
// serial line.
//
// A [Config] says what the PC is made of; [Start] turns it into one QEMU
// process. The serial line goes to a log file, to an optional callback, and to
// [VM.Expect], which waits for a line.
//
// # Promises
//
//   - Everything is bounded: each VM has a timeout, after which it is killed and
//     [ErrTimeout] comes back. No QEMU outlives the process that started it.
//   - A hang of the emulator is told apart from a fault of the guest, see below.
//   - Every error shows the last lines of the serial log and the command line that
//     starts the same VM by hand.
//   - [VM.Kill] is a power cut as the guest sees it: what the guest wrote before
//     is in the image file, flushed or not.
//   - With user networking a guest reaches what the host reaches, and the host's 127.0.0.1 as
//     10.0.2.2, unless [NIC].User says "restrict=on".
//
// # Settings
//
//	TROY_QEMU        the QEMU to run; empty = qemu-system-x86_64 of PATH
//	TROY_KVM         1 = use KVM if a kernel is seen to run in it, else emulate
//	TROY_QEMU_ACCEL  QEMU's -accel, as it is; empty = as TROY_KVM says
//
// Machines are emulated by default, since KVM inside another virtual machine fails in ways that
// look like faults of the guest, even where /dev/kvm exists. With TROY_KVM=1 a short start of the
// kernel that KERNEL names comes before the first VM of a process, and standard error has its
// result.
//
// # Hangs of the emulator
//
// A VM whose own programs say no line within a minute of the kernel's start is killed, and
// [ErrHungBeforeInit] tells that apart from a fault of what is tested. After the last line of
// firmware or boot loader it is a minute and a half, since a quiet kernel does not say when it
// starts. If nothing ran before but a kernel and what came from disks, the VM is started once more,
// with the firmware's variables as they were. Standard error and the serial log say so in capitals;
// "go test" shows the former with -v or when a test fails. A program of a test has to say its first
// line within that time, see [Config].InitLimit.
//
// # Known gaps
//
// Raw image files only. A kill does not lose unflushed writes, so the loss of a
// disk's own cache is not shown by it; that is what the tests of package
// diskwriter simulate; and [Disk].WriteLog keeps the order of writes and flushes,
// so that every state between can be looked at.
package vm
