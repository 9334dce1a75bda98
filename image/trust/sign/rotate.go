package sign

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"troy/image/trust/internal/tree"
	"troy/internal/durable"
)

// Rotate gives a role a new key and lets the root metadata forget the old one. It needs the root
// key; the old key of another role may be lost. Clients follow from any older root. The new key
// lies beside the old one (.key.new) until the new root metadata exists; then it takes its place.
// What the role signs is signed by both keys first, so that an interruption at any point leaves
// something that clients accept, unless the old key was lost; calling Rotate again ends what was
// begun. Rotating Root also renews its expiry.
func (r *Repository) Rotate(ctx context.Context, role Role, now time.Time) error {
	if !known(role) {
		return fmt.Errorf("%w: there is no role %q", ErrKey, role)
	}
	unlock, err := r.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	st, err := r.load()
	if err != nil {
		return err
	}
	rootKey, err := r.key(st, Root)
	if err != nil {
		return err
	}
	old, err := r.key(st, role)
	if err != nil {
		old = nil // lost: the root key decides
	}
	path := r.keyPath(role)
	if err := os.Remove(next(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("trust: %w", err)
	}
	fresh, err := r.makeKey(role, next(path))
	if err != nil {
		return err
	}
	if role != Root {
		if err := r.signAgain(st, role, old, fresh, now); err != nil {
			return err
		}
	}
	if err := r.putRoot(st, role, rootKey, fresh, now); err != nil {
		return err
	}
	if err := durable.Rename(next(path), path); err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	r.prune(st)
	return nil
}

func known(role Role) bool {
	for _, r := range roles {
		if r == role {
			return true
		}
	}
	return false
}

// signAgain has what a role signs signed by its old and its new key.
func (r *Repository) signAgain(st *state, role Role, old, fresh *signingKey, now time.Time) error {
	signers := map[Role][]*signingKey{}
	for _, s := range []Role{Targets, Snapshot, Timestamp} {
		if s == role || s == Targets { // Targets is signed only if it is what rotates
			continue
		}
		k, err := r.key(st, s)
		if err != nil {
			return err
		}
		signers[s] = []*signingKey{k}
	}
	signers[role] = []*signingKey{fresh}
	if old != nil {
		signers[role] = append(signers[role], old)
	}
	return (&commit{dir: r.path(""), now: now, state: st, signers: signers, targets: role == Targets}).run()
}

// putRoot writes the next root metadata: the fresh key is the only one of its role.
func (r *Repository) putRoot(st *state, role Role, rootKey, fresh *signingKey, now time.Time) error {
	root := &st.root.Signed
	for _, id := range append([]string{}, root.Roles[string(role)].KeyIDs...) {
		if err := root.RevokeKey(id, string(role)); err != nil {
			return fmt.Errorf("trust: %w", err)
		}
	}
	if err := root.AddKey(fresh.key, string(role)); err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	root.Version++
	keys := []*signingKey{rootKey}
	if role == Root {
		keys = append(keys, fresh)
	}
	root.Expires = expiry(Root, now)
	b, err := encode(st.root, keys)
	if err != nil {
		return err
	}
	return writeFile(r.path(tree.Root(root.Version)), b, 0o644)
}
