// Package source makes a disk to publish of whatever an admin has: a VHDX, a disk in another
// program's format, a bare NTFS volume, an image of partclone, Clonezilla or FOG, or a Windows on an
// installation medium. Recognise tells what a file or folder is by its content.
//
//	VHDX                          read as it is, with its parents
//	raw disk, NTFS volume         read as it is
//	VHD, VMDK, VDI, QCOW2         qemu-img writes a raw file (package vhdx/foreign)
//	differencing VHD              7zz writes a raw file
//	partclone, Clonezilla, FOG    partclone restores the volume: the NTFS volume with most in use;
//	                              xz, bzip2, lz4, lzip or lzop unpack it, if they packed it
//	WIM, SWM, ESD                 wimlib applies an edition to a new NTFS volume
//	UDF, ISO 9660                 7zz takes the archive out, then as a WIM
//
// # Promises
//
// No file is mounted, and no program needs root. Sources are never written to. What has to be made
// lies in one folder, loses its name before Open returns and is gone when the Disk is closed,
// whatever happens to the process; a folder that is too small is told before the work starts, where
// that can be known (of disks of other programs by qemu-img). Each stage of the work knows its
// bytes before it begins, and ends there. Each error names the file; no disk comes of a medium that
// is cut short or has a wrong hash.
//
// A volume that comes alone gets a GPT around it: an MSR of 16 MiB and a basic data partition from
// MiB 17, as diskpart makes them. It has no ESP: that of a PC is made there. The last sector of the
// volume, a copy of the first that partclone leaves out, is put in its place.
//
// An edition is applied to an NTFS 3.1 volume with clusters of 4 KiB and the label "Windows", with
// security descriptors, short names, streams, reparse points and hard links. The answer file for
// setup is written where setup looks first among the folders that the edition has:
// \Windows\Panther\Unattend, \Windows\Panther, \Windows\System32\Sysprep. An edition without boot
// files (package bootfiles) is refused, and so is one that is not for x64.
//
// # Known gaps
//
//   - Only editions that wimlib captured from programs of Windows were applied; none of Microsoft's
//     media was at hand, and no Windows has started from such a disk.
//   - Of the disk of a Clonezilla or FOG folder, only the volume with Windows is taken.
//   - An archive is copied out of a medium before it is applied: 7zz cannot read a part of it.
//   - Images of partclone that lrzip compressed are refused.
package source
