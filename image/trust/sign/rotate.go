package sign

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"troy/image"
	"troy/image/trust/internal/tree"
	"troy/internal/durable"
)

// Rotate replaces keys, and first puts the folder of the store back to what was verified last: it
// is the way out after a break-in, a theft, or a restored backup. Server replaces the server's key
// alone; Admin replaces both. It needs the admin key; the server's may be lost.
//
// What it goes back to is the store's own signed state if that follows from what is trusted; for
// Admin, and where it does not, the copy beside the keys, because a thief of the admin key can have
// signed the store's. Options.Confirm is shown each item that this takes away or brings back.
//
// Clients follow from any older root. The new keys lie beside the old ones (.key.new) until the new
// root metadata exists; then they take their places. What the old keys signed is signed by both
// first, so that an interruption at any point leaves something that clients accept, unless the old
// key was lost or the folder was in doubt; calling Rotate again ends what was begun.
func (r *Repository) Rotate(ctx context.Context, store *image.Store, which Key, now time.Time) error {
	unlock, err := r.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	st, doubt, err := r.goBackTo(ctx, which)
	if err != nil {
		return err
	}
	list, err := r.lost(ctx, store, st, doubt)
	if err != nil {
		return err
	}
	if err := r.agreed("to be put back to what was verified last", list); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	admin, err := r.key(&st.root.Signed, Admin)
	if err != nil {
		return err
	}
	if err := r.restore(ctx, store, st); err != nil {
		return err
	}
	return r.rotate(st, which, admin, now)
}

// goBackTo is the state that a rotation goes back to, with the newest root that follows from what
// is trusted; doubt is why the store's own state is none to believe.
func (r *Repository) goBackTo(ctx context.Context, which Key) (st *state, doubt, err error) {
	t, err := r.trusted()
	if err != nil {
		return nil, nil, err
	}
	last, _, err := t.state(ctx)
	if err != nil {
		return nil, nil, err
	}
	st, doubt = r.verified(ctx)
	switch {
	case doubt == nil && (which == Server || last == nil):
		return st, nil, nil
	case last == nil:
		return nil, nil, fmt.Errorf("%w; %s has a root only, nothing to put the store back to", doubt, r.trustedPath())
	case st == nil: // reading failed
		return nil, nil, doubt
	}
	last.root, last.roots = st.root, st.roots
	if doubt == nil { // the numbers go on behind what clients may have seen
		last.targets.Signed.Version = st.targets.Signed.Version
		last.snapshot.Signed.Version, last.timestamp.Signed.Version = st.snapshot.Signed.Version, st.timestamp.Signed.Version
	}
	return last, doubt, nil
}

// doubted is the item for metadata that nobody can believe.
const doubted = "the signatures in the store's folder"

// lost lists what going back to a state changes in the store.
func (r *Repository) lost(ctx context.Context, store *image.Store, st *state, doubt error) ([]Difference, error) {
	var list []Difference
	if doubt != nil {
		list = append(list, Difference{What: doubted, Was: "not to be believed", Is: "made again", Note: doubt.Error()})
	}
	c := collector{store: store, before: st.content}
	found, err := c.collect(ctx, &change{})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return append(list, Difference{What: "the store's folder", Was: "not readable", Is: "made again", Note: err.Error()}), nil
	}
	return append(list, differences(found, st.content)...), nil
}

// rotate makes the new keys and signs with them.
func (r *Repository) rotate(st *state, which Key, admin *signingKey, now time.Time) error {
	signers := map[Key][]*signingKey{Admin: {admin}}
	fresh := map[Key]*signingKey{}
	for _, k := range []Key{Server, Admin} {
		if k == Admin && which == Server {
			continue
		}
		path := next(r.KeyPath(k))
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("trust: %w", err)
		}
		f, err := r.makeKey(k, path)
		if err != nil {
			return err
		}
		fresh[k], signers[k] = f, append([]*signingKey{f}, signers[k]...)
	}
	if old, err := r.key(&st.root.Signed, Server); err == nil { // else lost: the admin key decides
		signers[Server] = append(signers[Server], old)
	}
	if err := (&commit{dir: r.path(""), now: now, state: st, signers: signers, targets: true}).run(); err != nil {
		return err
	}
	if err := trustInstead(&st.root.Signed, fresh); err != nil {
		return err
	}
	if err := r.putRoot(st, signers[Admin], now); err != nil {
		return err
	}
	for k := range fresh {
		if err := durable.Rename(next(r.KeyPath(k)), r.KeyPath(k)); err != nil {
			return fmt.Errorf("trust: %w", err)
		}
	}
	r.prune(st)
	return r.remember(st)
}

// trustInstead makes fresh keys the only ones of their roles.
func trustInstead(root *metadata.RootType, fresh map[Key]*signingKey) error {
	for which, k := range fresh {
		for _, role := range which.roles() {
			for _, id := range append([]string{}, root.Roles[role].KeyIDs...) {
				if err := root.RevokeKey(id, role); err != nil {
					return fmt.Errorf("trust: %w", err)
				}
			}
			if err := root.AddKey(k.key, role); err != nil {
				return fmt.Errorf("trust: %w", err)
			}
		}
	}
	return nil
}

// restore makes the folder of the store hold what a state says, and nothing else that machines
// could be given. Packs and boot files are not brought back: they have no copy beside the keys.
func (r *Repository) restore(ctx context.Context, store *image.Store, st *state) error {
	in, err := os.OpenRoot(r.dir) // a link that a thief made leads nowhere
	if err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	defer in.Close()
	if err := r.clear(in, st); err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	first := st.root.Signed.Version - int64(len(st.roots)) + 1
	for i, b := range st.roots {
		if err := putBack(in, tree.Folder+"/"+tree.Root(first+int64(i)), b); err != nil {
			return err
		}
	}
	for name, b := range st.content.docs {
		places := []string{name}
		if tree.Changes(name) {
			places = append(places, tree.Folder+"/"+tree.Copy(name, sumOf(b)))
		}
		if tree.Signed(name) {
			places = places[1:] // there is only the signed copy
		}
		for _, place := range places {
			if err := putBack(in, place, b); err != nil {
				return err
			}
		}
	}
	c := collector{store: store, before: st.content}
	found, err := c.collect(ctx, &change{})
	if err != nil {
		return err
	}
	if list := differences(found, st.content); len(list) > 0 {
		return &UnaskedError{Store: r.dir, Differences: list}
	}
	return nil
}
