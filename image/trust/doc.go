// Package trust signs what a store holds and checks it on the machine, by The Update Framework (TUF 1.0, go-tuf v2). What is signed, by which role, in
// which order a client reads and what it must refuse are those of the specification; go-tuf does all verifying.
//
// # Promises
//
// A machine that pins a root takes no index, no manifest and, through the hashes in them, no byte of a table, map or pack that the holder of the targets key
// did not sign. Of those it takes the newest state that it ever saw, or a newer one: what is older, put together from several states, too long unsigned, or
// signed by other keys is refused as ErrUntrusted, before anything is written. Which server or mirror gave the bytes does not matter.
//
// A version becomes visible by the rename of timestamp.json, whole or not at all; until then clients read the state before, all of which is still there.
// Signing and rotating may be interrupted anywhere and called again.
//
// # Keys
//
// All keys are Ed25519, one for each role. root.key and targets.key are made in keys/ of the store, or where Options.Keys says, for the admin to lock away:
// root is needed to change keys, targets to publish. keys/online/ holds those of snapshot and timestamp, with which whoever serves the store keeps it fresh
// (RefreshTimestamp); who steals these two can keep machines from seeing something new for a while, but cannot make them take anything. Nothing under keys/
// may be served. A key file is JSON; with a passphrase the seed is sealed by AES-256-GCM under scrypt (N 65536, r 8, p 1), role and public key bound to it.
//
// Signatures hold: root 5 years, targets 2 years, snapshot 60 days, timestamp 14 days. Each is renewed when half of that is over and its key is at hand: root
// by Rotate, targets by Sign, the others by RefreshTimestamp.
//
// A lost targets key costs a Rotate. A lost root key costs new media for all machines, with the root of a store made anew. A store that was restored from a
// backup has timestamps older than the machines have seen; Rotate(Timestamp), then Rotate(Snapshot) makes them begin anew.
//
// # The tree
//
//	metadata/N.root.json, N.targets.json, N.snapshot.json   never change (consistent snapshots of TUF)
//	metadata/timestamp.json                                 the only file that changes
//	metadata/targets/images/NAME/HASH.versions.json         signed copies of indexes, and of orders (order.json)
//	metadata/targets/orders/HASH.wipe.json                  the permissions to wipe; only this copy exists
//	metadata/targets/agent/HASH.release.json                signed copy of the index of the agent's releases
//	agent/VERSION/NAME, agent/VERSION/release.json          the boot files of a release and what they are; never change
//	agent/release.json                                      the same of the release that machines shall have; changes
//	keys/root.key, targets.key                              the admin's, may be elsewhere
//	keys/online/snapshot.key, timestamp.key                 the server's
//
// The targets are the index and manifests of all images, their packs, the releases of the agent, and the orders. They keep their names in the store but for those that can change: of
// these a copy lies in metadata/targets, named by its hash, so that a client never meets an index that is newer than its signature. Tables, maps and chunks
// are no targets or need not be looked up: the manifest leads to them by hashes. Order of writes: copies, targets, snapshot, timestamp; each in a file of its
// own, synced, renamed, folder synced. The last eight snapshots and targets stay, for clients in the middle of reading.
//
// The root metadata has one field of this program, x-troy-store, a random name of the store: media of a new store make a machine forget the old one's state,
// while media that are merely old do not.
//
// # Orders
//
// What a server says is not signed. So a machine follows it where that does no harm, and asks for the admin's signature where it may.
//
// Metadata never goes back. An image does, by a signed order (SetOrder): a machine follows a server forward to any signed version, but backward only to the
// version that an order names (Source.Allow). The document is {"format":1,"image":"NAME","version":N}.
//
// A disk that holds something is wiped only if orders/wipe.json names it (SetWipe, AllowWipe; Source.MayWipe), by its serial number, or any disk of a machine
// by SMBIOS UUID or MAC address, if wanted until a time only: {"format":1,"entries":[{"serial":"S","machine":"ID","until":"RFC 3339"}]}. Serial, machine or
// both are there. An entry that makers put into many boards (all characters alike) is refused. A document with one entry that is not understood permits nothing.
//
// # The agent's releases
//
// PublishAgent copies boot files into a folder whose name begins with a dot, syncs, renames it to agent/VERSION and only then writes the index agent/release.json,
// so that a release exists whole or not at all; Sign hashes the files when it signs them for the first time. Both documents are
// {"format":1,"version":"V","files":[{"name":"efi/shimx64.efi","size":N,"sha256":"64 hex digits"}]}. A file of a release is at most 1 GiB, a release at most 256
// files. Source.Fetch streams one and writes its last MiB only when the hash of all of it is right. An older release stays signed until it is removed; a machine
// takes only the one that the signed index names.
//
// # On the machine
//
// The root travels with the boot media (Repository.Root), what is trusted is kept in the journal, and the time is the agent's: the later of clock and build
// stamp. Pinned does all of it and says what it decided; the Example shows the whole way. A machine without a pinned root says so and stops, unless its media
// say by troy.unsigned that the store is not signed: then whoever answers for the server decides, wiping included. Where there is a root, troy.unsigned does
// nothing, because whoever answers a network boot may add it.
//
// # Known gaps
//
//   - A clock that is behind makes expired metadata look valid: a server can then hold a machine at the newest state that it saw. It cannot bring it back.
//   - A clock that is ahead of the signatures stops the machine from taking anything new; it starts what it has.
//   - A permission to wipe can be used more than once until it ends or is withdrawn, and by who kept an older state: on a machine that remembers none (a bare
//     or wiped disk) for as long as that state's timestamp holds, 14 days at most. Give permissions an end.
//   - The machine's own word says which disk has which serial number and which machine it is; a disk that lies about its number is believed.
//   - Thresholds and delegations of TUF are not used: one key for each role.
//   - The targets metadata names every version of every image, about 250 bytes each, and is read anew by each client that finds a new one.
//   - Rotating a role whose old key is lost has one short moment in which clients refuse: between the new signature and the new root.
package trust
