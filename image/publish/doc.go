// Package publish writes a store of images: it makes versions from virtual disks, removes them, and
// clears away what no version needs. Package image reads what it writes and describes the format.
// Only cmds/troy publishes: the agent must not link this package.
//
// Init makes a store, Import the first version of an image, Add the next one, from a Disk:
// ChainDisk makes one from VHDX files, CompareDisk joins two whole disks that no differencing file
// joins.
//
// # Promises
//
// A version exists whole or not at all, and what exists is never changed. The same input gives the
// same bytes, on any number of cores: nothing that is hashed holds a time, a random number or a
// machine's name. (Another release of the compressor may pack differently; what comes out of a
// chunk stays the same.)
//
// Memory follows what changed, not the size of the disk. Measured with a disk of 64 GiB of which
// 3.3 GiB changed in pieces of 16 KiB, half of it copies: publishing takes 165 MiB as a whole
// process (limit of the test: 256). The import of the same 16 MiB takes 32 MiB on a disk of 1 GiB
// and 80 on one of 256: a map has 32 bytes for each MiB.
//
// # Order of writes
//
// Pack, table, map and manifest, in this order, each into tmp/, synced, then renamed to its place
// and the folder synced. Then table and map are read back as a client reads them. The rename of the
// new index comes last and makes the version exist. Interrupted anywhere, by context, by a full
// disk, by kill or power, the store lists the versions of before and takes the next. If only the
// sync after the last rename fails, an error is returned although the version may exist.
//
// A publishing that is cut by its context, a kill or a power cut leaves tmp/pack and tmp/chunks, a
// journal of the chunks in that pack. The next publishing reads its disk from the start, and as
// long as its chunks are those of the journal takes them from the pack, instead of compressing and
// writing them: by the hash of the pages and that of the packed bytes, so that it does not matter
// for which disk the pack was begun. It removes what is not the same; GC removes both files. After
// any other error nothing is left. A cut between the pack's rename and that of the index loses the
// pack.
//
// Before anything is written, the pack is estimated from a sample if the disk would not fit into
// the store unpacked; ErrNoSpace if it certainly does not.
//
// Remove writes the index in the same way; objects stay until GC. One publisher at a time holds
// .lock.
//
// # What publishing checks
//
// The child must be built on the newest version: one of the files beneath its leaf has the
// DataWriteGuid that was recorded for the version. Wherever a region is looked at, the parent's
// content must also have the SHA-256 of the version's map; that finds parents changed by programs
// that do not renew the GUID. Regions without a change are not looked at, except by the search for
// copies.
//
// What is there already is read through Options.Before, so that a version that somebody put into
// the store without a signature is neither a parent nor compared with. Options.Approve is asked
// when all is known and nothing exists yet.
//
// # Unused pages
//
// A Filter names the parts of a disk that nothing uses. Package unused has one for Windows disks;
// the caller passes it in. A page that it names is not shipped, and is undefined in the version
// (see package image).
//
// # Copies
//
// New pages whose content is defined elsewhere in the version below are published as copies: on a
// disk after a day of updates about half of what is new. To find them, the changed regions are read
// once more, and the weak hashes (two CRCs) of all pages of the parent. Those lie in
// images/NAME/places, a 512th of the data, which each publishing leaves for the next; where it is
// missing or of another version, all data of the parent is read to make it. Nothing in it is
// believed: where it matches a new page, the region of the parent is read, compared with the map,
// and the page's SHA-256 taken. Copies are looked for up to the first 8 GiB of new pages (a note
// says so when there are more): 16 bytes of memory each, and 32 for each that is found. The first
// of several places is taken. Options.NoCopies skips the search.
//
// # Known gaps
//
//   - The size of an image is fixed; a child of another size is refused. So is a disk whose size is
//     no multiple of 4096.
//   - Only the newest version can be removed; there is no squashing of old layers into one.
//   - Of several places of a copy the first is taken, even where another would give longer runs,
//     and pages that are new twice in one version are shipped twice. A copied page costs 16 bytes
//     of the layer table, which is not compressed.
//   - Each chunk is packed by itself, so that each can be fetched and checked alone: on programs
//     that share much over long distances the zstd program, with one stream and a longer window,
//     packs up to a sixth smaller; on the pages that an update really brings, 3 %.
//   - The lock is flock(2): it works among processes of one machine, and on network file systems
//     only if they support it.
package publish
