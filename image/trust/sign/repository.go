package sign

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"troy/image/trust/internal/tree"
	"troy/internal/durable"
	"troy/internal/errline"
)

// Role is one of the four top-level roles of TUF.
type Role string

// The roles. The keys of Root and Targets are the admin's; those of Snapshot and Timestamp lie in
// the store, so that it can be kept fresh.
const (
	Root      Role = metadata.ROOT
	Targets   Role = metadata.TARGETS
	Snapshot  Role = metadata.SNAPSHOT
	Timestamp Role = metadata.TIMESTAMP
)

var roles = [...]Role{Root, Targets, Snapshot, Timestamp}

const day = 24 * time.Hour

// validity is how long a signature of a role holds.
func (r Role) validity() time.Duration {
	switch r {
	case Root:
		return 5 * 365 * day
	case Targets:
		return 2 * 365 * day
	case Snapshot:
		return 60 * day
	}
	return 14 * day
}

func (r Role) online() bool { return r == Snapshot || r == Timestamp }

// Options of a repository. The zero value is right.
type Options struct {
	// Keys is the folder with root.key and targets.key; "" means keys/ in the store's folder.
	Keys string
	// Passphrase gives that of the root and targets keys. It is asked once, when a sealed key is
	// opened or made; nil or an empty answer makes open keys.
	Passphrase func() ([]byte, error)
	// NewPassphrase, if not nil, is asked instead, once, when a key is made and Passphrase was not
	// needed before.
	NewPassphrase func() ([]byte, error)
}

// Repository is the signed side of a store's folder. Its methods may be used by several processes
// at once: they wait for each other.
type Repository struct {
	dir  string
	keys string
	pass func() ([]byte, error) // to open keys
	seal func() ([]byte, error) // to make keys
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
	r.pass, r.seal = ask(o.Passphrase), ask(o.NewPassphrase)
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

// Init makes four keys and the first metadata, which signs nothing yet, for the store in dir. It
// returns ErrExists if there is metadata or a key already. Interrupted, it leaves keys but no
// metadata: remove those and call it again.
func Init(dir string, now time.Time, o *Options) (*Repository, error) {
	r := newRepository(dir, o)
	if _, err := os.Lstat(r.path("")); err == nil {
		return nil, fmt.Errorf("%w: %s", ErrExists, r.path(""))
	}
	st := &state{root: metadata.Root(expiry(Root, now)), targets: metadata.Targets(expiry(Targets, now)),
		snapshot: metadata.Snapshot(), timestamp: metadata.Timestamp()}
	st.root.Signed.UnrecognizedFields = map[string]any{tree.StoreField: rand.Text()}
	signers := map[Role][]*signingKey{}
	for _, role := range roles {
		k, err := r.makeKey(role, r.keyPath(role))
		if err != nil {
			return nil, err
		}
		if err := st.root.Signed.AddKey(k.key, string(role)); err != nil {
			return nil, err
		}
		signers[role] = []*signingKey{k}
	}
	tmp := filepath.Join(dir, "."+tree.Folder)
	if err := errline.Join(os.RemoveAll(tmp), os.Mkdir(tmp, 0o755)); err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	root, err := encode(st.root, signers[Root])
	if err != nil {
		return nil, err
	}
	if err := writeFile(filepath.Join(tmp, tree.Root(1)), root, 0o644); err != nil {
		return nil, err
	}
	if err := (&commit{dir: tmp, now: now, state: st, signers: signers, targets: true, first: true}).run(); err != nil {
		return nil, err
	}
	if err := durable.Rename(tmp, r.path("")); err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	return r, nil
}

// Open opens the signed side of the store in dir. It returns ErrUnsigned if there is none. No key
// is needed before something is signed.
func Open(dir string, o *Options) (*Repository, error) {
	r := newRepository(dir, o)
	if _, err := os.Stat(r.path("")); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s has no folder %s", ErrUnsigned, dir, tree.Folder)
	} else if err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	_, err := r.load()
	return r, err
}

func (r *Repository) path(name string) string {
	return filepath.Join(r.dir, tree.Folder, filepath.FromSlash(name))
}

func (r *Repository) keyPath(role Role) string {
	if role.online() {
		return filepath.Join(r.dir, "keys", "online", string(role)+".key")
	}
	return filepath.Join(r.keys, string(role)+".key")
}

// KeyPath returns the file in which the key of a role is looked for.
func (r *Repository) KeyPath(role Role) string { return r.keyPath(role) }

