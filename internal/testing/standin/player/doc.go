// Package player plays Windows from its boot manager to its shutdown, on the disk of a PC of Troy:
// the part of the stand-in that a trial (package trial) needs. It works on the files of a volume,
// so that it can be tried on an image file as well as inside a virtual PC.
//
// # What it does at a start
//
//  1. It finds the PC's disk and the files of its chain. If the PC's own volume was not closed in
//     order, it clears the flag, as Windows repairs its volume.
//  2. It reads the chain, and does not come up ([Hang], nothing was written) where a Windows would
//     not: the chain cannot be read, \Windows\System32\winload.efi does not begin with "MZ", the
//     hive SYSTEM cannot be read, setup runs and has no answer file.
//  3. It opens the chain for writing and marks both volumes as in use.
//  4. While the hive SYSTEM says that setup runs, it plays setup: [Restarts] starts write a part of
//     [SetupFile] each and restart the PC. The next one has the hive say that setup is over, and is
//     the first logon ([inside.Desktop]). All later ones are [inside.Up].
//  5. It carries out the order of the trial's disc by [inside.Run]. Without a disc it does nothing.
//  6. It marks both volumes as closed in order and switches the PC off. An order with
//     [inside.Stay] has it write to the ballast, with stamps from [inside.StayStamp] on, until the power
//     is cut; then nothing was closed.
//
// Files inside the volume are only overwritten: a record and a ballast that are missing are not
// made, and what cannot be done is said in the record.
//
// # Order of writes
//
// The hive is written page by page, and only pages that differ: one that was made by package regf
// changes in one page, so that a cut leaves the old or the new hive. A part of [SetupFile] is
// flushed before its first page says that it is done. Each step is flushed before the next.
//
// # Known gaps
//
// It has no $LogFile, no registry logs, no network and no event log. [inside.Stuff] overwrites all
// free clusters, which makes of the boot child what a full volume makes of it, but they stay free.
// It does not look at the BCD store. The gates that ask for Windows' own programs (Optimize-Volume,
// test disks) are not run, and no fact is known.
package player
