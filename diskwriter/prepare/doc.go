// Package prepare makes the disk of a machine, on the admin's host and in the initramfs: the partition
// table, the ESP, the NTFS data volume and the files of \Troy\ on it. It runs on
// Linux as root and calls mkntfs and ntfs-3g.
//
// # What it makes
//
// GPT with an EFI system partition (FAT32, 512 MiB unless told otherwise), the
// Microsoft reserved partition (16 MiB) and a basic data partition without a drive
// letter (attribute bit 63), NTFS, with the files that Sizes lists in \Troy\. All
// partitions begin on whole MiB.
//
// PutBootFiles adds the files of the ESP (boot manager, BCD store), with mtools: the FAT
// library that makes the file system leaves directories that fsck.fat complains of.
//
// # How the files are made
//
// Their content is not written: files of hundreds of gigabytes take as long as
// their metadata. A sparse scratch file of the size of the partition is formatted by
// mkntfs; ntfs-3g makes the directory and empty files (its mount lives in a mount
// namespace of its own that nobody else sees and that ends with it); clusters are
// chosen from the volume's $Bitmap, each file in one piece where one gap can hold it,
// on whole MiB, behind room for $MFT to grow; $Bitmap and the files' MFT records are
// patched, with the valid length equal to the size, as SetFileValidData does in
// Windows; ntfs-3g mounts once more to bring the sizes in the directory up to date,
// and so reads what was patched. Then what the scratch file really holds (its data
// extents) is copied to the partition and flushed, its boot sector last.
//
// Measured: the scratch file takes 72 MiB for a volume of 256 GiB, 96 MiB for 1 TiB, 192 MiB for 4 TiB (64 MiB of it are
// $LogFile), and 1 to 5 s. In an initramfs it lies in the tmpfs of /tmp; where the folder is on a ramfs, which knows no holes, it
// gets a tmpfs of its own. /dev/fuse is made where it is missing. Making the directory entries here, without ntfs-3g, was weighed:
// it would save a mount and 0.7 MB of programs, and would be a writer of NTFS indexes of our own, which ntfs-3g has been for
// twenty years.
//
// The files therefore read as whatever the device held at their clusters: zeros on a
// fresh image file, old bytes on a used disk. Whoever fills them (the VHDX layouts)
// must write, or zero, every byte it will ever read. Zeroer zeroes without writing where
// the disk can do that.
//
// # Order of writes
//
// Disk first erases the last and the first MiB, then writes ESP and volume, flushes, and
// writes the partition table last: a disk whose preparation was cut off has no table, or parts of one.
//
// With DiskOptions.Mark the first write of all is a mark in the last page of the first MiB (Mark: magic, length, SHA-256, JSON with
// the size of the disk and the GUIDs that the table is going to have), flushed; EraseMark takes it away when the caller has done his
// part. Unfinished knows by it a disk that was being made, whatever a power cut left of the table, for whoever makes it again gives the
// same GUIDs. A disk of another size, with a table of other GUIDs, an MBR, data in the gaps or other files on the
// volume is somebody else's in spite of the mark.
//
// # Known gaps
//
//   - Everything on the disk is lost; Disk asks nothing. Whoever calls it asks Empty first,
//     which looks at the first and the last MiB only. Partitions that are there cannot be kept; space behind the data
//     volume can be left free (DataSize).
//   - A mark is found again only if nobody removed it: a disk cut off in the first flush looks as it did before.
//   - What the disk held before stays outside of what was written, until Windows uses it.
//   - Security descriptors are what ntfs-3g gives: everybody has full access.
//   - Names are in the POSIX namespace and no 8.3 names are made, as ntfs-3g does it.
//   - A machine whose NTFS volume already holds data is not adopted here (package target
//     does, when the files exist).
//   - MBR boot code of mkntfs and the hidden-sectors field are right only for UEFI.
package prepare
