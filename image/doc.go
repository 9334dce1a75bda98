// Package image keeps the versions of virtual disks as what each changed, and plans and makes the way of a disk from any version to any other.
//
// The publishing side is Store: Init, Import, Add, List, Show, Verify, Remove, GC. The machine's side is LoadPlan and Plan.Fetch, which read a
// store's tree through a Source, and Map.Verify and LoadHeal, which find and repair damage.
//
// # Promises
//
// A version exists whole or not at all, and what exists is never changed. Publishing writes pack, table, map and manifest, each into tmp/,
// synced, then renamed to its place and the folder synced; the rename of the new index comes last and makes the version exist. Interrupted
// anywhere, by context, by a full disk, by kill or power, the store lists the versions of before and takes the next; leftovers go with the next
// publishing or GC. Table, map and manifest are read back as a client reads them before the version exists. If only the sync after the last rename fails, an error is returned though the version may exist.
//
// The same input gives the same bytes, on any number of cores: nothing that is hashed holds a time, a random number or a machine's name.
// (Another release of the compressor may pack otherwise; what comes out of a chunk stays the same.)
//
// A machine that follows a plan gets the wanted version on every defined page. Nothing reaches the sink that was not found right by SHA-256 before
// it was unpacked; each page is written once; FetchBytes, WriteBytes and Runs are known before the first byte moves. Sizes and counts in
// documents are claims: tables and maps are read in ranges of 1 MiB, and when the first has come, at most 64 MiB are allocated ahead of what came; a
// chunk never unpacks to more than its table says, at most 4 MiB. A Source that is a Rejecter hears of wrong bytes before it is asked again.
//
// Memory follows what changed, not the size of the disk. Measured with a disk of 64 GiB of which 3.3 GiB changed in pieces of 16 KiB, half of it
// copies, as whole processes: publishing takes 165 MiB (limit of the test: 256), a plan 54 MiB (64).
//
// A fetch that was cut off goes on with another one of the same plan: FetchOptions.Have says what the sink holds, and that is neither fetched nor
// written. Whoever says so vouches for it: such pages are not hashed (Map.Verify does that).
//
// # Words
//
// A page is 4096 bytes. A region is 1 MiB. A page is undefined in a version if nothing uses it there (a Filter says so) and it was not published:
// machines may hold anything in it. It becomes defined again as soon as a later version uses it: then it is published whatever the
// comparison says. It is never the source of a copy.
//
// # The tree
//
//	store.json                    {"format": 1, "kind": "troy image store"}
//	images/NAME/versions.json     the index: the only file that changes
//	images/NAME/N.json            the manifest of version N
//	objects/HH/HASH.pack          chunks; HASH is the SHA-256 of the file, HH its first two digits
//	objects/HH/HASH.table         a layer table
//	objects/HH/HASH.map           a version map
//	tmp/, .lock                   of the publisher; not part of the tree
//
// The tree can be served by any HTTP server that knows ranges. All but versions.json may be cached for ever (a manifest's number is not given
// out twice). Hashes lead from the index to the manifest, from there to table, pack and map, and from the table to each chunk; whoever
// trusts the index, or has the manifest's hash from elsewhere, need trust nothing else.
//
// # Documents
//
// Index and manifest are JSON, as encoding/json writes the types Index and Manifest with an indent of two spaces and a line feed at the end. Any other
// spelling, unknown fields included, is refused, so that a flipped bit cannot pass. "format" is 1; another number is ErrUnsupported.
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
// All numbers are little endian. Every record has a fixed size, so that its place follows from the header.
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
// A chunk, 64 bytes, in the order of the pack without gaps:
//
//	0   8  offset in the pack
//	8   4  bytes in the pack; not more than the pages
//	12  4  pages, 1 to 1024; this program writes at most 256
//	16  4  runs of data in it
//	20  2  method: 0 stored, 1 one zstd frame
//	22  2  dictionary, 0
//	24  8  zero
//	32 32  SHA-256 of the bytes in the pack
//
// A copy, 8 bytes: the first source page in the version below. A page key, 16 bytes: the first half of the SHA-256 of a copied page; one for each
// page of each copy, in order. A run, 16 bytes, sorted by page, none overlapping:
//
//	0   8  first page
//	8   4  pages
//	12  4  kind: 1 data, 2 zeros, 3 undefined, 4 copy
//
// Data runs fill the chunks in order, and none crosses the end of a chunk; copy runs take the copies in order. A page in no run is as in the version
// below; in a version that stands on nothing every page is in a run.
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
// # What publishing checks
//
// The child must stand on the newest version: one of the files beneath its leaf has the DataWriteGuid that was recorded for the version. Wherever a
// region is looked at, the parent's content must also have the SHA-256 of the version's map; that finds parents changed by programs that do not
// renew the GUID. Regions without a change are not looked at, but for the search for copies. CompareDisk publishes a whole disk that no
// differencing file joins to the version.
//
// # Copies
//
// What is new and stands, defined, elsewhere in the version below is told as a copy: on a disk after a day of updates about half of what is new. To
// find it, the changed regions are read once more, and all data of the parent once: two CRCs of each page, at memory speed, so that the time is
// that of reading the parent. Only where those meet a new page is the region hashed, compared with the map, and the page's SHA-256 taken. Places
// are looked for the first 8 GiB of new pages (a note says so when there are more): 16 bytes of memory each, and 32 for each that is found. The
// first of several places is taken. PublishOptions.NoCopies spares all that.
//
// A machine that plans by LoadLocalPlan reads copies from its own disk. LoadPlan, for a machine that has nothing or whose disk is damaged, finds
// them in the pack of the version that shipped them: the same bytes in the end, more to fetch, because chunks are fetched whole.
//
// # Rollback and gaps
//
// A plan goes over any number of versions at once. Between versions of which neither stands on the other (one was removed and another made in its
// place) it writes every page that a layer on the way back or forth names. LoadLocalPlan lets copies read the disk's own version. A page that is
// not as it should be stops Fetch with ErrLocal, and LoadPlan gives a plan without such copies.
//
// # Room
//
// Method 2 with dictionaries in the table's header is kept free for chunks compressed against named ranges of the version below. A reader of format
// 1 refuses them by name.
//
// # Known gaps
//
//   - Nothing is signed here: who can change the index and all it leads to can publish. Hashes find damage, not forgery; package trust signs.
//   - The size of an image is fixed; a child of another size is refused. So is a disk whose size is no multiple of 4096.
//   - A machine tells its version by number. If it lies, the result is wrong until Map.Verify and LoadHeal are run.
//   - Only the newest version can be removed; there is no squashing of old layers into one.
//   - Of several places of a copy the first is taken, even where another would give longer runs, and pages that are new twice in one version are
//     shipped twice. A copied page costs 16 bytes of the layer table, which is not compressed.
//   - Chunks are packed each by itself, so that each can be fetched and checked alone: on programs that share much over long distances the zstd
//     program, with one stream and a longer window, packs up to a sixth smaller; on the pages that an update really brings, 3 %.
//   - FetchOptions.Have is the caller's word. A held page that is wrong is found by Map.Verify, not by Fetch.
//   - The lock is flock(2): it works among processes of one machine, and on network file systems only if they carry it.
package image
