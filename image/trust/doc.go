// Package trust checks on a machine what an admin signed in a store, by The Update Framework (TUF
// 1.0, go-tuf v2). Which role signs what, in which order a client reads and what it must refuse are
// those of the specification; go-tuf does all verifying. Package sign, below this one, makes the
// signatures; the agent links only this one.
//
// # Promises
//
// A machine that pins a root takes no index, no manifest and, through the hashes in them, no byte
// of a table, map or pack that the holder of the admin key did not sign. Of those it takes the
// newest state that it ever saw, or a newer one: what is older, put together from several states,
// too long unsigned, or signed by other keys is refused as ErrUntrusted, before anything is
// written. It does not matter which server or mirror gave the bytes, and each is judged by itself:
// where one gives a document that is refused (a sign-in page, one that is rotten, expired or older
// than what was trusted), the next is asked for it (image.Rejecter).
//
// # The tree
//
//	metadata/N.root.json, N.targets.json, N.snapshot.json  never change (consistent snapshots)
//	metadata/timestamp.json                                the only file that changes
//	metadata/targets/images/NAME/HASH.versions.json        signed copies of indexes
//	metadata/targets/HASH.permits.json                     the permits: the only copy
//	metadata/targets/HASH.servers.json                     the servers of the site: the only copy
//	metadata/targets/agent/HASH.release.json               signed copy of agent/release.json
//	agent/VERSION/NAME, agent/VERSION/release.json         a release of the agent; never changes
//	agent/release.json                                     the current release; changes
//
// The targets are the index and manifests of all images, their packs, the releases of the agent,
// the permits and the list of servers. They keep their names in the store, except those that can change: a copy of each
// of these lies in metadata/targets, named by its hash, so that a client never reads an index that
// is newer than its signature. Tables, maps and chunks need not be targets: the manifest leads to
// them by hashes.
//
// The first root that a machine pins is never believed by itself on the admin's side either:
// package sign follows the same chain, by Follow, from what lies beside the admin key.
//
// The root metadata has one field of this program, x-troy-store, a random name of the store: media
// of a new store make a machine forget the old one's state, while media that are merely old do not.
//
// # Permits
//
// What a server says is not signed. So a machine follows it where that does no harm, and asks for
// the admin's signature where it may.
//
// Metadata never goes back. An image does, by a permit, and so are a disk that holds something wiped
// and a version that starts written over (Source.Permitted). The document permits.json is
// {"format":1,"permits":[{"scope":"wipe","disk":"SERIAL","signed":"RFC 3339","until":"RFC 3339"}]},
// with "key" (internal/tlskey) in place of "disk" for a machine, "image" and "version" for a
// downgrade, and the "name" by which the admin called the machine, for people. Each scope stands
// for itself: wipe, reinstall, downgrade; capture, free and clear are signed, but nothing asks for
// them yet. A machine compares its own key, and the serial number of the disk that it is about. A
// serial number that makers put into many disks (all characters alike) is refused.
//
// A permit with a member that a machine does not know permits nothing there, for it may be a
// condition; nor does one that is not spelled as it should be. The others of the document count.
// Other unknown members of the document are ignored; if it needs a word that the machine does not
// know, it permits nothing. Signing keeps all of these.
//
// # Servers
//
// servers.json is {"format":1,"version":N,"store":"x-troy-store","servers":[{"key":"64 hex
// digits","urls":["https://…"],"next":true}]}: the servers of the site by the SHA-256 of their public
// keys (internal/tlskey). Keys that are next are taken as well, their URLs are not asked. Versions
// count up. Known gives the newest list that a machine has seen, of the media and of its memory;
// Source.Servers the one that is signed now. To read it no server has to be known. This document and
// those of the releases never need a word (internal/format): an agent that could not read them could
// not become a newer one.
//
// # The agent's releases
//
// Both documents of a release are
// {"format":1,"version":"V","files":[{"name":"efi/shimx64.efi","size":N,"sha256":"64 hex
// digits"}]}; package release has the limits. Source.File reads a file and checks the hash of all of
// it. An older release stays signed until it is removed; a
// machine takes only the one that the signed index names.
//
// # On the machine
//
// The root travels with the boot media, what is trusted is kept in the journal, and the time is the
// agent's: the later of clock and build stamp. Pinned does all of it and says what it decided; the
// Example shows the whole way. A machine without a pinned root says so and takes nothing: there is
// no way around the signatures.
//
// # Known gaps
//
//   - A clock that is behind makes expired metadata look valid: a server can then hold a machine at
//     the newest state that it saw. It cannot bring it back.
//   - A clock that is ahead of the signatures stops the machine from taking anything new; it starts
//     what it has.
//   - A permit can be used more than once until it ends or is withdrawn, and by a
//     server that kept an older state: on a machine that remembers none (a bare or wiped disk) for
//     as long as that state's timestamp holds, 14 days at most. Give permits an early end.
//   - The machine's own word says which disk has which serial number and which machine it is; a
//     disk that lies about its number is believed.
//   - Thresholds and delegations of TUF are not used: the admin key holds root and targets, the
//     server's snapshot and timestamp.
//   - The targets metadata names every version of every image, about 250 bytes each, and is read
//     again by each client that finds a new one.
package trust
