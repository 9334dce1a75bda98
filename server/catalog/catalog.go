// Package catalog tells a server what its store offers: which images and versions there are, what a
// machine fetches and writes to go from one version to another, and which release of the agent is
// the current one.
package catalog

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"troy/image"
	"troy/image/trust/sign"
	"troy/server/rooms"
)

// Catalog is that of one store. Its methods may be called from several goroutines. It implements
// rooms.Sizes.
type Catalog struct {
	store *image.Store

	mu    sync.Mutex
	sizes map[step]rooms.Size
}

// step is a machine's way from one version of an image to another.
type step struct {
	image      string
	have, want int
}

// sizesMost bounds the steps that are remembered: versions only grow.
const sizesMost = 1000

// Open opens the catalog of the store at dir.
func Open(dir string) (*Catalog, error) {
	store, err := image.OpenStore(dir)
	if err != nil {
		return nil, err
	}
	return &Catalog{store: store}, nil
}

// Size implements rooms.Sizes: what a machine that holds the version have fetches and writes for
// the version want; have 0 is a machine of which nothing is known. It plans as the agent does: what
// the machine's disk has elsewhere it need not fetch. Each step is planned once.
func (c *Catalog) Size(ctx context.Context, name string, have, want int) (rooms.Size, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := step{name, have, want}
	if size, ok := c.sizes[key]; ok {
		return size, nil
	}
	load := image.LoadLocalPlan
	if have == 0 {
		load = image.LoadPlan // there is nothing to copy from
	}
	plan, err := load(ctx, c.store, name, have, want)
	if err != nil {
		return rooms.Size{}, err
	}
	if c.sizes == nil || len(c.sizes) >= sizesMost {
		c.sizes = map[step]rooms.Size{}
	}
	hash, err := c.manifest(ctx, name, want)
	if err != nil {
		return rooms.Size{}, err
	}
	size := rooms.Size{Fetch: plan.FetchBytes, Write: plan.WriteBytes, Manifest: hash}
	c.sizes[key] = size
	return size, nil
}

// manifest is the hash of a version's manifest: a machine takes no other version of that number.
func (c *Catalog) manifest(ctx context.Context, name string, version int) (string, error) {
	index, err := image.LoadIndex(ctx, c.store, name)
	if err != nil {
		return "", err
	}
	for _, e := range index.Versions {
		if e.Version == version {
			return e.Manifest.SHA256.String(), nil
		}
	}
	return "", fmt.Errorf("%w: %s version %d", image.ErrNotFound, name, version)
}

// Images lists the images of the store, sorted; nothing if it cannot be read.
func (c *Catalog) Images() []string {
	names, err := c.store.Images()
	if err != nil {
		return nil
	}
	slices.Sort(names)
	return names
}

// Newest is the number of an image's newest version, 0 if it has none yet.
func (c *Catalog) Newest(ctx context.Context, name string) (int, error) {
	index, err := image.LoadIndex(ctx, c.store, name)
	if err != nil {
		return 0, err
	}
	return index.Latest(), nil
}

// Missing returns those of the named images that the store does not have.
func (c *Catalog) Missing(names []string) ([]string, error) {
	have, err := c.store.Images()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(have, name) }), nil
}

// Agent is the current release of the agent; "" if the store has none.
func (c *Catalog) Agent() (string, error) {
	_, current, err := sign.AgentReleases(c.store)
	return current, err
}
