// Package diskwriter holds no code: it is the room of everything that writes to the disk of a PC.
//
//	machine   the five files of a prepared disk: stage, commit, merge, relink, reset, heal, reinstall; knows no NTFS
//	pcdisk    a whole disk: find Troy's files on it, map them, make an empty disk into one of Troy
//	ntfs      our own strict reader of what decides where is written: records, runlists, $Bitmap, $LogFile
//	blockdev  a disk or image file: sectors, alignment, flushes, GPT
//
// machine and ntfs know nothing of each other; pcdisk joins them.
package diskwriter
