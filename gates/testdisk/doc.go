// Package testdisk makes virtual disks that ask Windows the questions of package gates, has Windows
// work on them, and judges what it left behind.
//
//	Make   on Linux: a folder of disks and manifest.json          troy gates make
//	Run    inside Windows: attach, read, write, detach, merge     troy-gates.exe
//	Judge  on any system: what is in the folder now               troy gates judge
//
// The disks are made by what the product uses: package vhdx, and for slots, boot child and merged
// parent package diskwriter/machine. Nothing is sparse, for Windows refuses to attach sparse files.
//
//	plain/     fixed, dynamic, parent; child and space (holds space that no block uses) over parent
//	machine/   base, layer-a and layer-b; over base: fresh, personal (a few sectors are set), dirty (its
//	           log is not closed); chain3 over layer-a, chain4 over layer-b
//	merged/    base with both versions merged into it, boot
//	cut/       a merge that was cut off: the child names the parent by parent_linkage2
//	timed/     a child and a parent for Windows' own merge and Troy's
//	windows/   copies of cut/ and timed/ that Windows merged; troy/ the same by package vhdx
//
// # The manifest
//
// It says of each disk which files it consists of, with their hashes, what the virtual disk shows
// (as pieces of a pattern, so that a wrong byte can be named, and as a hash), and what may be
// written where. The pattern of a piece with seed s is, for each 4 KiB of it, the output of PCG(s,
// number of the 4 KiB) of math/rand/v2, little endian. No disk holds a partition table, so that
// Windows leaves it alone.
//
// # What is judged
//
// Of a file that Windows wrote to: that its log is closed, that vhdx.Check finds nothing, that it
// still names its parent, that DataWriteGuid changed with the content, that it shows what was
// written and nothing else, and, of an anchored child, that size and places of the blocks are what
// they were. Of parents: that not a byte changed. Of merged parents: that they show what the child
// showed, and that their DataWriteGuid is new.
package testdisk
