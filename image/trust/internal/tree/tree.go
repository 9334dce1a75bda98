// Package tree has the names of what is signed in a store. Package trust, which reads it, and
// package sign, which writes it, agree on them here; the page of trust describes the tree.
package tree

import (
	"fmt"
	"strings"

	"troy/chainload/release"
)

// Folder is where the metadata lies in a store's tree.
const Folder = "metadata"

// Timestamp is the only file of the metadata that changes.
const Timestamp = "timestamp.json"

// Root returns the name of a version of the root metadata in Folder.
func Root(n int64) string { return fmt.Sprintf("%d.root.json", n) }

// Snapshot returns the name of a version of the snapshot metadata in Folder.
func Snapshot(n int64) string { return fmt.Sprintf("%d.snapshot.json", n) }

// Targets returns the name of a version of the targets metadata in Folder.
func Targets(n int64) string { return fmt.Sprintf("%d.targets.json", n) }

// Copy returns where the signed copy of a document that can change lies in Folder: it is named by
// its hash, as consistent snapshots of TUF are.
func Copy(target string, sum []byte) string {
	i := strings.LastIndexByte(target, '/') + 1
	return fmt.Sprintf("targets/%s%x.%s", target[:i], sum, target[i:])
}

// StoreField is a field of the root metadata that no rotation changes: it tells a new store from an
// old state of the same one.
const StoreField = "x-troy-store"

// The targets that are no images.
const (
	Permits  = "permits.json"                 // what machines may do only by a signature
	Servers  = "servers.json"                 // the servers of the site
	Agent    = "agent"                        // folder of the agent's releases
	Releases = Agent + "/" + release.Document // the current release
)

// Changes reports whether a document has signed copies: the tree itself has only its newest state,
// which may be newer than what is signed.
func Changes(name string) bool {
	if strings.HasPrefix(name, "images/") {
		return strings.HasSuffix(name, "/versions.json")
	}
	return Signed(name) || name == Releases
}

// Signed reports whether a document has signed copies only.
func Signed(name string) bool {
	return name == Permits || name == Servers
}

// MaxDocument bounds the documents of a store that can be targets, in bytes; packs are bounded by
// the image format.
const MaxDocument = 4 << 20

// MaxRelease bounds the document of a release, in bytes.
const MaxRelease = 128 << 10
