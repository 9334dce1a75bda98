// Package capture carries what a Windows wrote in its session from the golden PC to the server, so
// that it becomes the next version: what the boot child holds above the version that it stands on.
// Machine and server share it. It reads a disk and never writes one.
//
// Open reads a session; Upload sends it; package server/inbox keeps what arrives, and package
// image/golden makes a version of it.
//
// # Promises
//
// A session is sent in pieces: one for each region (1 MiB) in which something differs. A piece says
// of each page whether its content is sent, and whether it was changed and nothing uses it. The
// second has to be known, because such a page is undefined in the new version; otherwise the golden
// PC itself would not be what the version says. A page that was undefined in the version below and
// is used now is sent whatever it holds: the server does not have what this machine has there. What
// is published of all pieces is then what publishing the files of the machine would have given.
//
// Pieces may be sent in any order, again, and by several starts: the server says which it has, by
// their hashes, and the others follow. The capture is named by the DataWriteGuid of the boot child,
// which Windows renews when it runs: another session is another capture.
//
// Memory: a session needs two regions, the ranges of what nothing uses, and 40 bytes for each
// region that the server has. Decode allocates no more than one region, whatever the bytes claim.
//
// # Calls
//
// All by TLS with the machine's key, all repeatable:
//
//	PUT /v1/capture/ID           About: what the session stands on
//	GET /v1/capture/ID           Held: which pieces the server has
//	PUT /v1/capture/ID/REGION    a piece; one without pages says that nothing differs there
//	PUT /v1/capture/ID/finish    Totals: these were all
//
// # Piece
//
// All numbers are little-endian.
//
//	0   8  "TROYPIEC"
//	8   4  format, 1
//	12  4  zero
//	16  8  number of the region
//	24  8  zero
//	32 32  pages whose content follows: a bit each, the lowest of the first byte is the first page
//	64 32  pages that were changed and that nothing uses
//	96 32  SHA-256 of the bytes 16 to 95 and of the pages
//	128    the pages, in order, as one zstd frame; nothing for none
//
// # Held
//
//	0   8  "TROYHELD"
//	8   4  format, 1
//	12  4  1 if the capture is finished, else 0
//	16  8  number of pieces
//	24  8  zero
//	32     a piece each, 40 bytes, ascending: number of the region, its SHA-256
//
// # Known gaps
//
//   - The version below is taken on trust: the chain beneath the boot child has to hold it. Machine
//     and publisher check that (the map of the version).
//   - A page is sent whole although only a sector of it changed.
package capture
