// Package target finds the disk of the machine that Troy may write to, and joins the packages below it into a
// machine.Machine.
//
// # What it promises
//
// A disk is a target when its GPT holds exactly one EFI system partition and exactly one NTFS data partition with a
// \Troy\ folder that has a journal. Two such disks: none is taken (ErrAmbiguous). The journal's disk record names the
// GUIDs of disk, ESP and data partition and the clusters of every file as provisioning left them; Open compares them
// before anything can be written:
//
//   - the GUIDs differ: the disk is a copy or was partitioned anew: ErrForeign;
//   - the volume is refused (hibernated, BitLocker, a second Windows): that error of package ntfs;
//   - the volume is clean and files moved: they are recorded anew, for Windows moved them in good order;
//   - the volume is unclean, the files lie where they were recorded and $LogFile names none of their MFT records: go
//     on, this is what a hard power-off leaves;
//   - the volume is unclean and anything else holds: ErrUnclean. Windows repairs its volume; the next start tries again.
//
// A file that cannot be written through its clusters (sparse, compressed, short valid length, …) is refused by ntfs.Map.
// Open writes nothing; only Record does, one record of the journal. Written tells how many bytes went to the \Troy\ files
// since, so that a failure can be reported as "untouched" or not.
//
// # Choosing a disk
//
// Choose takes a disk that is to become a machine's: never one on USB, a removable, read-only or unreadable one; one that holds
// something only if the order names it by serial or says wipe, and only if Permit agrees; of two that could be meant none. What is on a
// disk (Holding) is found out by Disks and Describe, which write nothing. A disk whose making was cut off is taken up again.
//
// # Making a machine
//
// ProvisionBare, Fill and Finish of the machine.Reinstaller make a machine of a whole disk; Provision is the three in one, with
// the boot files of an admin's host. A line ends with a flush:
//
//	mark of package prepare                     from here on the disk is known for half made
//	ends of the disk erased, volume, ESP, partition table (package prepare)
//	the first 16 MiB of every file, all of the journal: zeros
//	VHDX structures; slots and boot child name a parent that is not there
//	reinstall has begun: journal, boot child poisoned, DataWriteGuid of the parent
//	disk record in the journal
//	the mark is erased                          from here on Find finds a machine whose State is Reinstalling
//	pieces of 256 MiB of data: zeros by the disk's own command, data, flush, cursor in the journal
//	boot files on the ESP                       the caller's
//	Finish: label, boot child names the parent
//
// At no instant the disk boots a mixture: no chain opens before Finish. A cut before the mark is erased begins anew, which costs
// seconds; a later one goes on at the cursor (machine.Reinstall on the files of Open). Written is what the version holds
// and some 100 MB of structures; pages that the version leaves undefined keep what the disk held. Zeros cost nothing where the disk
// can write them by itself, and their length elsewhere.
//
// Fill works on every parent that Reinstall takes, also of a machine that is reinstalled or was adopted. Admit is Open for a machine
// that Open refuses because of what its files hold: for Heal and Reinstall.
//
// Adopt makes a machine of a disk whose parent somebody else filled and whose other files exist: it writes their content and nothing
// else.
//
// # Known gaps
//
// A machine without a disk record (the journal was lost) is accepted as it is when its volume is clean, and recorded
// anew. Disks with MBR are no targets. ProvisionBare leaves old bytes in free space of the volume, in undefined pages, and in
// unused parts of slots and boot child, which no reader is shown. Other partitions of a disk are not kept. Whether a disk is bare is
// told by its first and last MiB. A reinstall is known by image and version: a cursor of another store's version of the same name
// counts as well, so the caller verifies. Adopt looks at neither ESP nor BCD store: the agent repairs them at its first hand-off.
package target
