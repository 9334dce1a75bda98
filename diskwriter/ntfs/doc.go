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
// that names are found whatever the collation); $UpCase, $Bitmap, $Volume, $LogFile
// (LFS 1.1 and 2.0), hiberfil.sys. Names compare by the volume's $UpCase, by ASCII
// when that is damaged; two names that differ in case only are an error.
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
// # Known gaps
//
//   - No log of a real Windows 10 or 11 crash was at hand. The walk was checked on
//     the 481 records that a formatting Windows left (LFS 1.1) against ntfsrecover, and
//     on synthetic logs of both versions. How LFS 2.0 uses its 32 copy pages is known
//     from the Linux driver only; where that is wrong the answer is LogUnknown.
//   - Compressed and encrypted files are not read.
//   - The contents of $MFTMirr are not compared.
//   - File names longer than the fields allow, alternate data streams, quotas and
//     transactions (TxF) are ignored.
package ntfs
