// Package golden makes the next version of what a golden PC sent (package image/capture): a disk to
// publish, from which what was the PC's own is cleared, and a review of what changed, for the admin
// who signs it. Only cmds/troy links it.
//
// # Promises
//
// The disk is the version that the session stands on, with the pages of the capture over it.
// Package publish makes of it, byte by byte, the map, table and pack that it makes of the files of
// the machine. A page that was changed and that nothing uses reads as something else than in the
// version below, so that it becomes undefined, as it does there.
//
// Clear gives back to the fields of the version below what stood in them there: the name of the
// golden PC, machine.json with its secrets, the answers for setup. It looks for the places anew,
// because Windows writes files elsewhere; a name or a file that is there and whose place is not
// found is an error, and nothing is published. A file that Windows deleted has nothing to clear.
//
// A capture whose version is no longer the newest, or is another one of that number, is refused.
//
// # Review
//
// Which files changed is read from the MFT: the bytes of each that lie in pages of the capture.
// Small files lie in the MFT, which is named as a file of its own. What lies in none is told as a
// sum. Which programs came and went is read from the Uninstall keys of the hive SOFTWARE. A review
// that cannot be made says why and is no obstacle: the hashes, not the review, are what is signed.
//
// # Known gaps
//
//   - Names that Windows or programs wrote elsewhere (certificates, caches, the Uninstall keys of a
//     program) stay: the checklist for golden PCs is the admin's.
//   - Programs that only a user installed (in the hive of the user), and packages of the Store, are
//     not listed.
//   - A name in a hive that is freed and not written over stays in it. It is no secret.
package golden
