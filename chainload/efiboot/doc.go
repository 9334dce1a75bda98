// Package efiboot reads and writes the EFI variables that decide what the
// firmware starts: Boot####, BootOrder, BootNext and BootCurrent.
//
// # What it promises
//
// All functions work on the interface Variables, which OpenVariables
// implements for the running machine. An entry is known by what it starts: the
// unique GUID of a GPT partition and the path of a file there. Names that
// firmware or Windows gave to entries, the numbers of partitions and their
// addresses do not matter in the search, since all of these change under an
// entry that is still the right one.
//
// What is written is read back. A variable that already holds what it should
// is not written: flash wears, and some firmware slows down or refuses writes.
// Nothing is deleted but by Remove, whose caller names the entries. Parsers take
// any bytes and never panic.
//
// # Formats (UEFI 2.10)
//
//	Boot####    EFI_LOAD_OPTION (3.1.3): u32 attributes, u16 length of the path
//	            list, UTF-16 description with NUL, device path, optional data
//	device path nodes (10.2): type, subtype, u16 length with these 4 bytes; end 7f ff 04 00
//	hard drive  04 01 2a 00 (10.3.5.1): u32 partition number, u64 first LBA, u64 blocks,
//	            GUID, 02 (GPT), 02 (signature is a GUID)
//	file path   04 04 (10.3.5.4): UTF-16 path with NUL
//	BootOrder   list of u16; BootNext, BootCurrent: u16
//
// All in the namespace EFI_GLOBAL_VARIABLE, with the attributes non-volatile,
// boot service access and runtime access.
//
// # Order of writes
//
// A new entry is written before BootOrder names it: an entry that nothing
// names is harmless, a name without an entry is an error in the firmware's
// log. BootOrder is written before BootNext. Remove shortens BootOrder first, for
// the same reason; only where the firmware refuses that it removes the entries
// first, which makes room, and then tries again.
//
// # Known gaps
//
// Firmware that accepts BootNext, reads it back and then ignores it cannot be
// noticed before the next start. Entries without an HD() node (network,
// firmware volumes, whole disks) are seen but never match. HandOff of package chainload
// shows what becomes of firmware that refuses writes.
package efiboot
