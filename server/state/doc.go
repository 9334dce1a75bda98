// Package state keeps what a server must not forget, in one bbolt file: the machines, what was
// promoted to which room, and the history of nights.
//
// # Promises
//
// What a method has returned without an error is on the disk: it survives a killed process and a
// power cut (bbolt writes pages, syncs, writes one of two checksummed meta pages, syncs). What
// returned an error is not there. Several updates that arrive at once share one sync. A full disk
// gives ErrFull, and what was there before stays; as soon as there is room, updates go through
// again.
//
// A file that is damaged (cut short, zeros, noise) is found by Open before bbolt maps it, and named
// with the way back (DamagedError): every page that can be reached is read, and every value that
// has to be JSON. KeepCopy keeps a copy of the last day beside the file, which was checked before
// it replaced the one before.
//
// All machines are also held in memory, so reading does not wait for the disk. What Get and All
// give must not be changed.
//
// # Format
//
// Buckets, values in JSON as package internal/format writes the types of this package:
//
//	meta        "format" → 2, "needs" → words, "program" → the release that gave it this format
//	machines    Machine.ID → Machine
//	logs        Machine.ID → the log tail of the last report, as text
//	failures    Machine.ID → that of the last failed report
//	codes       Machine.Code → Machine.ID, of unknown machines
//	rooms       name of a room → Room
//	nights      begin as RFC 3339 in UTC + " " + room + " " + image@version → Night
//
// A file of an older format is migrated by Open, after a copy of it was made (BackupOf). One of a
// newer format is used as long as it needs no word that this program does not know; else nothing is
// changed, and NewerError says which program wrote it. Members of machines, attempts, rooms and
// targets that this program does not know are kept.
//
// # Known gaps
//
// Damage inside a value that is still JSON, or inside a log, is not noticed: bbolt has no checksums
// of data. One of the two meta pages can be lost with the last update in it. Open reads the whole
// file.
//
// One process has the file open at a time; ReadOnly waits for a moment and then gives ErrBusy.
// Members that a newer program added to a check-in, order or report are dropped with it. History is
// bounded (50 events of a machine, 5,000 nights); the number of machines is bounded by package
// rooms.
package state
