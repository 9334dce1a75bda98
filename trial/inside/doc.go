// Package inside is what a trial (package trial) and the program inside its Windows say to each
// other: orders one way, records the other.
//
// # The trial's disc
//
// The virtual PC has a CD drive with a small ISO 9660 disc, made anew for each start. Its names
// have at most 8.3 characters, so that no extension of the format is needed:
//
//	ORDER.TXT   an [Order] as JSON: what the program does at this start
//	GATES.EXE   the program, troy-gates.exe
//	UP.CMD      what the first logon runs: puts the program into C:\Troy and makes it a service
//
// # Files in drive C
//
// The program makes both, once, in one piece, neither sparse nor compressed, and only overwrites
// them from then on: who looks from outside, or plays Windows, needs no more of NTFS than where
// their clusters lie.
//
//	\Troy\trial.bin     [FileSize] bytes: [Slots] records of [SlotSize] bytes; the order with
//	                    number n fills slot n modulo Slots
//	\Troy\ballast.bin   blocks of [BlockSize] bytes, each made of a stamp and its own number. All
//	                    of one whole version have the same stamp
//
// A slot is "TROY", a CRC-32C of the rest, the length of the JSON, the JSON of a [Record], zeros. A
// slot of zeros is empty. One that was cut is an error of its own ([ErrTorn]), not of the file.
//
// # Order of writes
//
// The ballast is written and flushed before the record that says so; the record is flushed before
// Windows is told to shut down. A reset of the PC takes both back to what the version holds.
//
// # Known gaps
//
// Nothing here is secret or signed: a trial believes its own virtual PC.
package inside
