// Package corpus makes a reproducible pair of Windows disks, and its test measures on it what
// publishing ships, beside other programs. Nothing else of Troy imports it.
//
// # What is on the disks
//
// A GPT disk with one NTFS volume, made by mkntfs and written by ntfs-3g. Version 1 holds real
// Windows programs ($TROY_CACHE/programs, as `make deps` puts them there): DLLs of Wine and the
// win32 packages of three npm projects; besides four registry hives, event logs, the three files
// that Windows keeps memory in, and some free space with old garbage. All that is not a real
// program comes from a generator with a fixed seed.
//
// Version 2 is the same volume after one session as an update day has it, in this order:
//
//	download    the three new packages, as they come, into SoftwareDistribution
//	unpack      into a temporary folder
//	backup      the files that will be replaced are copied to WinSxS\Backup (their content stands in version 1)
//	update      the new files go where the old ones were, as new files
//	copies      a few DLLs are copied beside themselves, one folder is written again elsewhere and removed (as a defragmenter moves it)
//	hives       writes of 60 to 2000 bytes at random places, in place
//	logs        each grows at its end
//	memory      of pagefile.sys three quarters, of swapfile.sys a quarter, of hiberfil.sys a half are rewritten: parts of programs, noise, zeros
//	deleted     download, temporary folder, some DLLs
//
// The memory files have the size, beside what is new, that they have on a PC with 8 GiB of memory
// (page file 1.9 GiB, hiberfil.sys 40 % of the memory) after a monthly update that brings 1 GiB.
//
// So all kinds of change are there, and their shares can be read from the table that the test
// prints. They are a model, not a measurement of a certain PC: how much the memory files add
// depends on the PC, which is why the table also gives the differencing file without them. What
// mkntfs makes of the time and by chance (serial number, time stamps) is not the same each time:
// figures vary by some hundred bytes.
//
// # Truly new pages
//
// Counted by other means than Troy's: $Bitmap by ntfscat, the memory files' clusters by ntfsinfo,
// contents by a map of all pages of version 1. A page of version 2 is truly new if it is used there
// (outside the volume: always), not zeros, no part of a memory file but its first 64 KiB, and its
// content stands at no used page of version 1. Their bytes in disk order, compressed by the zstd
// program, are what shipping is compared with.
package corpus
