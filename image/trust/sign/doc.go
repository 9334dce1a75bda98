// Package sign is the admin's side of package trust: it keeps the keys, signs what a store holds,
// and publishes the agent's releases. Only cmds/troy uses it; a machine verifies and never signs.
// Package trust describes the tree and the documents.
//
// Init makes the keys and the first metadata, Repository.Sign takes what the store holds,
// RefreshTimestamp keeps it valid while it is served, Rotate replaces a key. SetOrder, AllowWipe
// and SetWipe sign orders. PublishAgent, UseAgent and RemoveAgent change the releases of the agent,
// which the next Sign takes.
//
// # Promises
//
// A version becomes visible by the rename of timestamp.json, whole or not at all; until then
// clients read the state before, all of which is still there. Signing and rotating may be
// interrupted anywhere and called again.
//
// # Order of writes
//
// Copies of documents, targets, snapshot, timestamp: each in a file of its own, synced, renamed,
// folder synced. The last eight snapshots and targets stay, for clients in the middle of reading.
//
// PublishAgent copies boot files into a folder whose name begins with a dot, syncs, renames it to
// agent/VERSION and only then writes the index agent/release.json, so that a release exists whole
// or not at all; Sign hashes the files when it signs them for the first time.
//
// Rotate has what the role signs signed by the old and the new key, then writes the root metadata,
// then gives the new key its name.
//
// # Keys
//
// All keys are Ed25519, one for each role. root.key and targets.key are made in keys/ of the store,
// or where Options.Keys says, for the admin to lock away: root is needed to change keys, targets to
// publish. keys/online/ has those of snapshot and timestamp, with which the server keeps the store
// fresh (RefreshTimestamp); a thief of these two can keep machines from seeing something new for a
// while, but cannot make them take anything. Nothing under keys/ may be served. A key file is JSON;
// with a passphrase the seed is sealed by AES-256-GCM under scrypt (N 65536, r 8, p 1), role and
// public key bound to it.
//
//	keys/root.key, targets.key                       the admin's, may be elsewhere
//	keys/online/snapshot.key, timestamp.key          the server's
//
// Signatures hold: root 5 years, targets 2 years, snapshot 60 days, timestamp 14 days. Each is
// renewed when half of that is over and its key is at hand: root by Rotate, targets by Sign, the
// others by RefreshTimestamp.
//
// A lost targets key costs a Rotate. A lost root key costs new media for all machines, with the
// root of a store made again. A store that was restored from a backup has timestamps older than the
// machines have seen; Rotate(Timestamp), then Rotate(Snapshot) makes them start over.
//
// # Known gaps
//
//   - Thresholds and delegations of TUF are not used: one key for each role.
//   - Rotating a role whose old key is lost has one short moment in which clients refuse: between
//     the new signature and the new root.
package sign
