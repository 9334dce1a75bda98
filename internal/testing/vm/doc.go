// Package vm starts virtual PCs for tests and follows what they say on the
// serial line.
//
// A [Config] says what the PC is made of; [Start] turns it into one QEMU
// process. The serial line goes to a log file, to an optional callback, and to
// [VM.Expect], which waits for a line. [Network] is a private network (network
// namespace, bridge, taps, DHCP) for PCs that must see each other or a DHCP
// server of their own.
//
// # Promises
//
//   - Everything is bounded: each VM has a timeout, after which it is killed and
//     [ErrTimeout] comes back. No QEMU outlives the process that started it.
//   - Every error shows the last lines of the serial log and the command line that
//     starts the same VM by hand.
//   - [VM.Kill] is a power cut as the guest sees it: what the guest wrote before
//     is in the image file, flushed or not.
//   - A [Network] has no way out. User networking has: a guest reaches what the host
//     reaches, and the host's 127.0.0.1 as 10.0.2.2.
//
// # Settings
//
//	TROY_QEMU        the QEMU to run; empty = qemu-system-x86_64 of PATH
//	TROY_QEMU_ACCEL  QEMU's -accel; empty = tcg,thread=multi,tb-size=512
//
// TCG is the default because nested KVM of an unknown host fails in ways that
// look like faults of the guest.
//
// # Known gaps
//
// Raw image files only. A kill does not lose unflushed writes, so the loss of a
// disk's own cache is not shown by it; that is what the tests of package
// diskwriter simulate; and [Disk].WriteLog keeps the order of writes and flushes,
// so that every state between can be looked at.
package vm
