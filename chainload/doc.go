// Package chainload hands the machine to Windows Boot Manager: it sees to the
// boot files on the ESP, the BCD store, the firmware's boot entry and BootNext,
// and resets the machine.
//
// # What it promises
//
// After HandOff returned without error, the next start of this machine starts
// \EFI\Microsoft\Boot\bootmgfw.efi of the ESP given, and the BCD store there
// boots Windows from the VHDX file given. What is right already is not written:
// a machine that did nothing but start writes BootNext and nothing else.
// Where the firmware refuses BootNext, the Windows entry is put first in
// BootOrder instead, and Result.Method says so.
//
// On a machine without UEFI firmware (or a kernel started without it) HandOff
// returns ErrNotEFI and has touched nothing; a plain Reset is all there is left.
//
// # The ESP
//
// The ESP is mounted with the kernel's vfat driver, read only; only when the
// store must be written is it made writable. Modules vfat, nls_cp437 and
// nls_ascii must be loaded. A library that writes FAT itself (go-diskfs) was
// weighed and left aside: fsck.fat complains of the directories it makes, and
// other people's files live here.
//
// A store that boots the right file is kept, whoever made it and whatever else
// it says. One that does not is replaced by a new one, or with KeepStore only
// its two device elements are changed; the old one stays as BCD.old.
//
// # Order of writes
//
//	BCD.new   new store, fsync
//	BCD.old   old store, fsync
//	rename    BCD.new, read back, to BCD; the file system written out; BCD read back
//	BCD.LOG*  removed: logs of the old store
//	unmount   which writes all of the ESP out
//	Boot####  only when missing, then BootOrder
//	BootOrder only with AgentFirst, and only when another entry is first
//	BootNext  read back; refused: BootOrder with Windows first
//
// FAT has no journal: a power cut inside the rename can leave no BCD, or two
// names for one. The agent runs before Windows at every start and so finds and
// repairs that; a machine whose firmware starts Windows first would show
// error 0xc000000f until the agent is started by hand.
//
// # Boot loops
//
// BootNext is used up by the firmware before it starts the program. If Windows
// fails and resets, the agent is next, as first in BootOrder, and may roll back.
// With Method ByBootOrder Windows is started again and again until somebody
// starts the agent; so report that method. With AgentFirst the entry that
// started this agent (BootCurrent) is put back at the head when Windows has put
// itself there. If the firmware ignores BootNext after it took it, the agent
// starts again at once: a caller that counts its starts (the journal does) sees
// one more start without Windows, and sets Options.NoBootNext, so that Windows
// goes first in BootOrder.
//
// # Known gaps
//
// Mounting the ESP needs root and a kernel with vfat; the tests of this package
// use a folder in its place (ESPDir), mounting is for the tests in QEMU. A FAT
// that its last user did not unmount is used as it is, without a check.
// No GRUB one-shot for firmware that refuses every write of variables: HandOff
// fails then, and the caller resets. The boot files themselves are only looked
// at (present, and an EFI program by its first bytes), not made. BIOS machines
// are not supported. Nothing was tried with a real Windows yet.
package chainload
