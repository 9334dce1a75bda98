// Package pcdisk is the disk of a PC: it finds the one that Troy may write to, joins the packages
// below it into a machine.Machine, and makes an empty disk into one of Troy's, on the admin's host
// and in the initramfs.
//
// # What it promises
//
// A disk is a target when its GPT holds exactly one EFI system partition and exactly one NTFS data
// partition with a \Troy\ folder that has a journal. Two such disks: none is taken (ErrAmbiguous).
// The journal's disk record names the GUIDs of disk, ESP and data partition and the clusters of
// every file as provisioning left them; Open compares them before anything can be written:
//
//   - the GUIDs differ: the disk is a copy or was partitioned again: ErrForeign;
//   - the volume is refused (hibernated, BitLocker, a second Windows): that error of package ntfs;
//   - the volume is clean and files moved: their new places are recorded, for Windows moved them in
//     good order;
//   - the volume is unclean, the files lie where they were recorded and $LogFile names none of
//     their MFT records: go on, this is what a hard power-off leaves;
//   - the volume is unclean and anything else holds: ErrUnclean. Windows repairs its volume; the
//     next start tries again.
//
// A file that cannot be written through its clusters (sparse, compressed, short valid length, …) is
// refused by ntfs.Map. Open writes nothing; only Record does, one record of the journal. Written
// tells how many bytes went to the \Troy\ files since, so that a failure can be reported as
// "untouched" or not.
//
// # Choosing a disk
//
// Choose takes a disk that is to become a machine's: never one on USB, a removable one (cards in
// built-in readers are), a read-only or unreadable one; one that holds something only if the order
// names it by serial or says wipe, and only if Permit agrees; of two that could be meant none. One
// that is too small could not be meant. A disk is empty where its ends read as zeros or, on flash
// that was erased and never written to, as ones. What is on a disk (Holding) is found out
// by Disks and Describe, which write nothing. A disk whose making was cut off is taken up again.
//
// # Making a machine
//
// ProvisionBare, Fill and Finish of the machine.Reinstaller make a machine of a whole disk;
// Provision is the three in one, with the boot files of an admin's host. A line ends with a flush:
//
//	mark of an unfinished disk                  from here on the disk is known for half made
//	ends of the disk erased, volume, ESP, partition table (formatDisk)
//	the first 16 MiB of every file, all of the journal: zeros
//	VHDX structures; slots and boot child name a parent that is not there
//	reinstall has begun: journal, boot child poisoned, DataWriteGuid of the parent
//	disk record in the journal
//	the mark is erased                          from here on Find finds a machine whose State is Reinstalling
//	pieces of 256 MiB of data: zeros by the disk's own command, data, flush, cursor in the journal
//	boot files on the ESP                       the caller's
//	Finish: label, boot child names the parent
//
// At no instant does the disk boot a mixture: no chain opens before Finish. A cut before the mark
// is erased starts over, which costs seconds; a later one goes on at the cursor (machine.Reinstall
// on the files of Open). Written is what the version holds and some 100 MB of structures; pages
// that the version leaves undefined keep what the disk held. Zeros cost nothing where the disk can
// write them by itself, and their length elsewhere.
//
// Fill works on every parent that Reinstall takes, also of a machine that is reinstalled or was
// adopted. Admit is Open for a machine that Open refuses because of what its files hold: for Heal
// and Reinstall.
//
// Adopt makes a machine of a disk whose parent another program filled and whose other files exist:
// it writes their content and nothing else.
//
// # The mailbox
//
// Beside the files of the chain lies mailbox, 1 MiB, made with the disk and full of zeros: what the
// agent and a service inside Windows tell each other. No service does yet. Integers are
// little-endian.
//
//	0       magic "troymbx1", length u32, CRC-32C u32 of the JSON, the JSON of Message, zeros up to
//	        4 KiB: the agent's, at each hand-off; it begins with "format" and "needs" (internal/format),
//	        those that the journal has
//	4 KiB   an answer in the same form, whose JSON repeats the nonce: the agent zeroes its first
//	        4 KiB at each hand-off, before it writes the message
//
// The file is looked up each time and written only on a clean volume, at its size, and apart from the
// other files. That it is missing, or Windows changed it, is said and stops nothing.
//
// # The disk record
//
// machine.RecordDisk is JSON: "disk", "esp", "data" (GUIDs) and "files" (where they lie). It may have
// "kept", {"guid","clear"}: a partition beside Troy's, by its GUID, that resets, updates and
// reinstalls leave alone, and when it is emptied. No program makes one yet. A record with a rule in
// "clear" needs the word clear: a program that cannot empty the partition stays away from the disk,
// and this one does. Record keeps all that it does not know.
//
// # Who may read them
//
// The folder and its files belong to Administrators, and their access list admits SYSTEM and
// Administrators only: the journal holds the machine's key. Windows' boot does not ask the list.
//
// # Known gaps
//
// A machine without a disk record (the journal was lost) is accepted as it is when its volume is
// clean, and recorded again. Disks with MBR are no targets. ProvisionBare leaves old bytes in free
// space of the volume, in undefined pages, and in unused parts of slots and boot child, which no
// reader is shown. Other partitions of a disk are not kept. Whether a disk is bare is told by its
// first and last MiB. A reinstall is known by image and version: a cursor of another store's
// version of the same name counts as well, so the caller verifies. Adopt looks at neither ESP nor
// BCD store: the agent repairs them at its first hand-off.
//
// # Preparing a disk: partition table, ESP, volume, files
//
// It runs on Linux as root and calls mkntfs and ntfs-3g.
//
// What it makes:
//
// GPT with an EFI system partition (FAT32, 512 MiB unless told otherwise), the
// Microsoft reserved partition (16 MiB) and a basic data partition without a drive
// letter (attribute bit 63), NTFS, with the files that Sizes lists in \Troy\. All
// partitions begin on whole MiB.
//
// writeBootFiles adds the files of the ESP (boot manager, BCD store), with mtools: the FAT
// library that makes the file system leaves directories that fsck.fat complains of.
//
// How the files are made:
//
// Their content is not written: files of hundreds of gigabytes take as long as
// their metadata. A sparse scratch file of the size of the partition is formatted by
// mkntfs; ntfs-3g makes the directory and empty files (its mount lives in a mount
// namespace of its own that is invisible to others and ends with it); clusters are
// chosen from the volume's $Bitmap, each file in one piece where one gap can hold it,
// on whole MiB, behind room for $MFT to grow; $Bitmap and the files' MFT records are
// patched, with the valid length equal to the size, as SetFileValidData does in
// Windows; ntfs-3g mounts once more to bring the sizes in the directory up to date,
// and so reads what was patched. Then what the scratch file really holds (its data
// extents) is copied to the partition and flushed, its boot sector last.
//
// Measured: the scratch file takes 72 MiB for a volume of 256 GiB, 96 MiB for 1 TiB, 192 MiB for 4
// TiB (64 MiB of it are $LogFile), and 1 to 5 s. In an initramfs it lies in the tmpfs of /tmp;
// where the folder is on a ramfs, which knows no holes, it gets a tmpfs of its own. /dev/fuse is
// made where it is missing. Making the directory entries here, without ntfs-3g, was weighed: it
// would save a mount and 0.7 MB of programs, and would be a writer of NTFS indexes of our own,
// which ntfs-3g has been for twenty years.
//
// The files therefore read as whatever the device held at their clusters: zeros on a
// fresh image file, old bytes on a used disk. The code that fills them (the VHDX layouts)
// must write, or zero, every byte it will ever read. zeroer zeroes without writing where
// the disk can do that.
//
// Order of writes of a preparation:
//
// formatDisk first erases the last and the first MiB, then writes ESP and volume, flushes, and
// writes the partition table last: a disk whose preparation was cut off has no table, or parts of
// one.
//
// With diskOptions.Mark the first write of all is a mark in the last page of the first MiB
// (diskMark: magic, length, SHA-256, JSON with the size of the disk and the GUIDs that the table is
// going to have), flushed; eraseMark takes it away when the caller has done his part.
// unfinishedMark knows by it a disk that was being made, whatever a power cut left of the table,
// for the next preparation gives the same GUIDs. In spite of the mark a disk is not ours that has
// another size, other GUIDs, an MBR, other files on the volume, or anything else at its ends (where
// swap, LVM, RAID and file systems have their own marks); nor is a finished one, which has a disk
// record: its mark was left by a cut right before it was erased.
//
// # Known gaps of a preparation
//
//   - Everything on the disk is lost; formatDisk asks nothing. Its caller asks checkEmpty
//     first, which looks at the first and the last MiB only. Partitions that are there cannot be
//     kept; space behind the data volume can be left free (DataSize).
//   - A mark is found again only if it was not removed: a disk cut off in the first flush looks as
//     it did before.
//   - What the disk held before stays outside of what was written, until Windows uses it.
//   - That Windows starts from files which only SYSTEM and Administrators may read was not seen on
//     a real one.
//   - Names are in the POSIX namespace and no 8.3 names are made, as ntfs-3g does it.
//   - A machine whose NTFS volume already holds data is not adopted here (Adopt
//     does, when the files exist).
//   - MBR boot code of mkntfs and the hidden-sectors field are right only for UEFI.
package pcdisk
