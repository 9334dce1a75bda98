package sign

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"troy/image"
	"troy/image/trust/internal/tree"
)

// Sign signs a change of what the store holds: exactly the items that the caller has changed. What
// the store has or lacks beside them is an UnaskedError, and nothing is signed. It returns false if
// all was signed already and no signature had to be renewed. Interrupted, the state before is what
// clients see. Errors: ErrNoTrust, ErrDoubt, ErrKey, ErrRefused, those of reading the store.
func (r *Repository) Sign(ctx context.Context, store *image.Store, now time.Time, items ...Item) (bool, error) {
	return r.sign(ctx, store, now, change{items: items})
}

// SignAll signs whatever the store holds, as Options.Confirm has shown it: the admin's own work
// that was interrupted before it was signed. Images that the store lacks as a whole, list of
// versions and all, are to be named in without; else the error is ErrMissing.
func (r *Repository) SignAll(ctx context.Context, store *image.Store, now time.Time, without ...string) (bool, error) {
	return r.sign(ctx, store, now, change{all: true, without: without})
}

// Ready makes sure that Sign will have the keys it needs, and that there is nothing in the store
// that is not signed: ask before the long work. Errors: those of Sign.
func (r *Repository) Ready(ctx context.Context, store *image.Store) error {
	st, err := r.verified(ctx)
	if err != nil {
		return err
	}
	if _, err := r.change(ctx, store, st, &change{}); err != nil {
		return err
	}
	_, err = r.signers(&st.root.Signed, Admin, Server)
	return err
}

// change is what a signing is asked to change.
type change struct {
	items []Item // in the store
	all   bool   // whatever is in the store

	without []string // images that all may lack

	// name is a document of which there is only the signed copy, edit makes what it is to be of what
	// it was; nil = there is none.
	name string
	edit func(before []byte) ([]byte, error)
}

// change finds what is to be signed next, and refuses what was not asked for.
func (r *Repository) change(ctx context.Context, store *image.Store, st *state, ch *change) (*content, error) {
	c := collector{store: store, before: st.content, hash: true}
	after, err := c.collect(ctx, ch)
	if err != nil {
		return nil, err
	}
	if err := after.follows(st.content, nil); err != nil {
		return nil, err
	}
	if list := unasked(st.content, after, ch.asked(st.content, after)); len(list) > 0 && !ch.all {
		return nil, &UnaskedError{Store: r.dir, Differences: list}
	}
	if ch.all {
		if err := complete(st.content, after, ch.without); err != nil {
			return nil, err
		}
	}
	return after, nil
}

// complete refuses to take an image for gone that nobody gave up: whoever removes its versions
// leaves the list of them.
func complete(before, after *content, without []string) error {
	missing := map[string]bool{}
	for name := range before.files {
		if img, ok := indexOf(name); ok && after.files[name] == nil {
			missing[img] = true
		}
	}
	for _, img := range without {
		if !missing[img] {
			return fmt.Errorf("%w: %s is no image that is signed and missing", ErrRefused, img)
		}
		delete(missing, img)
	}
	if len(missing) == 0 {
		return nil
	}
	first := slices.Min(slices.Collect(maps.Keys(missing)))
	return fmt.Errorf("%w: %s, which is signed: is its file system mounted?", ErrMissing, image.IndexName(first))
}

// sign is the one place where the admin key signs what machines take, apart from Init and Rotate.
func (r *Repository) sign(ctx context.Context, store *image.Store, now time.Time, ch change) (bool, error) {
	unlock, err := r.lock(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()
	st, err := r.verified(ctx)
	if err != nil {
		return false, err
	}
	after, err := r.change(ctx, store, st, &ch)
	if err != nil {
		return false, err
	}
	list := differences(st.content, after)
	old := stale(st.root.Signed.Expires, metadata.ROOT, now)
	if len(list) == 0 && sameTargets(st.content.files, after.files) && !old && !stale(st.targets.Signed.Expires, metadata.TARGETS, now) {
		if err := r.catchUp(st); err != nil {
			return false, err
		}
		return r.refresh(st, now)
	}
	if err := r.agreed("to be signed", list); err != nil {
		return false, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	signers, err := r.signers(&st.root.Signed, Admin, Server)
	if err != nil {
		return false, err
	}
	if old {
		if err := r.putRoot(st, signers[Admin], now); err != nil {
			return false, err
		}
	}
	if err := r.putDocuments(after); err != nil {
		return false, err
	}
	st.content, st.targets.Signed.Targets = after, after.files
	if err := (&commit{dir: r.path(""), now: now, state: st, signers: signers, targets: true}).run(); err != nil {
		return false, err
	}
	r.prune(st)
	return true, r.remember(st)
}

// putDocuments stores the signed copies of the documents that can change.
func (r *Repository) putDocuments(c *content) error {
	for name, b := range c.docs {
		if !tree.Changes(name) {
			continue
		}
		if err := r.putDocument(name, b); err != nil {
			return err
		}
	}
	return nil
}

func sameTargets(a, b map[string]*metadata.TargetFiles) bool {
	return maps.EqualFunc(a, b, func(x, y *metadata.TargetFiles) bool { return x.Length == y.Length && x.Hashes.Equal(y.Hashes) })
}

// collector gathers what a store holds.
type collector struct {
	store  *image.Store
	before *content // what is signed
	hash   bool     // boot files that were not signed before
	after  *content
}

func (c *collector) collect(ctx context.Context, ch *change) (*content, error) {
	c.after = newContent()
	names, err := c.store.Images()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if err := c.image(ctx, name); err != nil {
			return nil, err
		}
	}
	if err := c.signedOnly(ch); err != nil {
		return nil, err
	}
	return c.after, c.agent(ctx)
}

// image takes an image with its versions.
func (c *collector) image(ctx context.Context, name string) error {
	index, err := c.store.Get(ctx, image.IndexName(name), tree.MaxDocument)
	if err != nil {
		return err
	}
	c.after.add(image.IndexName(name), index)
	x, err := image.ParseIndex(index, name)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDoubt, image.IndexName(name), err)
	}
	for _, e := range x.Versions {
		b, err := c.store.Get(ctx, e.Manifest.Name, e.Manifest.Size)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDoubt, err)
		}
		m, err := image.ParseManifest(b, name, &e)
		if err == nil && !bytes.Equal(sumOf(b), e.Manifest.SHA256[:]) {
			err = fmt.Errorf("its SHA-256 is not the one in %s", image.IndexName(name))
		}
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrDoubt, e.Manifest.Name, err)
		}
		c.after.add(e.Manifest.Name, b)
		c.after.files[m.Pack.Name] = target(m.Pack.Size, m.Pack.SHA256[:])
	}
	return nil
}

func target(size int64, sum []byte) *metadata.TargetFiles {
	return &metadata.TargetFiles{Length: size, Hashes: metadata.Hashes{"sha256": bytes.Clone(sum)}}
}
