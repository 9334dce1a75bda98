// Package ntfs reads an NTFS volume straight from its partition, as strictly as
// a program must that is going to write to clusters of files behind the back of every
// file system driver. It never mounts anything and never writes NTFS metadata.
//
// # Promises
//
//   - Everything on the volume is taken for hostile: no input makes the package
//     panic, loop, or allocate more than it read. Contradictions are a FormatError
//     (ErrCorrupt) that names the structure and the byte.
//   - Map returns a file only when every write to it stays inside clusters that
//     belong to that file alone: see "Map". A refusal comes before the first write and
//     is a FileError with one of the sentinels.
//   - Judge calls a volume clean only when it knows so. What cannot be read is taken
//     for the worst.
//     It looks at everything whatever it finds first; Verdict.Except leaves a kind of
//     refusal out, for callers that read a volume with a Windows on it.
//   - Runs says which clusters are a file's, for readers: it takes files that Map
//     refuses because they cannot be written, none whose clusters are in doubt.
//   - LogMentions answers anything but LogUnknown only when every record that a
//     restart could use was read, each at the place and with the number that the one
//     before it foretells.
//
// # What is read
//
// Boot sector; MFT records with their update sequence ("fixups", stride 512 on 4Kn
// disks too), attribute lists, mapping pairs; $I30 directories (the whole tree, so
// that names are found whatever the collation); $Secure, $UpCase, $Bitmap, $Volume, $LogFile
// (LFS 1.1 and 2.0), hiberfil.sys, the header of shadow copies. Names compare by the volume's
// $UpCase, by ASCII when that is damaged; two names that differ in case only are an error.
//
// # Map
//
// In this order: one entry of that name; sequence number; not a directory, no reparse
// point; $STANDARD_INFORMATION without the encrypted, compressed or sparse flag; one
// name, in the folder it was found in; $DATA not resident, no such flags, size a
// multiple of 4 KiB and equal to the valid length; segments of an attribute list that
// follow each other without gap and add up to the allocated size; runs inside the
// volume, no hole, no cluster twice, none of $MFT, $MFTMirr, $LogFile, $Bitmap or
// $Boot, all marked used in $Bitmap; all runs on whole physical sectors of the disk.
//
// Writes are whole 4 KiB pages of the file. Where clusters are smaller than 4 KiB a
// page can span runs: it is written in pieces, each a whole number of clusters. A
// piece that would be a part of a physical sector (clusters of 512 bytes on a "512e"
// disk, a partition that begins at sector 63) would make the disk read, change and
// write its neighbours, which a power cut can tear; such files are refused with
// ErrMisaligned. On a disk of 512-byte physical sectors they are written.
//
// Mapping is what a journal records of a file: volume serial number, MFT reference,
// size, runs. SameAs compares it at the next start.
//
// # $LogFile
//
// A restart begins at the client's oldest LSN. From there the records are walked one
// by one; a page that is torn, missing or older than it must be, a record of an
// unknown kind, or an end that is not the highest LSN on any page make the answer
// LogUnknown. A record names a file when it changes one of its MFT records or
// clusters, its bits in $Bitmap, or gives up its clusters. A change that stays inside
// $STANDARD_INFORMATION is LogTimes: Windows updates times of open files all day.
//
// The flags of a record (two bytes at 0x28 of its header) say which buffers it has: 2 no redo
// buffer, 4 no undo buffer; 1 is a record that goes on in the next page. dfir_ntfs (LogFile.py)
// describes them so, and every record of two Windows 10 logs agrees. The lengths are filled in
// all the same:
//
//   - A direction without a buffer has no data (Windows writes zeros to the end of an MFT record
//     this way), or names the other direction's buffer by place and length: it serves for both.
//   - A compensation as undo may have a length, and its data is never read, whatever the flags.
//   - A length counts for the bytes that the record may change, with data or without. Where data
//     says which clusters are meant (bits of $Bitmap, clusters given up) and is absent, the
//     answer is LogUnknown; times without data are LogNames.
//   - Data that the flags promise and that is not there, and any other flag, are LogUnknown.
//
// # Security descriptors
//
// A file has a descriptor of its own ($SECURITY_DESCRIPTOR), which counts first, or the one of
// $Secure that $STANDARD_INFORMATION names: the index $SII says where in the stream $SDS it is. Both
// are described by linux-ntfs, and compared here with ntfssecaudit on volumes of mkntfs and of
// Windows. What $SII and the head in $SDS say has to be the same, and the hash right; the copy of
// each block of $SDS is not looked at.
//
// # $Volume
//
// The flags 0x1 (dirty), 0x2 (resize $LogFile), 0x4 (upgrade), 0x20 (repair object ids), 0x4000
// (chkdsk under way) and 0x8000 (changed by chkdsk) make a volume unclean: the mask 0xc027 for
// which Linux's driver mounts read-only. 0x80 is set on every volume that Windows formats.
//
// # Known gaps
//
//   - The walk was checked on the 481 records that a formatting Windows left (LFS 1.1) against
//     ntfsrecover, on two logs of Windows 10 (LFS 2.0 in use, with a last page that only a
//     copy holds, and after a downgrade to 1.1: 405 and 268 records), and on synthetic logs of
//     both versions. None of the real ones has wrapped, none is of Windows 11.
//   - Compressed and encrypted files are not read.
//   - The contents of $MFTMirr are not compared.
//   - File names longer than the fields allow, alternate data streams, quotas and
//     transactions (TxF) are ignored.
package ntfs
