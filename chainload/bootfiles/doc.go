// Package bootfiles takes the files of Windows Boot Manager out of a Windows image and puts them on
// the ESP, as bcdboot does: nothing of Windows has to be carried along.
//
// # What it promises
//
// Load looks through the virtual disk (any io.ReaderAt: a chain of VHDX files, the parent that was
// just filled) for the one NTFS volume with \Windows\Boot\EFI\bootmgfw.efi and reads
//
//	\Windows\Boot\EFI\*         to EFI/Microsoft/Boot, folders of languages included
//	\Windows\Boot\Fonts         to EFI/Microsoft/Boot/Fonts
//	\Windows\Boot\Resources     to EFI/Microsoft/Boot/Resources
//	bootmgfw.efi                also to EFI/Boot/bootx64.efi, unless a copy of the agent is on the
//	                            ESP: then that file leads to the agent (package selfboot)
//
// Images since 2024 carry the same programs signed by "Windows UEFI CA 2023" (EFI_EX, Fonts_EX;
// names end in _EX; Microsoft, KB5025885). Those are laid over the others when the machine starts
// them; without Secure Boot, when its db holds that CA. What a machine starts package secureboot
// says.
//
// # Boot files follow the state
//
// The agent holds the ESP against the version that is going to start at every start, not only at
// the one that installed it: a cut, an error behind the commit, a rollback, a Windows Update,
// changed keys of the firmware or a person may have come between. Compare reads, Apply writes. A
// Note in the machine's journal says that the ESP was right for this version and this firmware, and
// how it looked then (State): while that is so the image is not read.
//
// Only files that differ are changed, and no file that is not in the set: BCD stores, the agent,
// other vendors' folders stay as they are.
//
// # Boot files only go forward
//
// Windows raises the security version that dbx asks of its boot manager. dbx survives each reset,
// rollback and reinstallation, and the firmware then refuses an older boot manager. A newer one
// starts older versions of Windows. So a boot manager on the ESP is never replaced by one with a
// lower version (secureboot.Version: security version, then file version), and beside one that
// stays only files that are missing are added, and EFI/Boot/bootx64.efi is made the same. It is
// replaced all the same if
//
//   - this machine refuses the one that is there and starts the other: its keys were reset; or
//   - the version that brought it was given up as failing, and dbx does not refuse the older one.
//     The Note names the version that brought it, by the hash of the boot manager: one that Windows
//     Update wrote was brought by none. That is in the journal before the boot manager is written.
//
// The other way round, a boot manager that this machine refuses never replaces one that it starts,
// and where it starts neither, nothing is written (ErrNotTrusted). EFI/Boot/bootx64.efi is judged
// by itself in the same way.
//
// When a disk is going to be erased, Carry takes the boot manager of its ESP along if it is newer.
// Stash leaves it on the new ESP, under a name that nothing starts, until the version is written.
//
// # Order of writes
//
//	free space                        compared with what is to be written: too little is ErrFull, nothing was written
//	NAME.troynew for every file       written and flushed; an error removes them, nothing was replaced
//	rename of every NAME.troynew      the boot managers last
//	left-overs of an earlier call     removed, and the stash
//	the file system                   flushed
//
// FAT has no journal: a power cut within the renames can leave old and new files side by side, or a
// name twice. The agent runs before Windows and compares again.
//
// # Known gaps
//
//   - Files that Windows compressed (CompactOS, or the compressed attribute) are not unpacked but
//     refused by name.
//   - Only x64. Nothing was tried with a real Windows; which files there are is taken from
//     descriptions of bcdboot.
//   - With Secure Boot on, boot managers of 2026 were reported to refuse a winload.efi of an older
//     servicing track (STATUS_SECUREBOOT_ROLLBACK_DETECTED). Versions of Windows are not compared.
//   - A cut between the erasing of a disk and Stash loses the boot manager that was carried:
//     seconds.
//   - troy disk prepare does not read the ESP of a disk that it erases.
package bootfiles
