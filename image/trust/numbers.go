package trust

import (
	"maps"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Numbers are version numbers of the signed metadata of a store: the highest that a machine has
// seen, below which it takes nothing, or those that a store has.
type Numbers struct {
	Store                              string // name of the store, in its root metadata
	Root, Targets, Snapshot, Timestamp int64
	Servers                            int            // of the list of servers
	Images                             map[string]int // the newest version of each image
}

// Remembered returns the numbers that a machine goes by: those of the pinned root and of a memory,
// which may be nil. Images are not in a memory. Without a root there are none.
func Remembered(root []byte, m Memory) Numbers {
	pinned, err := metadata.Root().FromBytes(root)
	if err != nil {
		return Numbers{}
	}
	n := Numbers{Store: storeID(&pinned.Signed), Root: pinned.Signed.Version}
	var k memory
	if m != nil {
		if b, err := m.Load(); err == nil {
			k.decode(b)
		}
	}
	for _, b := range k.Roots {
		r, err := metadata.Root().FromBytes(b)
		if err != nil || storeID(&r.Signed) != n.Store {
			return n // media of another store: nothing in the memory counts
		}
		n.Root = max(n.Root, r.Signed.Version)
	}
	n.add(&k)
	return n
}

// Raise takes each number that is higher in others.
func (n *Numbers) Raise(others Numbers) {
	n.Root, n.Targets = max(n.Root, others.Root), max(n.Targets, others.Targets)
	n.Snapshot, n.Timestamp = max(n.Snapshot, others.Snapshot), max(n.Timestamp, others.Timestamp)
	n.Servers = max(n.Servers, others.Servers)
	images := maps.Clone(others.Images)
	if images == nil {
		images = map[string]int{}
	}
	for image, version := range n.Images {
		images[image] = max(images[image], version)
	}
	n.Images = images
}

// add takes the numbers of the other documents. What cannot be read counts as not there, as it does
// when the metadata is read.
func (n *Numbers) add(k *memory) {
	if t, err := metadata.Timestamp().FromBytes(k.Timestamp); err == nil {
		n.Timestamp = t.Signed.Version
		if m := t.Signed.Meta["snapshot.json"]; m != nil {
			n.Snapshot = m.Version
		}
	}
	if s, err := metadata.Snapshot().FromBytes(k.Snapshot); err == nil {
		n.Snapshot = max(n.Snapshot, s.Signed.Version)
		if m := s.Signed.Meta["targets.json"]; m != nil {
			n.Targets = m.Version
		}
	}
	if s, err := ParseServers(k.Servers); err == nil && s.Store == n.Store {
		n.Servers = s.Version
	}
}
