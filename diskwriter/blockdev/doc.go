// Package blockdev opens a whole disk (or an image file in place of one), moves
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
//     request at a time, so the queue depth is the number of callers. Nothing here
//     takes a lock around a request.
//   - A Partition cannot reach a byte outside its section of the disk.
//   - The partition table is believed only when its checksums hold, it lies where it
//     says it lies and no two partitions overlap. It is never repaired here.
//
// # Which disks a PC has
//
// Disks lists what the kernel shows of SATA, NVMe, eMMC, UFS, SCSI and virtio disks. Disk.Unfit
// says which of them cannot be the PC's own: cards (device/type of an MMC bus is not MMC, whatever
// removable says), removable and read-only disks, and all that hangs on USB.
//
// # Direct I/O
//
// The page cache is bypassed (O_DIRECT) where the medium allows it: it costs half the
// processor time and leaves memory to the download. Where it does not (some file
// systems under an image file), the file is opened buffered and behaves the same.
// With direct I/O the kernel wants offset, length and memory address aligned; callers
// need not care for reads, which are widened through a pool of aligned buffers, nor
// for the memory they write from, which is copied when it is not aligned (take it
// from block.Aligned to save that). Offsets and lengths of writes must be multiples
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
// Package tests take a machine through stage, commit, merge and relink on block
// devices of 512 and of 4096 bytes a sector (loop devices), with at least eight
// writes in flight, and read from the kernel's own counters that flushes arrived and
// nothing was discarded.
//
// # io_uring
//
// Callers in goroutines are the queue; there is no io_uring. Measured with a ring of
// its own on a busy virtual disk with two processors, 880 MB in copies of 64 KiB, read
// and written with O_DIRECT, eight runs of 3 to 5 turns: MB/s (lowest, middle and
// highest of the runs' medians) and seconds of processor time (middle):
//
//	goroutines, 16 deep     601  677  835    0.60
//	io_uring, 16 deep       510  677  725    0.33
//	dd, 2 MiB               500  692  970
//
// The ring saves half of the processor time and no time: that disk needs as long for
// the reads alone and the writes alone together as for the copy. For that gain it
// would hand memory of Go to the kernel through unsafe pointers, in the one place
// that must not err, and some systems switch it off. Of one run, five turns: 4 deep
// 468, 8 deep 619, 16 deep 637, 32 deep 552; io_uring 64 deep 609.
//
// # Known gaps
//
//   - A 512e disk (512 logical, 4096 physical) is not among the test devices: loop
//     devices cannot be one. Every write of the packages above is whole 4 KiB pages,
//     on 512e as on 4Kn.
//   - A GPT with more than 1024 entries or entries larger than 4096 bytes is refused.
//   - A disk in a Thunderbolt or eSATA case looks like one inside. An MMC card in a slot (not SD, not
//     soldered) looks like eMMC.
//   - A PC's disk with an MBR alone is refused: UEFI starts Windows from a GPT. The disk inside a
//     VHDX may have either (Volumes).
package blockdev
