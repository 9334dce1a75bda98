// Package inbox keeps what golden PCs send of their sessions (package image/capture), until the
// admin makes a version of it: a folder serve/inbox/ID for each capture.
//
//	about.json   whose it is, since when, and what it stands on
//	pages        the pages, each at its place on the disk; sparse
//	log          which pieces are in it
//
// # Promises
//
// What was answered with 200 is not lost by a kill or a power cut: a piece is written to pages and
// flushed, then entered in the log and flushed, then answered. A piece that is replaced by another
// one is taken out of the log before its pages are written over. Whatever is cut off, each piece
// that the log names has its content, and the others are sent again.
//
// One key writes to an inbox: that of the machine which began it, and only while an order to
// capture holds (Orders). Everything else is refused before a byte of it is read. A finished inbox
// is not changed any more.
//
// All inboxes together take no more than Options.Most bytes of pages, and none when less than
// Options.Spare would be left on the disk: state and log of the server lie there as well. What is
// there already stays, and the machine goes on at a later start. A piece that does not hash right
// is not taken.
//
// Memory: a few pieces at once (maxCalls), and about 100 bytes for each piece that is held.
//
// # Answers
//
//	200   it is there, durably
//	403   no TLS, no key, no order to capture, or an inbox of another key
//	404   no such inbox
//	409   it is finished, or stands on another version, or the totals are others
//	413   longer than a piece, or a document, can be
//	422   no piece or document of this capture, or damaged on the way
//	507   the inbox or the disk is full
//
// # Log
//
// Records of 128 bytes; the first that is not right ends the log. All numbers are little-endian.
//
//	0   4  CRC-32C of the other bytes
//	4   4  kind: 1 a piece is in the inbox, 2 it no longer is, 3 the capture is finished
//	8   8  number of the record, from 0
//	16  8  region; of kind 3 the number of pieces
//	24  8  zero
//	32 32  SHA-256 of the piece; of kind 3 that of the totals
//	64 32  pages with data
//	96 32  pages that were changed and that nothing uses
//
// # Stale
//
// When Windows runs again before all was sent, the session is another one and gets an inbox of its
// own. The older one is stale: List says so, and it stays until it is removed.
package inbox
