// Package machine changes which version of Windows a machine boots, so that a power cut at any
// instant leaves the old or the new version bootable, whole.
//
// It works on five files that exist already and never change their size ([Files]): the parent
// base.vhdx, two slots, the boot child, and a journal. Where their bytes are is the caller's
// business ([Storage]): clusters of an NTFS volume on a block device, plain files, memory. Nothing
// here knows NTFS, and nothing here allocates.
//
// # Promises
//
//   - At every instant, whatever the firmware boots next, the chain that starts at boot.vhdx reads
//     as one whole version, in every sector: the old one or the new one. This holds for a power cut
//     that drops, tears (512 bytes) or reorders what was not flushed, for a second one during
//     recovery, and for a process that is killed.
//   - An error of the disk stops the operation at a named step ([StepError]); the promise above
//     holds, and after Open the operation can be run again to its end.
//   - Of every structure that stands twice (header, region table, record of the journal) one copy is
//     enough. A copy that cannot be read is as good as damaged; the other one counts, and the bad
//     one is written next, by [Machine.Recover] at the latest. A copy that rots brings no older
//     state back. A slot that no chain needs may be lost altogether.
//   - The exception is [Reinstall], an explicit order: from its first steps until it is finished
//     the machine boots nothing and needs the agent. It never boots a mixture. And a machine whose
//     parent another program changed boots nothing until [Healer.Finish], as it was when it was
//     found.
//   - Whatever is refused is refused before the first byte is written.
//   - Every write is whole 4 KiB pages at a multiple of 4 KiB. Nothing is discarded.
//   - Which file is the parent of which is read from the files (locators, DataWriteGuids,
//     LogGuids). The journal only gives names to versions and remembers progress: losing it loses
//     no data.
//
// # Files
//
//	base.vhdx     fixed, every block FULLY_PRESENT (any block size, also one that Windows made)
//	layer-?.vhdx  slots: differencing, 1 MiB blocks; file id, headers, region tables | log 1 MiB | metadata | BAT | sector bitmaps | payload
//	boot.vhdx     differencing, 2 MiB blocks, anchored: ... | log | BAT | sector bitmaps | payload | metadata
//	journal       6 records of two slots of 1 MiB, stage log 4 MiB
//
// Every payload block of the boot child is PARTIALLY_PRESENT at its own place (its anchor), with
// zero bits in the sector bitmap until Windows writes there; the metadata region ends the file. So
// the file has neither space to give out nor slack to cut off. Its log holds the whole BAT, the
// metadata and a zero descriptor for each sector bitmap in one entry. Windows may still trim, move
// and promote blocks, and complete the locator; every commit and every reset puts everything back.
//
// A slot fills in virtual order: a block with changed pages takes 1 MiB, a block that becomes all
// zeros is state ZERO and takes none. A slot is poisoned when its locator names no file, and
// finished when it names the DataWriteGuid of a file below.
//
// # Order of writes
//
// A line ends with a flush; nothing of a later line is written before.
//
// Stage ([Machine.Stage], [Stager]), into a slot that no chain names:
//
//	one header, with a new DataWriteGuid        a child that named the old one finds nothing
//	the other header
//	locator that names no file                  half-filled is never taken for finished
//	payload                                     then read back, each page compared by hash
//	sector bitmaps
//	BAT
//	locator that names the file below           now it counts; structures are read back
//	journal: what the slot holds
//
// Commit, and likewise Reset, Rollback and Relink ([Machine.Commit] and others), on the boot child:
//
//	the log that Windows left is replayed and closed (only if there is one)
//	journal: the DataWriteGuid to come          (not Relink)
//	one log entry: locator, BAT at its anchors, zero descriptors over sector bitmaps (Relink: the locator alone)
//	one header: sequence number + 1, LogGuid    one sector decides
//	the other header likewise                   if one rotted from here on, the other would show half of the change
//	the pages of the entry in their places
//	one header: LogGuid zero
//	the other header likewise
//
// Only pages that differ or cannot be read are logged. While the entry is written the LogGuid of the current header
// is zero, so no program reads the log.
//
// Personalise ([Machine.Personalise]) gives a machine its identity: bytes of its own over those of
// the version, in a boot child that is empty. [Machine.Want] comes first, for a version that is
// staged before its Commit ([Reinstaller.Want] before Finish):
//
//	journal: the identity that is wanted        compared with the version before
//
// Then, after Commit or Reset:
//
//	whole pages at their anchors                no bit shows them; then read back
//	journal: the DataWriteGuid to come, and whose it is
//	one log entry: the pages of the sector bitmaps that show them
//	one header: sequence number + 1, LogGuid    one sector decides
//	the other header likewise
//	the pages of the entry in their places
//	one header: LogGuid zero
//	the other header likewise
//	journal: this boot child, and no other one
//
// Before the header the machine shows the version as published, from then on the version with the
// whole identity; nothing lies between. Pages are compared with the hashes that were published
// before the first of them is written. See Identity below.
//
// Merge ([Machine.Merge]), from the slots into the parent:
//
//	journal: the merge has begun                no rollback from here on
//	payload of a slice, ascending               all of it masked by a slot above
//	journal: cursor                             and so on for every slice; the last one says "done"
//
// The parent's metadata and DataWriteGuid stay. Then Relink: the boot child names the parent (its
// session lives on, for both show the same), the journal gives the parent its new label and forgets
// the slots, the slots are poisoned. With two slots in the chain both are merged in one pass and
// relinked once.
//
// Heal ([OpenForHeal], [Healer]), of a parent that was opened read-write elsewhere. The
// DataWriteGuid that it had stands in the locator of the child that sits on it (the journal helps
// when Windows rewrote the path):
//
//	the log that was left in the parent is replayed and closed
//	payload: right bytes over wrong ones        while the chain opens nowhere, for the linkage does not match
//	journal: a merge that had begun is at 0     only if there is one
//	the older header: the recorded DataWriteGuid   one sector decides: the chain opens again
//	the other header
//
// The caller compares: with the version of the parent, or, while a merge makes the parent a
// mixture, with the version that the parent and the slots that are merged show together
// ([Healer.Label]). A slot above them does not count: it may be rolled back.
//
// Mend ([Machine.Mender]), of a machine that boots, when a page of its version was seen to be wrong:
// right bytes over wrong or unreadable ones, in whatever file of the chain they lie, then a flush of
// each file. No structure changes. The machine boots all the while, and every state between shows
// fewer wrong pages than the one before.
//
// Identify ([Machine.Identify]) gives what the boot child sits on another label, after the caller has
// compared it. No file but the journal changes.
//
// Reinstall ([Reinstall], [Reinstaller]):
//
//	journal: the order, with a new DataWriteGuid
//	boot child: as in a commit, it names no file    and a file that is not there; State says Reinstalling from here on
//	the log that was left in the parent is replayed and closed
//	parent: one header with the new DataWriteGuid   a child that named the old one finds nothing, old labels and cursors mean nothing
//	parent: the other header
//	payload, in any order                       [Reinstaller.WriteAt]
//	journal: cursor                             [Reinstaller.Advance], and so on
//	journal: label of the parent; slots and merge are forgotten
//	the slots are poisoned
//	boot child: as in a commit, it names the parent
//	journal: the order is forgotten
//
// The cursor counts only while the boot child is poisoned, for the same version, and for a parent
// that carries the GUID of the order; otherwise a reinstall starts over. When the journal is lost
// the poisoned boot child still tells that a reinstall is not finished. All other operations are
// refused then with ErrReinstalling.
//
// A boot child or a parent that is damaged, cannot be read, or (parent) does not hold every block is
// formatted in its step, if the file has the size for it: file identifier zero, flush, all
// structures, flush, headers, flush, file identifier, flush. The other file says which virtual disk
// it is for, or else the order. A disk of another size than ordered is refused before anything is
// written ([CheckReinstall]).
//
// Open flushes all files before it believes what it reads: a killed process may have left writes in
// a cache.
//
// # Going on with a stage that was cut off
//
// When the request names a Manifest, WriteAt adds notes of what it wrote to the stage log, after the
// payload and without a flush: after each MiB, and when [Stager.Note] asks for it. After each 64
// MiB the slot is flushed, then the log is written and the journal flushed. A later [Machine.Stage]
// of the same request finds the slot whose DataWriteGuid the notes belong to, makes its locator
// name no file (it may have been finished, but not labelled), reads every page that a note names,
// and keeps those whose hash is the noted one. The log itself is never believed: whether it, or the
// payload, reached the medium, in what order, and whether another program wrote there since, does
// not matter. [Stager.Have] tells what is there; what is not has to be written again. Finish is the
// same as ever.
//
// So a process that is killed loses what it had not noted: less than 1 MiB in all, and nothing if
// Note was called. A power cut loses what the disk's cache lost, 64 MiB at most.
//
// The stage log is made of sectors of 512 bytes, each whole or not, little endian:
//
//	 0  magic "troystg1"
//	 8  key: the first 16 bytes of a SHA-256 over DataWriteGuid of the slot, image, manifest, version, layout of the slot, runs
//	24  number of notes u32
//	28  CRC-32C u32 of the sector without this field
//	32  notes of 24 bytes, up to 20: first data page u32, data pages u32, first 16 bytes of the SHA-256 over the SHA-256s of these pages
//
// Data pages are the pages of the runs that are not Zero, counted in the order of the disk. Sectors
// are added to a page of 4 KiB, which is written over while it fills, and the log ends where 64 KiB
// have no good sector. When it is full (160 000 notes), the rest is not noted.
//
// # Journal
//
// A record (see [Journal]) is written to both its slots, the worse one first, each flushed and read
// back before the next: magic, number, length, sequence number, SHA-256 of the content, CRC-32C of
// the header. Every operation first completes a write that was cut off between the slots. RecordMachine is JSON: labels
// (DataWriteGuid, image, version, hash of the manifest) of the parent and of finished slots, the merge or the reinstall
// in progress, the DataWriteGuids that an untouched boot child may have, and the identity. Members that this
// program does not know are kept when it writes the record.
//
// The content begins with a line of JSON, the head (internal/format): "format", which is 1, and
// "needs". If any record needs a word that a program does not know, or has no head that it can read,
// OpenJournal and whatever opens the machine return the error, and nothing is written: Windows starts
// with what the disk holds. A newer number alone is no reason.
//
// Put keeps the head that the record has, and gives a new one the format that the journal has by now;
// the first record of a journal has the oldest format. Only [Journal.Raise] makes the format that of
// this program: an agent that is on trial, or a medium, does not call it, so that the agent that
// comes back after it reads what it finds.
//
// The layout of slots and of the stage log has no number. It does not change.
//
// When it is lost, State has no version numbers, Rollback and Commit of a staged slot are refused
// (it is unknown whether a merge has begun, or what the slot holds), merges begin again at 0, it is
// unknown whether Windows wrote (SessionUnknown) until the next reset, and everything else works.
// The next version that is staged and committed has a name again.
//
// # Identity
//
// The member "identity" of RecordMachine says in "versions", for each version on the disk that Want
// was called for, what the machine is to be called there: "of", what that was made of, the values for
// people to read, the edits (place, bytes, published hashes) and SumEdits of all of them; there need
// not be any. Where there are secrets, the edits are those without them: secrets count in that sum,
// and are nowhere else in the journal. "applied" has the DataWriteGuid of the boot child that an
// identity was written into, and its sum and values. The state follows from these and from the files:
//
//	the boot child                          State
//	------------------------------------------------------------------------------------------
//	as a reset left it, none wanted         -
//	as a reset left it, one wanted          IdentityPending: Personalise is next, whatever was cut off
//	the same, nothing to write into it      -
//	the GUID of "applied"                   IdentityApplied; not SessionWritten
//	Windows wrote to it                     IdentityApplied is that of the boot child it started from
//	Windows ran after a cut, before Recover IdentityUnknown, until the next reset
//
// So whatever empties the boot child (commit, reset, rollback, reinstall) makes the identity pending,
// without a write of its own. Where the secrets cannot be had, [Machine.Wanted] gives the edits
// without them; IdentityApplied differs from IdentityWanted then. Another identity takes a reset first.
// Relink keeps the identity, as it keeps a session. What compares and mends the version
// ([Machine.Content], [Machine.Mender], [Healer]) reads below the boot child and sees no identity.
//
// # What goes wrong, and what holds then
//
// Each step, by the kinds of fault. "-" does not apply.
//
//	           cut, or a failed write    one copy lost       unreadable page     after a cut merge      old state believed
//	recover    run again                 mends it            log: refused        finishes the relink    -
//	stage      goes on by hash           slot is formatted   fetched again       stacks on the slot     dropped: nothing is staged
//	commit     old or new                both headers first  in the log entry    slot below masks       session noted before
//	reset      old or new                as commit           as commit           allowed                unknown session: reset
//	rollback   old or new                as commit           as commit           refused                a merge that began is known
//	identity   unnamed or whole          as commit           refused             as reset               pending until it is applied
//	merge      cursor behind the flush   record mended first stops; reinstall    goes on                another top begins at 0
//	heal       boots nothing, run again  as recover          counts as wrong     through merged slots   cursor 0 before the GUID
//	mend       fewer wrong pages         as recover          counts as wrong     through all slots      -
//	reinstall  boots nothing, goes on    file is formatted   counts as wrong     forgets it             order forgotten at its end
//	adopt      label before boot child   -                   refused             refused                another label is refused
//	size       -                         other file says it  other file says it  -                      checked before the order
//	record     old or new                mended by the next  other slot counts   -                      both slots are written
//
// The mark of provisioning is in package pcdisk. TestRandomMachine plays all of this against a model
// of what may be read.
//
// # Cost
//
// Stage writes what changed, plus one page of sector bitmap for 16 MiB touched, plus the BAT pages,
// plus, with a Manifest, one or two pages of stage log for each MiB. A commit is eight flushes and
// a few pages, a stage nine, with a Manifest two more for each 64 MiB. Merge writes what changed
// once more. Personalise is eleven flushes and the pages that it changes, and like a reset reads all
// sector bitmaps (16 MiB for a disk of 64 GiB). On a machine with an identity a change of the boot
// child is two flushes more.
//
// Merge keeps 16 copies of up to 1 MiB in flight, each read and then written by one goroutine, and
// plans a slice while the one before it is copied; the tables of the slots are read 128 KiB at a
// time. Flushes are three for each slice of 256 MiB and two at the beginning. Measured by
// BenchmarkMerge with O_DIRECT in five turns, on a busy virtual disk with two processors (medians;
// dd copies as many bytes, 2 MiB at a time, qemu-img commits the same changes with -t none):
//
//	10 % changed              merge  dd   qemu-img   MB/s   merge/dd  merge/qemu-img
//	2 GiB, pieces of 64 KiB     516  516  336                 0.97      1.55
//	2 GiB, pieces of 2 MiB      613  445  550                 1.17      1.00
//	8 GiB, pieces of 64 KiB     643  716  551                 0.89      1.17
//	8 GiB, pieces of 2 MiB      742  814  677                 0.86      1.03
//
// The numbers of single turns differ by half. Handing the copies out through a channel cost up to a
// quarter; depth 8 a fifth with small pieces, and 32 gains nothing. Why there is no io_uring: see
// package blockdev. Stage reaches 213 and 387 MB/s for the two sizes of pieces: it reads back all
// that it wrote, one piece at a time.
//
// # Known gaps
//
//   - Nothing of this was tried with Windows; what Windows may do to the boot child is taken from
//     MS-VHDX and its public relatives.
//   - The size of the virtual disk must be a multiple of 4 KiB.
//   - A boot child whose regions or log are not where formatBootChild put them, or whose log cannot
//     be read or wants the file to be longer, is refused by all but Reinstall.
//   - What Personalise wrote, secrets too, stays in the payload of the boot child after a reset,
//     where no bit shows it, until the next one writes there. The journal's sum of a secret that is
//     easy to guess can be guessed.
//   - Whether what Heal, Mend and Reinstall wrote is right is the caller's word: he compares before
//     Finish, by ReadAt. Nothing is read back here.
//   - Heal refuses a parent in which a block is no longer FULLY_PRESENT (trimmed by a program that
//     had it open) or whose structures are damaged, and a slot that was changed elsewhere: reinstall.
//   - A copy that cannot be read twice in a row, and could be later, is overwritten: what it alone
//     said is lost, as if it had rotted.
//   - When the journal is lost and a slot is in the chain, Heal can only make the slots and the
//     parent together right.
//   - One stage is gone on with: beginning another one overwrites its log. What is noted is read as
//     a whole before anything else happens.
//   - After a flush that failed, a cache of the operating system may show pages that are on no
//     medium; a stage that goes on would take them over. It takes a storage that reads the medium
//     (O_DIRECT) to rule that out.
package machine
