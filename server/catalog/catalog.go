// Package catalog tells a server what its store offers: which images and versions there are, what a
// machine fetches and writes to go from one version to another, and which release of the agent is
// the current one.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"troy/image"
	"troy/image/trust/sign"
	"troy/internal/digest"
	"troy/server/rooms"
)

// Catalog is that of one store. Its methods may be called from several goroutines. It implements
// rooms.Sizes.
type Catalog struct {
	store *image.Store
	dir   string

	mu      sync.Mutex
	sizes   map[step]rooms.Size
	indexes map[string]kept
}

// step is a machine's way from one version of an image to another, by the hashes of their manifests:
// a number may come to name another version.
type step struct {
	image      string
	have, want digest.Sum // have is zero for a machine that holds nothing
}

// kept is an index as it was read, and the file that held it then.
type kept struct {
	index *image.Index
	file  os.FileInfo
}

// sizesMost bounds the steps, and the indexes, that are remembered.
const sizesMost = 1000

// Open opens the catalog of the store at dir.
func Open(dir string) (*Catalog, error) {
	store, err := image.OpenStore(dir)
	if err != nil {
		return nil, err
	}
	return &Catalog{store: store, dir: dir, sizes: map[step]rooms.Size{}, indexes: map[string]kept{}}, nil
}

// Size implements rooms.Sizes: what a machine that holds the version have fetches and writes for
// the version want; have 0 is a machine of which nothing is known. It plans as the agent does: what
// the machine's disk has elsewhere it need not fetch. Each step is planned once, as long as the
// store has both versions.
func (c *Catalog) Size(ctx context.Context, name string, have, want int) (rooms.Size, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	size, err := c.size(ctx, name, have, want)
	if errors.Is(err, image.ErrNotFound) {
		err = fmt.Errorf("%w: %w", rooms.ErrNotFound, err)
	}
	return size, err
}

func (c *Catalog) size(ctx context.Context, name string, have, want int) (rooms.Size, error) {
	index, err := c.index(ctx, name)
	if err != nil {
		return rooms.Size{}, err
	}
	e, err := index.Entry(want)
	if err != nil {
		return rooms.Size{}, err
	}
	key, load := step{image: name, want: e.Manifest.SHA256}, image.LoadPlan // there is nothing to copy from
	if have != 0 {
		before, err := index.Entry(have)
		if err != nil {
			return rooms.Size{}, err
		}
		key.have, load = before.Manifest.SHA256, image.LoadLocalPlan
	}
	if size, ok := c.sizes[key]; ok {
		return size, nil
	}
	plan, err := load(ctx, c.store, name, have, want)
	if err != nil {
		return rooms.Size{}, err
	}
	if len(c.sizes) >= sizesMost {
		clear(c.sizes)
	}
	c.sizes[key] = rooms.Size{Fetch: plan.FetchBytes, Write: plan.WriteBytes, Manifest: e.Manifest.SHA256.String()}
	return c.sizes[key], nil
}

// index reads which versions an image has, if that file is another one than before.
func (c *Catalog) index(ctx context.Context, name string) (*image.Index, error) {
	now, err := os.Stat(filepath.Join(c.dir, filepath.FromSlash(image.IndexName(name))))
	if old, ok := c.indexes[name]; ok && err == nil && os.SameFile(old.file, now) && old.file.ModTime().Equal(now.ModTime()) && old.file.Size() == now.Size() {
		return old.index, nil
	}
	delete(c.indexes, name)
	index, err2 := image.LoadIndex(ctx, c.store, name) // its error says what is wrong
	if err != nil || err2 != nil {
		return index, err2
	}
	if len(c.indexes) >= sizesMost {
		clear(c.indexes)
	}
	c.indexes[name] = kept{index, now}
	return index, nil
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
