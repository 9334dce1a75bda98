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

// Sign makes the metadata say what the store holds now: the index and the manifests of all images,
// their packs, the releases of the agent, and the orders that were signed before and whose version
// still exists. It returns false if that was so already. Interrupted, the state before is what
// clients see. It needs the targets key, and returns ErrRepository if what was signed before was
// changed since. It signs whatever version it finds: see Unsigned.
func (r *Repository) Sign(ctx context.Context, store *image.Store, now time.Time) (bool, error) {
	return r.sign(ctx, store, now, change{})
}

func (r *Repository) sign(ctx context.Context, store *image.Store, now time.Time, ch change) (bool, error) {
	unlock, err := r.lock(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()
	st, err := r.load()
	if err != nil {
		return false, err
	}
	c := collector{r: r, store: store, files: map[string]*metadata.TargetFiles{}}
	if err := c.collect(ctx, st, ch); err != nil {
		return false, err
	}
	if err := st.verify(); err != nil {
		return false, err
	}
	if err := st.unchanged(c.files); err != nil {
		return false, err
	}
	if sameTargets(st.targets.Signed.Targets, c.files) && !stale(st.targets.Signed.Expires, Targets, now) {
		return r.refresh(st, now)
	}
	signers, err := r.signers(st, Targets, Snapshot, Timestamp)
	if err != nil {
		return false, err
	}
	st.targets.Signed.Targets = c.files
	if err := (&commit{dir: r.path(""), now: now, state: st, signers: signers, targets: true}).run(); err != nil {
		return false, err
	}
	r.prune(st)
	return true, nil
}

// Unsigned returns the names of what the store holds, or has lost, beyond what is signed, sorted:
// what the next Sign would take. Ask before publishing: a version that another person put into the
// store must not be signed along with one's own.
func (r *Repository) Unsigned(ctx context.Context, store *image.Store) ([]string, error) {
	st, err := r.load()
	if err != nil {
		return nil, err
	}
	if err := st.verify(); err != nil {
		return nil, err
	}
	c := collector{r: r, store: store, files: map[string]*metadata.TargetFiles{}, dry: true}
	if err := c.collect(ctx, st, change{}); err != nil {
		return nil, err
	}
	var names []string
	for name, f := range c.files {
		if old := st.targets.Signed.Targets[name]; old == nil || old.Length != f.Length || !old.Hashes.Equal(f.Hashes) {
			names = append(names, name)
		}
	}
	for name := range st.targets.Signed.Targets {
		if c.files[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// verify checks that what counts as signed is: the store may have been written to.
func (st *state) verify() error {
	for role, m := range map[Role]any{Targets: st.targets, Snapshot: st.snapshot, Timestamp: st.timestamp} {
		if err := st.root.VerifyDelegate(string(role), m); err != nil {
			return fmt.Errorf("%w: the %s metadata is not signed by its key (%w); 'rotate' of that role signs it again", ErrRepository, role, err)
		}
	}
	return nil
}

// unchanged refuses to sign other content under the name of what was signed: manifests and packs
// never change.
func (st *state) unchanged(files map[string]*metadata.TargetFiles) error {
	for name, old := range st.targets.Signed.Targets {
		if f := files[name]; f != nil && !tree.Changes(name) && (f.Length != old.Length || !f.Hashes.Equal(old.Hashes)) {
			return fmt.Errorf("%w: %s was changed after it was signed", ErrRepository, name)
		}
	}
	return nil
}

func (r *Repository) signers(st *state, list ...Role) (map[Role][]*signingKey, error) {
	out := map[Role][]*signingKey{}
	for _, role := range list {
		k, err := r.key(st, role)
		if err != nil {
			return nil, err
		}
		out[role] = []*signingKey{k}
	}
	return out, nil
}

func sameTargets(a, b map[string]*metadata.TargetFiles) bool {
	return maps.EqualFunc(a, b, func(x, y *metadata.TargetFiles) bool { return x.Length == y.Length && x.Hashes.Equal(y.Hashes) })
}

// stale says that less than half of the time is left.
func stale(expires time.Time, role Role, now time.Time) bool {
	return expires.Sub(now) < role.validity()/2
}

// collector gathers the targets of a store.
type collector struct {
	r     *Repository
	store *image.Store
	files map[string]*metadata.TargetFiles
	dry   bool // write no copies
}

func (c *collector) collect(ctx context.Context, st *state, ch change) error {
	names, err := c.store.Images()
	if err != nil {
		return err
	}
	for _, name := range names {
		index, err := c.store.Get(ctx, image.IndexName(name), tree.MaxDocument)
		if err != nil {
			return err
		}
		if err := c.document(image.IndexName(name), index); err != nil {
			return err
		}
		x, err := image.ParseIndex(index, name)
		if err != nil {
			return err
		}
		versions := map[int]bool{}
		for _, e := range x.Versions {
			versions[e.Version] = true
			m, err := image.LoadManifest(ctx, c.store, name, e.Version)
			if err != nil {
				return err
			}
			for _, o := range []image.Object{e.Manifest, m.Pack} {
				c.files[o.Name] = target(o.Size, o.SHA256[:])
			}
		}
		if err := c.order(st, name, versions, ch.order); err != nil {
			return err
		}
	}
	if err := c.wipes(st, ch.wipes); err != nil {
		return err
	}
	if err := c.servers(st, ch.servers); err != nil {
		return err
	}
	return c.agent(ctx, st)
}

func target(size int64, sum []byte) *metadata.TargetFiles {
	return &metadata.TargetFiles{Length: size, Hashes: metadata.Hashes{"sha256": bytes.Clone(sum)}}
}

func (c *collector) document(name string, b []byte) error {
	c.files[name] = target(int64(len(b)), sumOf(b))
	if c.dry {
		return nil
	}
	return c.r.putDocument(name, b)
}

// RefreshTimestamp signs timestamp and snapshot again when less than half of their time is left,
// and says whether it did. It needs only the keys that lie in the store. Call it every few hours
// while the store is served: what is served expires otherwise, and machines refuse it.
func (r *Repository) RefreshTimestamp(ctx context.Context, now time.Time) (bool, error) {
	unlock, err := r.lock(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()
	st, err := r.load()
	if err != nil {
		return false, err
	}
	return r.refresh(st, now)
}

func (r *Repository) refresh(st *state, now time.Time) (bool, error) {
	both := stale(st.snapshot.Signed.Expires, Snapshot, now)
	if !both && !stale(st.timestamp.Signed.Expires, Timestamp, now) {
		return false, nil
	}
	signers, err := r.signers(st, Snapshot, Timestamp)
	if err != nil {
		return false, err
	}
	c := &commit{dir: r.path(""), now: now, state: st, signers: signers}
	if both {
		err = c.run()
	} else {
		err = c.timestamp()
	}
	return err == nil, err
}

// Expiry says until when a role's signature holds.
type Expiry struct {
	Role    Role
	Version int64
	Expires time.Time
	// Soon says that it is time to do something: the admin for Root and Targets, the server of the
	// store for the others.
	Soon bool
}

// Expiries returns one entry for each role.
func (r *Repository) Expiries(now time.Time) ([]Expiry, error) {
	st, err := r.load()
	if err != nil {
		return nil, err
	}
	list := []Expiry{
		{Root, st.root.Signed.Version, st.root.Signed.Expires, false},
		{Targets, st.targets.Signed.Version, st.targets.Signed.Expires, false},
		{Snapshot, st.snapshot.Signed.Version, st.snapshot.Signed.Expires, false},
		{Timestamp, st.timestamp.Signed.Version, st.timestamp.Signed.Expires, false},
	}
	for i := range list {
		e := &list[i]
		e.Soon = e.Expires.Sub(now) < min(90*day, e.Role.validity()/4)
	}
	return list, nil
}
