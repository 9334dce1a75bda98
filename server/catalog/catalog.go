// Package catalog tells a server what its store offers: which images and versions there are, what a
// machine fetches and writes to go from one version to another, and which release of the agent is
// the current one.
//
// What is offered is what is signed: a version between its import and its signature is not there, and
// neither is one that was removed, whatever was known of it before. The signatures are read again
// whenever metadata/timestamp.json is another, by whose rename they change.
package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"troy/image"
	"troy/image/install"
	"troy/image/trust/sign"
	"troy/internal/digest"
	"troy/server/rooms"
)

// Catalog is that of one store. Its methods may be called from several goroutines. It implements
// rooms.Sizes.
type Catalog struct {
	store *image.Store

	mu     sync.Mutex
	stamp  []byte // timestamp.json of what is known
	signed *sign.Served
	sizes  map[step]rooms.Size
}

// step is a machine's way from one version of an image to another, by the hashes of their manifests:
// a number may come to name another version.
type step struct {
	image      string
	have, want digest.Sum // have is zero for a machine that holds nothing
}

// sizesMost bounds the steps that are remembered: versions only grow.
const sizesMost = 1000

// Open opens the catalog of the store at dir.
func Open(dir string) (*Catalog, error) {
	store, err := image.OpenStore(dir)
	if err != nil {
		return nil, err
	}
	return &Catalog{store: store, sizes: map[step]rooms.Size{}}, nil
}

// look returns what is signed now. c.mu is held.
func (c *Catalog) look() (*sign.Served, error) {
	stamp, err := os.ReadFile(filepath.Join(c.store.String(), "metadata", "timestamp.json"))
	if err == nil && c.signed != nil && bytes.Equal(stamp, c.stamp) {
		return c.signed, nil
	}
	repo, err := sign.Open(c.store.String(), nil)
	if err != nil {
		return nil, err
	}
	signed, err := repo.Served()
	if err != nil {
		return nil, err
	}
	c.stamp, c.signed = stamp, signed
	return signed, nil
}

// index returns the signed list of an image's versions.
func (c *Catalog) index(name string) (*image.Index, error) {
	signed, err := c.look()
	if err != nil {
		return nil, err
	}
	x := signed.Images[name]
	if x == nil {
		return nil, fmt.Errorf("%w: the store has no image %q that is signed", image.ErrNotFound, name)
	}
	return x, nil
}

// versions are those of an image as they are signed, and as the folder has them.
type versions struct{ signed, folder *image.Index }

func (c *Catalog) versions(ctx context.Context, name string) (v versions, err error) {
	if v.signed, err = c.index(name); err != nil {
		return v, err
	}
	if v.folder, err = image.LoadIndex(ctx, c.store, name); err != nil { // it is signed: that nothing is there now is no removal
		return v, fmt.Errorf("%s is signed, but the store cannot provide it now: %v", name, err)
	}
	return v, nil
}

// entry returns a version that is signed and that the folder still has.
func (v versions) entry(version int) (*image.Entry, error) {
	here, err := v.folder.Entry(version)
	if err != nil {
		return nil, err
	}
	e, err := v.signed.Entry(version)
	if err != nil || e.Manifest.SHA256 != here.Manifest.SHA256 {
		return nil, fmt.Errorf("%w: version %d of %s is not signed, so machines do not see it: run 'troy key sign'", image.ErrNotFound, version, v.folder.Image)
	}
	return e, nil
}

// signedView reads the store with the list of versions as it is signed.
type signedView struct {
	*image.Store
	index *image.Index
}

// Get implements image.Documents.
func (v signedView) Get(ctx context.Context, name string, max int64) ([]byte, error) {
	if name == image.IndexName(v.index.Image) {
		return v.index.Encode()
	}
	return v.Store.Get(ctx, name, max)
}

// Size implements rooms.Sizes: what a machine that holds the version have fetches and writes for
// the version want; have 0 is a machine of which nothing is known. It plans as the agent does: what
// the machine's disk has elsewhere it need not fetch. Each step is planned once. It returns
// rooms.ErrNotFound for versions that are not there, were removed, or are not signed.
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
	v, err := c.versions(ctx, name)
	if err != nil {
		return rooms.Size{}, err
	}
	e, err := v.entry(want)
	if err != nil {
		return rooms.Size{}, err
	}
	key, load := step{image: name, want: e.Manifest.SHA256}, image.LoadPlan // there is nothing to copy from
	if have != 0 {
		before, err := v.entry(have)
		if err != nil {
			return rooms.Size{}, err
		}
		key.have, load = before.Manifest.SHA256, image.LoadLocalPlan
	}
	if size, ok := c.sizes[key]; ok {
		return size, nil
	}
	view := signedView{c.store, v.signed}
	plan, err := load(ctx, view, name, have, want)
	var size rooms.Size
	if errors.Is(err, image.ErrOtherSize) { // its disk has to be made once more
		size, err = c.size(ctx, name, 0, want)
	} else if err == nil {
		size, err = sizeOf(ctx, view, plan, name, have, e)
	}
	if err != nil {
		return rooms.Size{}, err
	}
	if len(c.sizes) >= sizesMost {
		clear(c.sizes)
	}
	c.sizes[key] = size
	return size, nil
}

// sizeOf is what a plan from version have (0: nothing) to e takes, and what is known of e.
func sizeOf(ctx context.Context, src image.Source, plan *image.Plan, name string, have int, e *image.Entry) (size rooms.Size, err error) {
	m, err := image.LoadManifest(ctx, src, name, e.Version)
	if err != nil {
		return size, err
	}
	if have == 0 {
		if size.Taken, err = install.SlotTaken(ctx, src, name, e.Version); err != nil {
			return size, err
		}
	}
	size.Fetch, size.Write, size.Manifest = plan.FetchBytes, plan.WriteBytes, e.Manifest.SHA256.String()
	size.Setup, size.Virtual = m.Setup, m.VirtualSize
	size.Published, size.Note = m.Published, m.Note
	size.Fields = m.Fields
	return size, nil
}

// Images lists the images of the store that are signed, sorted. While that cannot be read, they are
// those that were known last.
func (c *Catalog) Images() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	signed, err := c.look()
	if err != nil {
		signed = c.signed
	}
	if signed == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(signed.Images))
}

// Newest is the number of an image's newest version that is signed, 0 if it has none yet.
func (c *Catalog) Newest(_ context.Context, name string) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	x, err := c.index(name)
	if err != nil {
		return 0, err
	}
	return x.Latest(), nil
}

// Missing returns those of the named images that the store does not have, signed or not.
func (c *Catalog) Missing(names []string) ([]string, error) {
	have, err := c.store.Images()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(have, name) }), nil
}

// Agent is the current release of the agent that is signed; "" if there is none.
func (c *Catalog) Agent() (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	signed, err := c.look()
	if err != nil {
		return "", err
	}
	return signed.Agent, nil
}
