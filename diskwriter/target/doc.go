// Package target finds the disk of the machine that Troy may write to, and joins the packages below it into a
// diskwriter.Machine.
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
// # Making a machine
//
// Provision makes a whole disk: partition table, ESP and volume (package prepare), boot files, then the first 16 MiB of
// every file and all of the journal as zeros, flushed; the parent's payload, copied or zeroed; the VHDX structures, each file's
// headers last; the disk record. A disk whose provisioning was cut off is therefore never opened as a machine, also when it was
// one before. Adopt does the same for a disk whose parent somebody else filled and whose other files exist: it writes their
// content and nothing else.
//
// # Known gaps
//
// A machine without a disk record (the journal was lost) is accepted as it is when its volume is clean, and recorded
// anew. Disks with MBR are no targets. Provision leaves old bytes in free space of the volume and in unused parts of slots and
// boot child, which no reader is shown. Zeroing the holes of the base costs as much as writing them on a disk that cannot
// write zeros by itself. Adopt looks at neither ESP nor BCD store: the agent repairs them at its first hand-off.
package target
