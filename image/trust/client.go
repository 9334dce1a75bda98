package trust

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"troy/image"
	"troy/image/trust/internal/tree"
	"troy/internal/errline"
)

// What a client takes of each document at most, in bytes, and how many new roots at once.
const (
	maxRoot      = 256 << 10
	maxTimestamp = 16 << 10
	maxSnapshot  = 64 << 10
	maxTargets   = 16 << 20
	maxRoots     = 256
)

// Memory keeps what a client trusts between its runs: without it an old timestamp is as good as the
// newest. The agent's is a record of the journal.
type Memory interface {
	// Load returns what Save got last, or nothing.
	Load() ([]byte, error)
	// Save replaces it, durably.
	Save(b []byte) error
}

// CheckRoot returns ErrUntrusted unless b is root metadata that media can carry.
func CheckRoot(b []byte) error {
	if _, err := trustedmetadata.New(b); err != nil {
		return &RefusedError{Source: "the boot media", Name: "root.json", Class: classOf(err), Err: err}
	}
	return nil
}

// Chain is what follows from a pinned root.
type Chain struct {
	// Roots are the root documents from the pinned one to the newest, as they came.
	Roots [][]byte
	// Metadata is what they lead to. Root is there even if Follow returned an error: the newest
	// that follows.
	Metadata *trustedmetadata.TrustedMetadata

	servers []byte // the signed list of servers
}

// Follow reads the newest metadata from src and checks it against the pinned root, what was trusted
// before, and the time; at the zero time nothing has expired. What is found good is remembered even
// if a later document is refused. It is the half of Pinned that signing needs as well; o.Root was
// seen by CheckRoot. Errors: a RefusedError (ErrUntrusted), those of reading src, those of Memory.
func Follow(ctx context.Context, name string, src image.Documents, now time.Time, o *PinnedOptions) (*Chain, error) {
	u := &update{o: o, src: src, name: name}
	before, err := u.load()
	if err != nil {
		return nil, fmt.Errorf("trust: reading what was trusted before: %w", err)
	}
	u.start(now)
	err = u.run(ctx)
	if after := u.memory.encode(); o.Memory != nil && string(after) != string(before) {
		if serr := o.Memory.Save(after); serr != nil {
			err = errline.Join(err, fmt.Errorf("trust: remembering what is trusted: %w", serr))
		}
	}
	return &Chain{Roots: append([][]byte{o.Root}, u.memory.Roots...), Metadata: u.t, servers: u.memory.Servers}, err
}

// update is one refresh.
type update struct {
	o      *PinnedOptions
	src    image.Documents
	name   string // of the source
	t      *trustedmetadata.TrustedMetadata
	memory memory
	floor  int64  // root version that was trusted before
	asked  string // the last document
}

// load reads the memory; one that is damaged is as none, because its content is trusted only as far
// as it is signed.
func (u *update) load() ([]byte, error) {
	if u.o.Memory == nil {
		return nil, nil
	}
	b, err := u.o.Memory.Load()
	if err == nil {
		u.memory.decode(b)
	}
	return b, err
}

// start begins at the pinned root and goes on over the roots in memory. If those are of another
// store, or do not follow, nothing in memory is of use: the media decide.
func (u *update) start(now time.Time) {
	roots := u.memory.Roots
	u.t, _ = trustedmetadata.New(u.o.Root) // CheckRoot has seen it
	u.t.RefTime = now.UTC()
	u.memory.Roots = nil
	for _, b := range roots {
		m, err := metadata.Root().FromBytes(b)
		if err == nil && storeID(&m.Signed) != storeID(&u.t.Root.Signed) {
			err = errors.New("of another store")
		}
		if err == nil && m.Signed.Version == u.t.Root.Signed.Version+1 {
			_, err = u.t.UpdateRoot(b)
		}
		if err != nil {
			u.forget(now)
			return
		}
		u.floor = max(u.floor, m.Signed.Version)
		if m.Signed.Version <= u.t.Root.Signed.Version { // else the media are older than those before: the source has what is between
			u.memory.Roots = append(u.memory.Roots, b)
		}
	}
}

// forget goes on with the pinned root alone.
func (u *update) forget(now time.Time) {
	u.memory, u.floor = memory{}, 0
	u.t, _ = trustedmetadata.New(u.o.Root)
	u.t.RefTime = now.UTC()
}

func (u *update) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{u.roots, u.timestamp, u.snapshot, u.targets, u.servers} {
		if err := u.take(ctx, step); err != nil {
			return err
		}
	}
	return nil
}

// take takes one step. A document that is refused is asked of the next mirror: each is judged by
// itself, for one may be a sign-in page, rotten or left behind where another is as it should be. If
// the others have none either, the first refusal says more.
func (u *update) take(ctx context.Context, step func(context.Context) error) error {
	var first error
	for {
		err := step(ctx)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, ErrUntrusted):
			return cmp.Or(first, err)
		case first == nil:
			first = err
		}
		if ctx.Err() != nil || !reject(u.src, u.asked, 0, 0) {
			return first
		}
	}
}

