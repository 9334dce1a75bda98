// Package image reads a store of images: versions of virtual disks, each kept as what it changed.
// It plans and makes the way of a disk from any version to any other. Agent and server share it;
// package publish writes a store, package trust checks signatures.
//
// Store reads a store in a folder; any other Source does as well. LoadPlan and Plan.Fetch update a
// disk, Map.Verify and LoadHeal find and repair damage, OpenVersion reads one version as a disk,
// Store.Verify checks what a store holds.
//
// # Promises
//
// A machine that follows a plan gets the wanted version on every defined page. Nothing reaches the
// sink before its SHA-256 was checked, which happens before it is unpacked; each page is written
// once; FetchBytes, WriteBytes and Runs are known before the first byte moves. Sizes and counts in
// documents are claims: tables and maps are read in ranges of 1 MiB, and once the first has
// arrived, at most 64 MiB are allocated ahead of what has arrived; a chunk never unpacks to more
// than its table says, at most 4 MiB. A Source that is a Rejecter is told of wrong bytes before it
// is asked again.
//
// Memory follows what changed, not the size of the disk. Measured with a disk of 64 GiB of which
// 3.3 GiB changed in pieces of 16 KiB, half of it copies: a plan takes 54 MiB as a whole process
// (limit of the test: 64).
//
// A fetch that was cut off is resumed by another Fetch of the same plan: FetchOptions.Have says
// what the sink holds, and that is neither fetched nor written. The caller answers for it: such
// pages are not hashed (Map.Verify does that).
//
// # Words
//
// A page is 4096 bytes. A region is 1 MiB. A page is undefined in a version if nothing uses it
// there (a publish.Filter says so) and it was not published: machines may hold anything in it. It
// becomes defined again as soon as a later version uses it: then it is published whatever the
// comparison says. It is never the source of a copy.
//
// # The tree
//
//	store.json                    {"format":1,"kind":"troy image store"}
//	images/NAME/versions.json     the index: the only file that changes
//	images/NAME/N.json            the manifest of version N
//	objects/HH/HASH.pack          chunks; HASH is the SHA-256 of the file, HH its first two digits
//	objects/HH/HASH.table         a layer table
//	objects/HH/HASH.map           a version map
//	images/NAME/places            of the publisher: weak hashes of the newest version's pages
//	tmp/, .lock                   of the publisher; not part of the tree
//
// The tree can be served by any HTTP server that knows ranges. All but versions.json may be cached
// for ever (a manifest's number is never used twice). Hashes lead from the index to the manifest,
// from there to table, pack and map, and from the table to each chunk: a client that trusts the
// index, or has the manifest's hash from elsewhere, need not trust anything else.
//
// # Documents
//
// Index, manifest and store.json are JSON documents of package internal/format: "format" is 1, a
// word in "needs" that this program does not know is ErrUnsupported, unknown members are ignored. A
// program that changes the index keeps those of the index and of its versions. A document that lacks
// a member which its format has is ErrCorrupt: a flipped bit in the name of a member makes it an
// unknown one.
//
// Tables, maps and packs have a number of their own, and no words: what a reader of them must not
// ignore is a word in the manifest. A newer number is read, and may come with other bytes in place
// of the zeros below.
//
// # Date and note
//
// A manifest may say when its version was made ("published") and what the admin says of it ("note",
// one line of at most 200 characters). Both are signed with it, as claims: no program acts on them.
//
// # Setup
//
// A manifest with "setup" is of a version whose Windows has still to be set up. "setup" is then
// among its needs: an agent that does not know it does not take the version.
//
// # Fields
//
// A manifest may have "fields": places in the virtual disk for what is a machine's own, such as its
// name; package image/fields writes them, and its subpackage find looks for them. Each says its kind
// (how a value is written there), the name of the value, its pieces on the disk, and the SHA-256 of
// each page that it touches as published. No two share a byte. The kind is a word in the needs of
// the manifest: an agent that does not understand one of the fields does not take the version.
//
// # Pack
//
//	0   8  "TROYPACK"
//	8   4  format, 1
//	12  4  zero
//	16     chunks, back to back
//
// # Layer table
//
// All numbers are little-endian. Every record has a fixed size, so that its place follows from the
// header.
//
//	0   8  "TROYTABL"
//	8   4  format, 1
//	12  4  page size, 4096
//	16  8  size of the virtual disk in bytes
//	24  8  size of the pack in bytes
//	32 32  SHA-256 of the pack
//	64  4  number of chunks
//	68  4  number of copies
//	72  4  number of runs
//	76  4  number of dictionaries, 0 (see Room)
//	80  4  number of page keys
//	84 44  zero
//	128    chunks, copies, page keys, runs
//
// A chunk, 96 bytes (of about 1 MiB of pages: 0.01 %), in the order of the pack without gaps:
//
//	0   8  offset in the pack
//	8   4  bytes in the pack; not more than the pages
//	12  4  pages, 1 to 1024; package publish writes at most 256
//	16  4  runs of data in it
//	20  2  method: 0 stored, 1 one zstd frame
//	22  2  dictionary, 0
//	24  8  zero
//	32 32  SHA-256 of the bytes in the pack
//	64 32  SHA-256 of the pages, which is checked as well: two packings of the same pages are the
//	       same chunk for whoever has the pages already
//
// A copy, 8 bytes: the first source page in the version below. A page key, 16 bytes: the first half
// of the SHA-256 of a copied page; one for each page of each copy, in order. A run, 16 bytes,
// sorted by page, none overlapping:
//
//	0   8  first page
//	8   4  pages
//	12  4  kind: 1 data, 2 zeros, 3 undefined, 4 copy
//
// Data runs fill the chunks in order, and none crosses the end of a chunk; copy runs take the
// copies in order. A page in no run is as in the version below; in a version without one below it
// every page is in a run.
//
// # Version map
//
//	0   8  "TROYMAPS"
//	8   4  format, 1
//	12  4  page size, 4096
//	16  8  size of the virtual disk in bytes
//	24  4  region size, 1048576
//	28  4  number of regions
//	32  8  number of undefined runs
//	40 24  zero
//	64     SHA-256 of each region, undefined pages taken as zeros; the last region may be short
//	       undefined runs, 16 bytes each: first page, pages; sorted, never touching
//
// # Copies
//
// What is new in a version and defined elsewhere in the version below is published as a copy. A
// machine that plans by LoadLocalPlan reads copies from its own disk. LoadPlan, for a machine that
// has nothing or whose disk is damaged, finds them in the pack of the version that shipped them:
// the same bytes in the end, more to fetch, because chunks are fetched whole.
//
// # Rollback and gaps
//
// A plan goes over any number of versions at once. Between versions of which neither is built on
// the other (one was removed and another made in its place) it writes every page that a layer on
// the way back or forth names. LoadLocalPlan lets copies read the disk's own version. A page that
// is not as it should be stops Fetch with ErrLocal. LoadPlan gives a plan without such copies; for a
// disk that is to keep its other pages it has to be mended first, for what else is wrong there is
// not known.
//
// # Room
//
// Method 2 with dictionaries in the table's header is kept free for chunks compressed against named
// ranges of the version below. A reader that does not know them refuses them by name.
//
// # Known gaps
//
//   - Nothing is signed here: a party that can change the index and all it leads to can publish.
//     Hashes find damage, not forgery; package trust checks signatures.
//   - A plan goes by numbers: that the disk holds this store's version of that number, by the hash of
//     the manifest, is for the caller to see to.
//   - FetchOptions.Have is the caller's word. A held page that is wrong is found by Map.Verify, not
//     by Fetch.
package image
