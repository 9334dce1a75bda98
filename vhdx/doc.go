// Package vhdx reads, writes, creates, converts, relinks, merges and checks
// virtual hard disks in the VHDX format, MS-VHDX version 8.0 (April 2024):
// fixed, dynamic and differencing disks, chains of any depth, 512 and 4096
// byte sectors, blocks of 1 to 256 MiB, disks up to 64 TiB. It imports only the
// standard library and small internal packages of this module, which do the same,
// and runs wherever Go does.
//
// A File is one VHDX file; a Chain is a virtual disk: a leaf and the parents it
// stands on. Content is read and written through a Chain:
//
//	c, err := vhdx.OpenChain("child.vhdx", &vhdx.ChainOptions{Parents: &vhdx.Parents{}})
//	...
//	n, err := c.ReadAt(p, off)
//	for e, err := range c.Extents(0, c.Size()) { ... } // which file holds which bytes
//
// Create, Convert, Relink, Merge, MergeChain and Check do what they are called.
// The codecs of the on-disk structures (Header, RegionTable, Metadata,
// ParentLocator, BATEntry, Geometry; LogEntry to write only) are exported for programs that
// lay files out themselves.
//
// # Promises
//
// What a disk shows follows the table of block states: in a differencing disk
// NOT_PRESENT is the parent's, ZERO, UNMAPPED and UNDEFINED are zeros that hide
// the parent, PARTIALLY_PRESENT is decided per sector, and the sector bitmap
// is looked at in that state only: stale bits never leak. Bits and entries past
// the end of the disk are ignored. Past the end of a smaller parent a child
// reads zero.
//
// Nothing in a file is trusted. Sizes are claims: no memory is taken, no loop is
// run and no file is grown by a number alone; offsets are checked before use; a
// log costs what it is long. A disk of 64 TiB is opened, mapped and written to in
// a few MiB of memory: BAT and bitmaps are cached in 512 pages of 4 KiB per
// file, and a writer keeps one bit per MiB of file. Paths in a file are never followed:
// Parents looks among the files that the caller names and, for the file names that
// the paths end with, in the child's own folder, a Resolver where it likes, and
// without either a differencing disk is refused. So is a disk that stands on itself.
//
// A file that breaks a MUST gives a *FormatError with structure, place and
// reason (class ErrCorrupt); one that asks for something unknown an
// *UnsupportedError (class ErrUnsupported). A fault in the BAT is met where it
// is read and does not spoil the rest of the disk; a file whose blocks share
// their place is not written to. Tolerated, because programs in the field write
// it: state 5, which drafts of the format used for UNMAPPED, surrogates without a
// partner in a locator, one header or region table that is damaged or cannot be
// read, two identical headers (Disk2vhd), a length that is no multiple of 1 MiB (Disk2vhd), garbage in BAT entries that
// mean nothing (QEMU before 2023), paths without `\\?\` and a zero
// parent_linkage2 (Windows), a block whose part past the end of the disk is cut off.
//
// A file that is only read is never changed. A log left behind is replayed in
// memory for readers, and in the file, then closed, for writers.
//
// # Order of writes
//
// Metadata (BAT, sector bitmaps, region table, metadata region) change through
// the log only; payload and headers never do.
//
//	first change    header: new FileWriteGuid, new DataWriteGuid if content
//	                will change; both copies, sync after each
//	commit          sync                       payload is durable
//	                log entry, sync            the change is durable
//	                first time: header with LogGuid, both copies, sync after each
//	                pages to their places      durable with the next commit
//	close           sync; header with LogGuid zero, both copies, sync after each
//
// Sync, Close, and a full set of changed pages make a commit. Each entry is its
// own tail and takes at most half the log, so a valid entry is there at every
// instant. What was synced survives a crash; what was not reads, sector by
// sector, as before or after. The space of freed blocks is used again only
// after the commit that freed it; what is used again is zeroed where it is not
// written. DataWriteGuid does not change by replay, by moving the BAT, or by a
// Relink that keeps the parent.
//
// Merge follows note 12 of MS-VHDX: the child's locator takes the parent's
// present GUID and its next one, durably, then the parent changes its own, then
// payload, states and bitmaps, at last size and identity of the disk. Only what
// the child overrides is changed in the parent, so the child over the parent
// reads the same at every instant, and an interrupted merge is run again. The
// metadata that will be written are read back before the first change. Files
// made by Create and Convert get their name when they are complete and durable.
//
// # Beside other programs
//
// Of QEMU 7.2, libvhdi 20240509, 7-Zip 26, DiscUtils (LTRData) and openvmm (August
// 2026), by their source and, but for the last two, by trying them; "bugs" means wrong
// data in some cases.
//
//	                                     here QEMU libvhdi 7-Zip DiscUtils openvmm
//	read fixed, dynamic                  yes  yes  yes     yes   yes       yes
//	4096-byte sectors                    yes  no   yes     yes   ?         yes
//	read differencing                    yes  no   bugs    yes   yes       yes
//	chains of three and more             yes  no   yes     yes   yes       yes
//	ZERO/UNMAPPED hide the parent        yes  -    no      yes   yes       yes
//	stale bitmap bits ignored            yes  -    no      yes   yes       yes
//	child larger than its parent         yes  -    no      no    ?         yes
//	parent_linkage checked               yes  -    yes     yes   no        yes
//	parent_linkage2 accepted             yes  -    no      no    no        no
//	parent only where the caller says    yes  -    yes     yes   ?         no
//	log replay in memory                 yes  no   no      no    yes       ?
//	log replay on disk                   yes  bugs no      no    bugs      yes
//	falls back to region table 2         yes  no   no      no    no        yes
//	write through the log                yes  yes  no      no    no        yes
//	write differencing                   yes  no   no      no    bugs      yes
//	zero and trim as block states        yes  no   no      no    no        yes
//	create fixed, dynamic                yes  yes  no      no    yes       yes
//	create differencing, with locator    yes  no   no      no    yes       no
//	convert raw, fixed, dynamic          yes  yes  no      part  ?         no
//	relink                               yes  no   no      no    no        no
//	merge child into parent, chains      yes  no   no      no    no        no
//	extents with layer                   yes  no   no      no    no        no
//	check                                yes  part no      part  no        no
//	resize, compact, repair              no   no   no      no    no        no
//
// (- does not apply, ? not tried)
//
// Check finds what qemu-img check, 7-Zip and libvhdi find, and what they all
// miss: shared places named on both sides, reserved bits and states,
// PARTIALLY_PRESENT in a base, blocks over log, metadata or BAT, missing and
// misplaced sector bitmaps, anchors of trimmed blocks, damaged second copies.
//
// # Known gaps
//
//   - Resize (other than by a merge), compact and repair are not there.
//   - Two programs that write to one file are not kept apart: no locks are taken.
//   - One commit at a time: a Sync holds up readers while its pages are written.
//   - A damaged copy of the region table is repaired by Mend alone; one of the header
//     also by the first change.
//   - Stale paths in a locator are not updated on open, although 2.6.2.6.3 asks
//     for it: the file would change by being read. Relink does it when told.
//   - A merge whose further metadata do not fit together (ids, numbers, the parent's
//     region, one entry of its log) is refused; the region is not moved.
//   - A circle through files that are not at hand is not seen by Merge.
//   - A log of more than 1 GiB, a metadata region of more than 128 MiB, and a
//     locator of more than 256 pairs are refused.
//   - Space that an earlier session's crash left unused is found again, but the
//     file is never made shorter.
//   - Old .vhd files are another format.
package vhdx
