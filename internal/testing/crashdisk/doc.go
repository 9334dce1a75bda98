// Package crashdisk is an in-memory disk of several files that remembers every write and every
// flush, so that a test can stand at each instant of an operation, cut the power there, and look at
// what a real disk might hold afterwards.
//
// # Model
//
// The disk has 512-byte sectors, the only unit that is written whole or not at all. A write goes to
// a cache; it is sure to be on the medium only after a later Sync of the same file. (Sync of
// another file promises nothing: stricter than a real drive, where a flush covers everything.) When
// the power goes, every sector of every unflushed write is on the medium or not, one by one, in any
// order. An epoch is what lies between two flushes.
//
// # Crash states
//
// [Disk.Start] takes the present content as durable and begins a recording. [Disk.States] then
// yields, for the recorded calls:
//
//   - Prefix: the disk after each call, with everything that was written before it;
//   - Tear: the same, the last write cut after its first n sectors, or down to a random set of its
//     sectors;
//   - Lone and Missing: of one epoch, one write alone, or every write but one (reordering at its
//     plainest);
//   - Subset: of one epoch, a random set of whole writes and of sectors, applied in random order.
//
// A state that was yielded before (the same sectors chosen of the same epoch) is not yielded again.
// Each state is a disk of its own, recording from the start: running a recovery on it and calling
// States again crashes the recovery.
//
// # Faults
//
// [Disk.SetHook] sees every call before it happens and may let it fail, with any part of a write
// done. [FailAt] makes the usual ones. A failed Sync makes nothing durable. [Disk.Spoil] makes a page
// unreadable until it is written to; crash states and forks keep it so.
//
// # Cost
//
// Only written pages are stored, and states share them: a file may be terabytes long. Unwritten
// places read as zero, or as repeatable garbage when the file was made with [Garbage].
//
// # Gaps
//
// Sectors that the drive damages without having been asked to write them (shorn neighbours, bit
// rot) are up to the test: by Spoil, or by writing something else there.
package crashdisk