// makeKey generates a key and puts it into a file that must not be there.
func (r *Repository) makeKey(role Role, path string) (*signingKey, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("%w: %s", ErrExists, path)
	}
	var passphrase []byte
	if !role.online() && r.seal != nil {
		var err error
		if passphrase, err = r.seal(); err != nil {
			return nil, err
		}
	}
	k, err := generateKey()
	if err != nil {
		return nil, err
	}
	b, err := k.seal(role, passphrase)
	if err != nil {
		return nil, err
	}
	return k, writeFile(path, b, 0o600)
}

// next is where a rotation keeps the new key until the root metadata names it.
func next(path string) string { return path + ".new" }

// key opens the key of a role and checks that the root metadata names it. A key that an interrupted
// rotation left beside is taken if it is the one.
func (r *Repository) key(st *state, role Role) (*signingKey, error) {
	path := r.keyPath(role)
	k, err := openKey(path, role, r.pass)
	if err == nil && st.names(role, k) {
		return k, nil
	}
	if n, nerr := openKey(next(path), role, r.pass); nerr == nil && st.names(role, n) {
		return n, durable.Rename(next(path), path)
	}
	if err == nil {
		err = fmt.Errorf("%w: %s is not the %s key that root version %d names", ErrKey, path, role, st.root.Signed.Version)
	}
	return nil, err
}

// CheckKeys makes sure that Sign will have the keys it needs: ask before the long work. Its errors
// are in ErrKey.
func (r *Repository) CheckKeys() error {
	st, err := r.load()
	if err != nil {
		return err
	}
	for _, role := range roles[1:] {
		if _, err := r.key(st, role); err != nil {
			return err
		}
	}
	return nil
}

// Root returns the newest root metadata: what boot media carry, so that a machine trusts this
// store.
func (r *Repository) Root() ([]byte, error) {
	st, err := r.load()
	if err != nil {
		return nil, err
	}
	return st.rootBytes, nil
}

// lock waits until no other process signs.
func (r *Repository) lock(ctx context.Context) (unlock func(), err error) {
	return lockFile(ctx, filepath.Join(r.dir, "keys", ".lock"))
}

// state is what is signed now.
type state struct {
	root      *metadata.Metadata[metadata.RootType]
	rootBytes []byte
	timestamp *metadata.Metadata[metadata.TimestampType]
	snapshot  *metadata.Metadata[metadata.SnapshotType]
	targets   *metadata.Metadata[metadata.TargetsType]
}

// load reads what the newest timestamp leads to. Signatures of the admin's own store are not
// checked but for the root's own.
func (r *Repository) load() (*state, error) {
	st := &state{}
	for n := int64(1); ; n++ {
		b, err := os.ReadFile(r.path(tree.Root(n)))
		if errors.Is(err, fs.ErrNotExist) && n > 1 {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrRepository, err)
		}
		t, err := trustedmetadata.New(b)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrRepository, tree.Root(n), err)
		}
		st.root, st.rootBytes = t.Root, b
	}
	var err error
	if st.timestamp, err = read(r, tree.Timestamp, metadata.Timestamp()); err != nil {
		return nil, err
	}
	if m := st.timestamp.Signed.Meta["snapshot.json"]; m == nil {
		return nil, fmt.Errorf("%w: %s names no snapshot", ErrRepository, tree.Timestamp)
	} else if st.snapshot, err = read(r, tree.Snapshot(m.Version), metadata.Snapshot()); err != nil {
		return nil, err
	}
	if m := st.snapshot.Signed.Meta["targets.json"]; m == nil {
		return nil, fmt.Errorf("%w: the snapshot names no targets", ErrRepository)
	} else if st.targets, err = read(r, tree.Targets(m.Version), metadata.Targets()); err != nil {
		return nil, err
	}
	return st, nil
}

func read[T metadata.Roles](r *Repository, name string, m *metadata.Metadata[T]) (*metadata.Metadata[T], error) {
	b, err := os.ReadFile(r.path(name))
	if err == nil {
		m, err = m.FromBytes(b)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrRepository, name, err)
	}
	return m, nil
}

// names says whether the root metadata trusts a key for a role.
func (st *state) names(role Role, k *signingKey) bool {
	if m := st.root.Signed.Roles[string(role)]; m != nil {
		for _, id := range m.KeyIDs {
			if id == k.id {
				return true
			}
		}
	}
	return false
}

func expiry(r Role, now time.Time) time.Time {
	return now.UTC().Truncate(time.Second).Add(r.validity())
}

func sumOf(b []byte) []byte {
	s := sha256.Sum256(b)
	return s[:]
}
