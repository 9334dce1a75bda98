// Package unused finds the pages of a Windows disk that are not needed: free clusters of NTFS,
// and the content of pagefile.sys, swapfile.sys and hiberfil.sys. Filter is a publish.Filter.
//
// # Promises
//
// What is named unused lies in an NTFS volume whose reader called it clean, in a partition of a
// type that can hold one (blockdev.Volumes). Everything else counts as used: the space between
// partitions, other file systems, volumes that were not dismounted, volumes with shadow copies
// (which read free clusters of the volume), files that could not be mapped, the first 64 KiB of the
// three files (Windows looks there for signs of a hibernation or a crash dump, and a page that may
// hold anything must not show one). A disk with a BitLocker volume or a hibernated Windows is
// refused: its content is not complete. Each partition gives one line that says what was found.
//
// # The NTFS reader
//
// Filter asks for the facts about a volume in one piece, from the reader that the agent trusts to
// find its own files (package ntfs). A mistake of it loses data silently, so what it says is
// checked against the bounds of the volume; that its clusters are right is its promise. It judges
// the volume once, for everything: hibernated is refused, dirty or with an open log is unclean. The
// three files are found by ntfs.Runs: Windows never writes all of them, so their valid length ends
// before their size, and the clusters behind it are as unused as those before. A file that has
// another name as well, or whose clusters are in doubt, counts, and the note says why. A volume
// with more than 16 Mi ranges is refused.
//
// # Known gaps
//
//   - Dynamic disks, Storage Spaces and recovery partitions of a GPT are not looked into.
//   - If the primary GPT is damaged nothing is called unused.
package unused
