package trust

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"troy/image"
)

// What a client takes of each document at most, in bytes, and how many new roots at once.
const (
	maxRoot      = 256 << 10
	maxTimestamp = 16 << 10
	maxSnapshot  = 64 << 10
	maxTargets   = 16 << 20
	maxRoots     = 256
)

// Memory keeps what a client trusts between its runs: without it an old timestamp is as good as the newest. The agent's is a record of the journal.
type Memory interface {
	// Load returns what Save got last, or nothing.
	Load() ([]byte, error)
	// Save replaces it, durably.
	Save(b []byte) error
}

// ClientOptions are what a client needs. Root is required.
type ClientOptions struct {
	// Root is the pinned root metadata, as Repository.Root gave it: what media carry. Any older or newer one of the same store does.
	Root []byte
	// Memory keeps what is trusted; nil forgets, and accepts what is older than what it saw before.
	Memory Memory
	// NotFound says which errors of a source mean that there is no such document, besides image.ErrNotFound and fs.ErrNotExist.
	NotFound func(error) bool
}

// Client checks metadata by go-tuf. It is not safe for concurrent use; the Sources it gives are.
type Client struct {
	o       ClientOptions
	trusted *trustedmetadata.TrustedMetadata // nil before Refresh succeeded
}

// NewClient checks the pinned root. It returns ErrUntrusted if that is none.
func NewClient(o *ClientOptions) (*Client, error) {
	if _, err := trustedmetadata.New(o.Root); err != nil {
		return nil, &RefusedError{Source: "the boot media", Name: "root.json", Class: classOf(err), Err: err}
	}
	return &Client{o: *o}, nil
}

// Refresh reads the newest metadata from src and checks it against the pinned root, what was trusted before, and the time. What is found good is remembered
// even if a later document is refused. Errors: a RefusedError (ErrUntrusted), those of reading src, those of Memory. After an error the client gives no
// Source.
func (c *Client) Refresh(ctx context.Context, src image.Documents, now time.Time) error {
	c.trusted = nil
	u := &update{ctx: ctx, c: c, src: src, name: nameOf(src)}
	before, err := u.load()
	if err != nil {
		return fmt.Errorf("trust: reading what was trusted before: %w", err)
	}
	u.start(now)
	err = u.run()
	if after := u.memory.encode(); c.o.Memory != nil && string(after) != string(before) {
		if serr := c.o.Memory.Save(after); serr != nil {
			return errors.Join(err, fmt.Errorf("trust: remembering what is trusted: %w", serr))
		}
	}
	if err != nil {
		return err
	}
	c.trusted = u.t
	return nil
}

// RootVersion returns the version of the root metadata that is trusted now, which may be newer than the pinned one; 0 before Refresh.
func (c *Client) RootVersion() int64 {
	if c.trusted == nil {
		return 0
	}
	return c.trusted.Root.Signed.Version
}

func nameOf(src any) string {
	if s, ok := src.(fmt.Stringer); ok {
		return s.String()
	}
	return "the source"
}

// update is one Refresh.
type update struct {
	ctx    context.Context
	c      *Client
	src    image.Documents
	name   string
	t      *trustedmetadata.TrustedMetadata
	memory memory
	floor  int64 // root version that was trusted before
}

// load reads the memory; one that is damaged is as none, because its content is trusted only as far as it is signed.
func (u *update) load() ([]byte, error) {
	if u.c.o.Memory == nil {
		return nil, nil
	}
	b, err := u.c.o.Memory.Load()
	if err == nil {
		u.memory.decode(b)
	}
	return b, err
}

// start begins at the pinned root and goes on over the roots in memory. If those are of another store, or do not follow, nothing in memory is of use: whoever
// brought the media decides.
func (u *update) start(now time.Time) {
	roots := u.memory.Roots
	u.t, _ = trustedmetadata.New(u.c.o.Root) // NewClient has checked it
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
	u.t, _ = trustedmetadata.New(u.c.o.Root)
	u.t.RefTime = now.UTC()
}

func (u *update) run() error {
	for _, step := range []func() error{u.roots, u.timestamp, u.snapshot, u.targets} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// get reads a document. One that the source does not have is refused: a repository has all that its metadata names.
func (u *update) get(name string, max int64) ([]byte, error) {
	b, err := u.src.Get(u.ctx, Folder+"/"+name, max)
	if err == nil && int64(len(b)) > max {
		err = u.refuse(name, fmt.Errorf("longer than %d bytes", max))
	}
	return b, err
}

func (u *update) refuse(name string, err error) error {
	return &RefusedError{Source: u.name, Name: Folder + "/" + name, Class: classOf(err), Err: err}
}

// missing says that an error means that there is no such document.
func (c *Client) missing(err error) bool {
	return errors.Is(err, image.ErrNotFound) || errors.Is(err, fs.ErrNotExist) || c.o.NotFound != nil && c.o.NotFound(err)
}

// roots follows the chain of roots to its end (5.3 of the specification).
func (u *update) roots() error {
	for range maxRoots {
		name := rootName(u.t.Root.Signed.Version + 1)
		b, err := u.get(name, maxRoot)
		if err != nil && u.ctx.Err() == nil && u.c.missing(err) {
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
		return &RefusedError{Source: u.name, Name: Folder + "/" + rootName(u.floor), Class: ErrRollback,
			Err: fmt.Errorf("root version %d was trusted before, the source ends at %d", u.floor, v)}
	}
	return nil
}

// timestamp loads the remembered timestamp first: the new one must not be older (5.4).
func (u *update) timestamp() error {
	if root := &u.t.Root.Signed; root.IsExpired(u.t.RefTime) {
		return u.refuse(rootName(root.Version), &metadata.ErrExpiredMetadata{Msg: fmt.Sprintf("valid until %s, the clock says %s", root.Expires.Format(time.DateOnly), u.t.RefTime.Format(time.DateOnly))})
	}
	if u.memory.Timestamp != nil {
		if _, err := u.t.UpdateTimestamp(u.memory.Timestamp); err != nil && u.t.Timestamp == nil {
			u.memory.Timestamp, u.memory.Snapshot = nil, nil // keys have changed since: what they signed counts no more
		}
	}
	b, err := u.get(timestampName, maxTimestamp)
	if err != nil {
		return err
	}
	_, err = u.t.UpdateTimestamp(b)
	switch {
	case errors.Is(err, &metadata.ErrEqualVersionNumber{}):
		return nil
	case err != nil:
		return u.refuse(timestampName, err)
	}
	u.memory.Timestamp = b
	return nil
}

// snapshot takes the remembered one if it is still the one, else the source's, which must not be older in any part (5.5).
func (u *update) snapshot() error {
	if u.memory.Snapshot != nil {
		if _, err := u.t.UpdateSnapshot(u.memory.Snapshot, true); err == nil {
			return nil
		}
	}
	m := u.t.Timestamp.Signed.Meta["snapshot.json"]
	if m == nil {
		return u.refuse(timestampName, errors.New("it names no snapshot"))
	}
	name := snapshotName(m.Version)
	b, err := u.get(name, bound(m.Length, maxSnapshot))
	if err != nil {
		return err
	}
	if _, err := u.t.UpdateSnapshot(b, false); err != nil {
		return u.refuse(name, err)
	}
	u.memory.Snapshot = b
	return nil
}

func (u *update) targets() error {
	m := u.t.Snapshot.Signed.Meta["targets.json"]
	if m == nil {
		return u.refuse("snapshot.json", errors.New("it names no targets"))
	}
	name := targetsName(m.Version)
	b, err := u.get(name, bound(m.Length, maxTargets))
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
