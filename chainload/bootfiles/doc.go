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
// names end in _EX). Those are laid over the others when the machine's db trusts that CA. A machine
// that trusts 2011 only gets the others; one whose dbx revokes "Microsoft Windows Production PCA
// 2011" and whose image has nothing newer is told so, while Secure Boot is on. ReadTrust reads db,
// dbx and SecureBoot (UEFI 2.10, 32.4.1: EFI_SIGNATURE_LIST) from efivarfs.
//
// Install changes only files that differ, and no file that is not in the set: BCD stores, the
// agent, other vendors' folders stay as they are.
//
// # Order of writes
//
//	left-overs of an earlier call     removed
//	free space                        compared with what is to be written: too little is ErrFull, nothing was written
//	NAME.new for every file           written and flushed; an error removes them, nothing was replaced
//	rename of every NAME.new          the boot managers last
//	the file system                   flushed
//
// FAT has no journal: a power cut within the renames can leave old and new files side by side, or a
// name twice. The agent runs before Windows and calls Install again, which compares every byte.
//
// # Known gaps
//
//   - Files that Windows compressed (CompactOS, or the compressed attribute) are not unpacked but
//     refused by name.
//   - Entries of dbx that revoke single programs by their hash, and Microsoft's security version
//     numbers in dbx, are not looked at.
//   - Only x64. Nothing was tried with a real Windows; which files there are is taken from
//     descriptions of bcdboot.
//   - Boot files of an older version of Windows replace newer ones: the image decides.
package bootfiles
