// Package bcd writes, reads and repairs the Boot Configuration Data store
// that makes Windows Boot Manager start Windows from a VHDX file (native boot).
//
// # What it promises
//
// New returns a store with one Windows in it, which lies in a VHDX file of the
// partition given. The same options give the same bytes on every machine and
// at every time. Parse reads any store, ours or one made by bcdedit, and never
// panics. Store.Names tells whether the default entry boots that very file
// on that very partition; Store.PatchVHD makes it so, keeps the options of a VHDX
// file, and leaves every other element as it was.
//
// # Format
//
// A store is a registry hive (see package regf):
//
//	Description                  KeyName, System, TreatAsSystem
//	Objects\{guid}\Description   Type: what the object is
//	Objects\{guid}\Elements\X    Element: the value; X is its type, 8 hex digits
//
// The first hex digit of an element type is its class, the second its format:
// 1 device (REG_BINARY), 2 string (REG_SZ), 3 object (REG_SZ), 4 list of
// objects (REG_MULTI_SZ), 5 integer (REG_BINARY, 8 bytes), 6 boolean
// (REG_BINARY, 1 byte; some tools write more), 7 list of integers.
//
// A device element is the GUID of an object with further options (zero in a store
// of ours) followed by a device descriptor. Descriptors nest:
//
//	header     u32 type, u32 flags, u32 size of the whole descriptor, u32 0
//	boot       type 5, 56 zero bytes: the partition the firmware started from
//	partition  type 6, partition (GPT: its GUID), local, then 16 zero bytes or,
//	           when the disk is virtual, the descriptor it comes from
//	locate     type 8, u32 kind, u32 element, u32 offset of the parent or 0,
//	           UTF-16 path, parent: the partition of the parent device that holds
//	           the file which element names
//	disk       type 0: u32 6, u32 0, 16 zero bytes, parent (virtual disk)
//	           or u32 5, path (a file); path = u32 1, u32 length, u32 5,
//	           descriptor of the partition, UTF-16 name
//	local      u32 0 hard disk or 6 virtual disk, u32 0 GPT, 1 MBR or 2 raw, disk GUID
//
// The two elements of the loader, device and osdevice, hold the form that
// Microsoft recommends for a VHD and bcdedit writes for `vhd=[D:]\x.vhdx`:
// locate(12000002 or 22000002) of virtual disk of file of partition. It names no partition inside
// the file: the boot manager looks for the one that holds the file, so it is the same whether the
// disk there has a GPT or an MBR. The other form, which names that partition (of an MBR by the
// signature of the disk and the offset in bytes), is read.
//
// # Order of writes
//
// This package writes no files; package chainload puts the bytes on the ESP.
//
// # Known gaps
//
// Written stores hold no resume object (there is no hibernation in native
// boot), no memory tester and no recovery entries. Descriptors of other kinds
// (network, serial, RAM disk) are kept as bytes and not looked into. A store
// that was not written to its end is seen as Dirty; its logs are not read.
// The layouts agree with stores made by bcdedit, byte for byte, as far as
// these are described in public; no Windows has booted from ours yet.
package bcd
