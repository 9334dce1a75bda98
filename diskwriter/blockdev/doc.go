// Package blockdev opens a whole disk (or an image file that stands for one), moves
// bytes to and from it, and reads its GUID partition table.
//
// # Promises
//
//   - Nothing is written but what a caller passes to WriteAt, and nothing is ever
//     discarded: the package knows no TRIM, no hole punching, no truncation.
//   - A write is whole: WriteAt returns nil only after every byte was accepted. It
//     is durable only after Sync, which flushes the page cache and the device's
//     volatile cache (fsync on the descriptor; sync(2) does not flush a device).
//   - ReadAt and WriteAt may be called from many goroutines; each call is one
//     request at a time, so the queue depth is the number of callers.
//   - A Partition cannot reach a byte outside its section of the disk.
//   - The partition table is believed only when its checksums hold, it lies where it
//     says it lies and no two partitions overlap. It is never repaired here.
//
// # Direct I/O
//
// The page cache is bypassed (O_DIRECT) where the medium allows it: it costs half the
// processor time and leaves memory to the download. Where it does not (some file
// systems under an image file), the file is opened buffered and behaves the same.
// With direct I/O the kernel wants offset, length and memory address aligned; callers
// need not care for reads, which are widened through a pool of aligned buffers, nor
// for the memory they write from, which is copied when it is not aligned (take it
// from AlignedBuffer to save that). Offsets and lengths of writes must be multiples
// of the logical sector size, or WriteAt returns ErrUnaligned: a partial sector would
// need a read-modify-write, which a power cut can tear.
//
// # Sector sizes
//
// A disk has a logical sector (the unit of its addresses: 512, or 4096 on a "4Kn"
// disk) and a physical one (the unit it can write without reading first: 4096 on a
// "512e" disk). Both are asked from the kernel. An image file has neither: its logical
// sector size is taken from where its partition table lies.
//
// # Known gaps
//
//   - A GPT with more than 1024 entries or entries larger than 4096 bytes is refused.
//   - MBR-only disks are refused: Windows boots from VHDX by UEFI with a GPT here.
package blockdev
