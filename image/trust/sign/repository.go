package sign

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"troy/image/trust/internal/tree"
	"troy/internal/durable"
)

// Key is one of the two keys of a store.
type Key string

// The keys. The admin's signs what machines take: it holds the roles root and targets of TUF. The
// server's keeps that fresh: snapshot and timestamp.
const (
	Admin  Key = "admin"
	Server Key = "server"
)

// String names the key for people.
func (k Key) String() string { return string(k) + " key" }

// roles are those of TUF that the key holds.
func (k Key) roles() [2]string {
	if k == Admin {
		return [2]string{metadata.ROOT, metadata.TARGETS}
	}
	return [2]string{metadata.SNAPSHOT, metadata.TIMESTAMP}
}

const day = 24 * time.Hour

// validity is how long a signature of a role holds.
func validity(role string) time.Duration {
	switch role {
	case metadata.ROOT:
		return 5 * 365 * day
	case metadata.TARGETS:
		return 2 * 365 * day
	case metadata.SNAPSHOT:
		return 60 * day
	}
	return 14 * day
}

// Options of a repository. The zero value is right.
type Options struct {
	// Keys is the folder with the admin key and what is trusted; "" means keys/ in the store.
	Keys string
	// Passphrase gives that of the admin key. It is asked once, when a sealed key is opened or
	// made; nil or an empty answer makes an open key.
	Passphrase func() ([]byte, error)
	// NewPassphrase, if not nil, is asked instead, once, when a key is made and Passphrase was not
	// needed before.
	NewPassphrase func() ([]byte, error)
	// Confirm is shown what is to be done and the differences that this makes, before the admin key
	// is used. An error ends the signing with nothing changed. nil agrees to all.
	Confirm func(what string, list []Difference) error
}

// Repository is the signed side of a store's folder. Its methods may be used by several processes
// at once: they wait for each other.
type Repository struct {
	dir     string
	keys    string
	pass    func() ([]byte, error) // to open keys
	seal    func() ([]byte, error) // to make keys
	confirm func(what string, list []Difference) error
}

func newRepository(dir string, o *Options) *Repository {
	r := &Repository{dir: dir, keys: filepath.Join(dir, "keys")}
	if o == nil {
		return r
	}
	if o.Keys != "" {
		r.keys = o.Keys
	}
	var known *answer
	ask := func(f func() ([]byte, error)) func() ([]byte, error) {
		if f == nil {
			return nil
		}
		return func() ([]byte, error) {
			if known == nil {
				p, err := f()
				known = &answer{p, err}
			}
			return known.passphrase, known.err
		}
	}
	r.pass, r.seal, r.confirm = ask(o.Passphrase), ask(o.NewPassphrase), o.Confirm
	if r.seal == nil {
		r.seal = r.pass
	}
	return r
}

// answer is what was said when a passphrase was asked for.
type answer struct {
	passphrase []byte
	err        error
}

// agreed asks whether something is to be done.
func (r *Repository) agreed(what string, list []Difference) error {
	if r.confirm == nil || len(list) == 0 {
		return nil
	}
	return r.confirm(what, list)
}

// Open opens the signed side of the store in dir. It returns ErrUnsigned if there is none, and
// ErrDoubt as well, together with what Rotate can put it back by, if there was one. No key is
// needed before something is signed.
func Open(dir string, o *Options) (*Repository, error) {
	r := newRepository(dir, o)
	_, err := os.Stat(r.path(""))
	if errors.Is(err, fs.ErrNotExist) {
		if terr := absent(r.trustedPath()); errors.Is(terr, ErrExists) {
			return r, fmt.Errorf("%w: %w any more: %s has no folder %s", ErrDoubt, ErrUnsigned, dir, tree.Folder)
		} else if terr != nil {
			return nil, terr
		}
		return nil, fmt.Errorf("%w: %s has no folder %s", ErrUnsigned, dir, tree.Folder)
	}
	if err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	return r, nil
}

func (r *Repository) path(name string) string {
	return filepath.Join(r.dir, tree.Folder, filepath.FromSlash(name))
}

// KeyPath returns the file in which a key is looked for.
func (r *Repository) KeyPath(which Key) string {
	if which == Server {
		return filepath.Join(r.dir, "keys", "server.key")
	}
	return filepath.Join(r.keys, "admin.key")
}

// Sealed says whether the admin key is under a passphrase.
func (r *Repository) Sealed() (bool, error) {
	f, err := readKeyFile(r.adminPath(), Admin)
	if err != nil {
		return false, err
	}
	return len(f.Box) > 0, nil
}

// Unlock opens the admin key, so that a wrong passphrase shows before work begins. It is not asked
// for again. Errors: ErrKey.
func (r *Repository) Unlock() error {
	_, err := openKey(r.adminPath(), Admin, r.pass)
	return err
}

// adminPath is where the admin key is: if Init or Rotate was cut, it may not have its name yet.
func (r *Repository) adminPath() string {
	path := r.KeyPath(Admin)
	if absent(path) == nil {
		return next(path)
	}
	return path
}

// next is where a rotation keeps the new key until the root metadata names it.
func next(path string) string { return path + ".new" }

// key opens a key and checks that the root metadata names it. A key that an interrupted rotation
// left beside is taken if it is the one.
func (r *Repository) key(root *metadata.RootType, which Key) (*signingKey, error) {
	path := r.KeyPath(which)
	k, err := openKey(path, which, r.pass)
	if err == nil && names(root, which, k.id) {
		return k, nil
	}
	if n, nerr := openKey(next(path), which, r.pass); nerr == nil && names(root, which, n.id) {
		return n, durable.Rename(next(path), path)
	}
	if err == nil {
		err = fmt.Errorf("%w: %s is not the %s that root version %d names", ErrKey, path, which, root.Version)
	}
	return nil, err
}

// names says whether the root metadata trusts a key, and no other, with all that it is for.
func names(root *metadata.RootType, which Key, id string) bool {
	for _, role := range which.roles() {
		if m := root.Roles[role]; m == nil || len(m.KeyIDs) != 1 || m.KeyIDs[0] != id || m.Threshold != 1 {
			return false
		}
	}
	return true
}

// signers opens the keys that sign.
func (r *Repository) signers(root *metadata.RootType, list ...Key) (map[Key][]*signingKey, error) {
	out := map[Key][]*signingKey{}
	for _, which := range list {
		k, err := r.key(root, which)
		if err != nil {
			return nil, err
		}
		out[which] = []*signingKey{k}
	}
	return out, nil
}

// lock waits until no other process signs.
func (r *Repository) lock(ctx context.Context) (unlock func(), err error) {
	path := filepath.Join(r.dir, "keys", ".lock")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	return lockFile(ctx, path)
}

func expiry(role string, now time.Time) time.Time {
	return now.UTC().Truncate(time.Second).Add(validity(role))
}

// stale says that less than half of the time is left.
func stale(expires time.Time, role string, now time.Time) bool {
	return expires.Sub(now) < validity(role)/2
}
