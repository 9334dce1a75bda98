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
// Where the firmware refuses BootNext, another way is taken (see Methods), and
// Result.Method says which.
//
// On a machine without UEFI firmware (or a kernel started without it) HandOff
// returns ErrNotEFI and has touched nothing; a plain Reset is all there is left.
// Firmware tells such a machine at check-in, and whether Secure Boot is on.
//
// # The ESP
//
// The ESP is mounted with the kernel's vfat driver, read only; only when the
// store must be written is it made writable. Modules vfat, nls_cp437 and
// nls_ascii must be loaded. A library that writes FAT itself (go-diskfs) was
// weighed and left aside: fsck.fat complains of the directories it makes, and
// other people's files live here.
//
// A store that boots the right file is kept, whichever program made it and whatever else
// it says. One that does not is replaced by a new one, or with KeepStore only
// its two device elements are changed; the old one stays as BCD.old.
//
// # Order of writes
//
//	BCD.new   new store, fsync
//	BCD.old   old store, fsync
//	rename    BCD.new, read back, to BCD; the file system written out; BCD read back
//	BCD.LOG*  removed: logs of the old store
//	grubenv   only when an order to GRUB was left over: taken back, in place
//	unmount   which writes all of the ESP out
//	BootOrder without dead entries, then these Boot####
//	Boot####  only when missing, then BootOrder, if it does not name the entry
//	BootOrder only with AgentFirst, and only when the agent has lost its place
//	BootNext  read back; refused: grubenv, in place, read back; refused: BootOrder
//
// FAT has no journal: a power cut inside the rename can leave no BCD, or two
// names for one. The agent runs before Windows at every start and so finds and
// repairs that; a machine whose firmware starts Windows first would show
// error 0xc000000f until the agent is started by hand.
//
// # Boot entries
//
// An entry that this project made is known to the letter: a partition and a file, our
// name, nothing behind. Such an entry is removed when no disk of the machine has its partition
// (each provisioning gives the ESP another GUID), or when an earlier entry starts the same. What
// Windows, firmware or other systems made or changed is never removed, nor what started this agent;
// and while a disk cannot be read, no partition counts as gone.
//
// Where the firmware has no room for an entry of Windows, one that leads to Windows Boot Manager by
// \EFI\BOOT\BOOTX64.EFI of the same ESP will do. That the store is full, and what helps, is one
// note (ErrFull).
//
// # The agent's place
//
// With AgentFirst the agent's own copy (AgentEntry) is put first. Without one, the entry that
// started this agent is put before Windows if it has a right to that: it starts from a network, it
// led to the own copy, or it came before Windows at an earlier start (Result.Place). A stick that
// was chosen once in the firmware's menu has no such right. Each change of BootOrder is a line of
// Result.Changes. Result.Leaves says that Windows comes before the agent when all is done, so that
// the agent does not start again by itself.
//
// # Methods
//
// They are tried in this order, or in the one that Options.Methods gives:
//
//	BootNext    the firmware starts Windows once
//	GRUB        the agent's own GRUB on the ESP starts Windows once (package selfboot):
//	            needs no variable, but the installed agent first in BootOrder
//	BootOrder   Windows first; the agent does not start again by itself. Where Windows
//	            is first already nothing is written, and this is a plain reset.
//
// With Secure Boot GRUB starts Windows Boot Manager through the firmware, which
// checks its signature. Result.Method goes into the report; at the next start
// Judge says whether it worked.
//
// # Boot loops
//
// BootNext is used up by the firmware before it starts the program. If Windows
// fails and resets, the agent is next, as first in BootOrder, and may roll back.
// With ByBootOrder Windows is started again and again until the agent is
// started. With AgentFirst the agent's entry is put back at the head when Windows
// has put itself there.
//
// Health is what is remembered from one start to the next, Look what the last
// hand-off left, and Judge tells what became of it, a pure function:
//
//	start            Look, Judge
//	  Good           Windows closed its volume in order, or said so itself
//	  Failing        the version does not come up: package agent/decide goes back where it can
//	  Unknown        everything else
//	before Reset     Health.HandedOff, keep it
//
// A version is failing that was never good on this machine, and was handed over to three times
// within half an hour (loopWindow) without a sign of health; twice, if Windows wrote nothing at all
// after a hand-off by a way that is known to work here. Where the clock jumped or is not known,
// three in a row count. A version that was good once cannot be failing: who has the mains switch
// would choose the version.
//
// A method comes last when its order is still there at the next
// start (the firmware ignored it; the start is not counted). It is doubted when Windows has
// not written after it and it has never worked on this machine (which of the
// two is to blame is not known; the start is counted): another one is tried, and then it again.
// Windows is put first in BootOrder after two hand-offs without a sign (maxDoubted), since a PC
// without the agent's own copy leaves Troy by that. When such a PC is started from a medium again,
// the doubts are forgotten and the agent gets its place back. A method that has worked
// once is not doubted without proof.
//
// Judgement.Without says that Windows was, or may have been, started without the agent: it has
// written since the last start that was judged, and no hand-off was counted, or its order was not
// used, or it comes before the agent in BootOrder. How often Windows ran is not known: two starts
// leave the same trace as one. Times are those of the machine's clock,
// which Windows may set to local time: a loop may then pass for a late start.
//
// # Known gaps
//
// Mounting the ESP needs root and a kernel with vfat; the tests of this package
// use a folder in its place, mounting is for the tests in QEMU. A FAT
// that its last user did not unmount is used as it is, without a check. Where
// firmware refuses every write, Windows is not first and no GRUB of ours is,
// HandOff fails. The boot files themselves are only looked
// at (present, and an EFI program by its first bytes); package bootfiles brings
// them. BIOS machines are not supported. Nothing was tried with a real Windows,
// or on firmware other than OVMF; firmware that ignores BootNext is simulated.
package chainload