// get reads a document. One that the source does not have is refused: a repository has all that its
// metadata names.
func (u *update) get(ctx context.Context, name string, max int64) ([]byte, error) {
	u.asked = tree.Folder + "/" + name
	b, err := u.src.Get(ctx, u.asked, max)
	if err == nil && int64(len(b)) > max {
		err = u.refuse(name, fmt.Errorf("longer than %d bytes", max))
	}
	return b, err
}

func (u *update) refuse(name string, err error) error {
	return &RefusedError{Source: u.name, Name: tree.Folder + "/" + name, Class: classOf(err), Err: err}
}

// missing says that an error means that there is no such document.
func (o *PinnedOptions) missing(err error) bool {
	return errors.Is(err, image.ErrNotFound) || errors.Is(err, fs.ErrNotExist) || o.NotFound != nil && o.NotFound(err)
}

// roots follows the chain of roots to its end (5.3 of the specification).
func (u *update) roots(ctx context.Context) error {
	for range maxRoots {
		name := tree.Root(u.t.Root.Signed.Version + 1)
		b, err := u.get(ctx, name, maxRoot)
		if err != nil && ctx.Err() == nil && u.o.missing(err) {
			break
		}
		if err != nil {
			return err
		}
		if _, err := u.t.UpdateRoot(b); err != nil {
			return u.refuse(name, err)
		}
		u.memory.Roots = append(u.memory.Roots, b)
	}
	if v := u.t.Root.Signed.Version; v < u.floor {
		return &RefusedError{Source: u.name, Name: tree.Folder + "/" + tree.Root(u.floor), Class: ErrRollback,
			Err: fmt.Errorf("root version %d was trusted before, the source ends at %d", u.floor, v)}
	}
	return nil
}

// timestamp loads the remembered timestamp first: the new one must not be older (5.4).
func (u *update) timestamp(ctx context.Context) error {
	if root := &u.t.Root.Signed; root.IsExpired(u.t.RefTime) {
		return u.refuse(tree.Root(root.Version), &metadata.ErrExpiredMetadata{Msg: fmt.Sprintf("valid until %s, the clock says %s", root.Expires.Format(time.DateOnly), u.t.RefTime.Format(time.DateOnly))})
	}
	if u.memory.Timestamp != nil {
		if _, err := u.t.UpdateTimestamp(u.memory.Timestamp); err != nil && u.t.Timestamp == nil {
			u.memory.Timestamp, u.memory.Snapshot = nil, nil // keys have changed since: what they signed no longer counts
		}
	}
	b, err := u.get(ctx, tree.Timestamp, maxTimestamp)
	if err != nil {
		return err
	}
	_, err = u.t.UpdateTimestamp(b)
	switch {
	case errors.Is(err, &metadata.ErrEqualVersionNumber{}):
		return nil
	case err != nil:
		return u.refuse(tree.Timestamp, err)
	}
	u.memory.Timestamp = b
	return nil
}

// snapshot takes the remembered one if it is still the one, else the source's, which must not be
// older in any part (5.5).
func (u *update) snapshot(ctx context.Context) error {
	if u.memory.Snapshot != nil {
		if _, err := u.t.UpdateSnapshot(u.memory.Snapshot, true); err == nil {
			return nil
		}
	}
	m := u.t.Timestamp.Signed.Meta["snapshot.json"]
	if m == nil {
		return u.refuse(tree.Timestamp, errors.New("it names no snapshot"))
	}
	name := tree.Snapshot(m.Version)
	b, err := u.get(ctx, name, bound(m.Length, maxSnapshot))
	if err != nil {
		return err
	}
	if _, err := u.t.UpdateSnapshot(b, false); err != nil {
		return u.refuse(name, err)
	}
	u.memory.Snapshot = b
	return nil
}

func (u *update) targets(ctx context.Context) error {
	m := u.t.Snapshot.Signed.Meta["targets.json"]
	if m == nil {
		return u.refuse("snapshot.json", errors.New("it names no targets"))
	}
	name := tree.Targets(m.Version)
	b, err := u.get(ctx, name, bound(m.Length, maxTargets))
	if err != nil {
		return err
	}
	if _, err := u.t.UpdateTargets(b); err != nil {
		return u.refuse(name, err)
	}
	return nil
}

// bound returns the signed length of a document, if there is one and it is sane.
func bound(length, most int64) int64 {
	if length <= 0 || length > most {
		return most
	}
	return length
}

// storeID is what tells a new store from an old state of the same one.
func storeID(root *metadata.RootType) string {
	id, _ := root.UnrecognizedFields[tree.StoreField].(string)
	return id
}
