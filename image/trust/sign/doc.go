// Package sign is the admin's side of package trust: it keeps the keys, signs what a store holds,
// and publishes the agent's releases. Only cmds/troy uses it, and a server to renew; a machine
// verifies and never signs. Package trust describes the tree and the documents.
//
// Init makes the keys and the first metadata, Repository.Sign signs a change of the store,
// RefreshTimestamp keeps it valid while it is served, Rotate puts the store back and replaces keys.
// Permit and Withdraw sign permits. PublishAgent, UseAgent and RemoveAgent change the
// releases of the agent, which the next Sign takes. Root and Source are for what leaves the store:
// boot media, exports, disks.
//
// # Promises
//
// The folder of the store is believed in nothing: an attacker may have written all of it. Each
// method that signs, or gives out what was signed, follows the metadata from the last state that
// was trusted, which lies beside the admin key (trusted.json), as a machine follows it from its
// pinned root. It never goes back (but by Continue). What does not follow, or is not what was signed, is an ErrDoubt,
// and nothing is signed, given out or written. (RefreshTimestamp, Expiries and Signed serve the
// server, which has no such file and only the key that signs nothing machines take.)
//
// What is signed is what was signed before and the exact change that the caller names (Item: this
// version with that hash). If the store holds anything else, it is an UnaskedError. The check is in
// the one function that signs. Options.Confirm is shown each difference before the admin key is
// used. SignAll takes what is there instead; it is for a person who looks at the list. It does not
// take an image for gone whose list of versions is missing, unless it is told to. Versions and
// releases that were signed cannot change their content, versions have the next number, and numbers
// are bounded.
//
// A version becomes visible by the rename of timestamp.json, whole or not at all; until then
// clients read the state before, all of which is still there. Signing and rotating may be
// interrupted anywhere and called again.
//
// # Order of writes
//
// Copies of documents, targets, snapshot, timestamp: each in a file of its own, synced, renamed,
// folder synced; then trusted.json, read back from the store as a client reads it. A trusted.json
// that is older than the store is no harm: the next call follows. The last eight snapshots and
// targets stay, for clients in the middle of reading.
//
// PublishAgent copies boot files into a folder whose name begins with a dot, syncs, renames it to
// agent/VERSION and only then writes the index agent/release.json, so that a release exists whole
// or not at all; Sign hashes the files when it signs them for the first time.
//
// Rotate first puts the folder back: roots, lists of versions, manifests, permits, documents of
// releases, each by a rename; lists and releases that were not signed are removed. Then it has what
// the keys sign signed by the old and the new ones, then writes the root metadata, then gives the
// new keys their names.
//
// # Keys
//
// Both keys are Ed25519. The admin key holds the roles root and targets of TUF: it signs all that
// machines take. The server's holds snapshot and timestamp, with which the server keeps the store
// fresh; its thief can keep machines from seeing something new for a while, but cannot make them,
// or the admin's commands, take anything. Nothing under keys/ may be served. A key file is JSON;
// with a passphrase the seed is sealed by AES-256-GCM under scrypt (N 65536, r 8, p 1), which key
// it is and the public half bound to it.
//
//	keys/admin.key      the admin's, on a stick (Options.Keys)
//	keys/trusted.json   beside it: {"format":1,"files":{"NAME IN THE TREE":"base64"}}, a copy of all
//	                    signed documents, which is followed from the first root in it
//	keys/server.key     the server's, always in the store
//	keys/confirmed.json machines as the admin has confirmed them
//
// Signatures hold: root 5 years, targets 2 years, snapshot 60 days, timestamp 14 days. Each is
// renewed when half of that is over: root and targets by Sign, the others by RefreshTimestamp.
//
// All documents are of package internal/format: what a newer program put into them is kept when they
// are signed again, and one that needs a word which this program does not know is not signed on, nor
// written over.
//
// After a break-in, Rotate(Server). For a store that was restored from a backup, Continue: machines
// have seen higher numbers and take nothing below them, so it signs what the folder holds above
// those that they tell (trust.Remembered), and reserves the version numbers that are lost. It is the
// one method that goes back to what the folder says: the admin is shown what differs from
// trusted.json. After a theft of the admin key, Rotate(Admin) by a copy
// of it: it goes back to the copy in trusted.json, not to what the thief may have signed since. A
// lost admin key costs new media for all machines, with the root of a store made again: keep
// copies.
//
// # Known gaps
//
//   - Thresholds and delegations of TUF are not used: the admin key is one.
//   - Whoever has the admin key, opened, and the server can sign a root of his before the owner
//     does; machines that saw it follow it, and need new media.
//   - Rotate brings back documents. Packs and boot files that were deleted or changed have no copy:
//     machines refuse them, "troy image verify" finds them, a backup brings them back.
//   - A rotation whose old server key is lost, or that begins in doubt, has a short moment in which
//     clients refuse: between the new signatures and the new root.
//   - Files are written by their paths with the rights of the caller: run the commands as the user
//     who owns the store, not as root in a folder that somebody else can write to.
package sign
