package sign

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"troy/image/trust/internal/tree"
	"troy/internal/durable"
	"troy/internal/errline"
)

// Init makes both keys and the first metadata, which signs nothing yet, for the store in dir, and
// notes that they are trusted. It returns ErrExists if there is metadata, a key, or trust in
// another store already. Interrupted, it goes on when it is called again: until all is there, the
// keys have the names that Rotate gives to new ones.
func Init(dir string, now time.Time, o *Options) (*Repository, error) {
	r := newRepository(dir, o)
	begun, err := r.begun()
	if err != nil {
		return nil, err
	}
	if !begun {
		err = r.begin(now)
	}
	if err == nil {
		err = r.name()
	}
	return r, err
}

// begun tells whether an Init was cut when the first metadata was there: it is of a new admin key,
// and nothing was signed after it.
func (r *Repository) begun() (bool, error) {
	if err := absent(r.KeyPath(Admin)); err != nil {
		return false, err
	}
	err := absent(r.path(""))
	if err == nil {
		return false, absent(r.trustedPath())
	}
	if !errors.Is(err, ErrExists) {
		return false, err
	}
	own, kerr := readKeyFile(next(r.KeyPath(Admin)), Admin)
	if errors.Is(kerr, fs.ErrNotExist) {
		return false, err
	}
	st, lerr := r.load()
	if err := errline.Join(kerr, lerr); err != nil {
		return false, err
	}
	if err := own.signedRoot(st.roots[0]); err != nil {
		return false, err
	}
	t, err := r.trusted()
	if errors.Is(err, ErrNoTrust) {
		return true, r.write(&trusted{Files: map[string][]byte{tree.Folder + "/" + tree.Root(1): st.roots[0]}})
	}
	if err == nil {
		err = own.signedRoot(t.root())
	}
	return true, err
}

// begin makes what name then gives its names.
func (r *Repository) begin(now time.Time) error {
	st := &state{root: metadata.Root(expiry(metadata.ROOT, now)), targets: metadata.Targets(expiry(metadata.TARGETS, now)),
		snapshot: metadata.Snapshot(), timestamp: metadata.Timestamp(), content: newContent()}
	st.root.Signed.UnrecognizedFields = map[string]any{tree.StoreField: rand.Text()}
	signers := map[Key][]*signingKey{}
	for _, which := range []Key{Admin, Server} {
		k, err := r.makeKey(which, next(r.KeyPath(which)))
		if err != nil {
			return err
		}
		for _, role := range which.roles() {
			if err := st.root.Signed.AddKey(k.key, role); err != nil {
				return err
			}
		}
		signers[which] = []*signingKey{k}
	}
	tmp := filepath.Join(r.dir, "."+tree.Folder)
	if err := errline.Join(os.RemoveAll(tmp), os.Mkdir(tmp, 0o755)); err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	root, err := encode(st.root, signers[Admin])
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(tmp, tree.Root(1)), root, 0o644); err != nil {
		return err
	}
	if err := (&commit{dir: tmp, now: now, state: st, signers: signers, targets: true, first: true}).run(); err != nil {
		return err
	}
	if err := durable.Rename(tmp, r.path("")); err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	st.roots = [][]byte{root}
	return r.remember(st)
}

// name gives the keys their names, the admin's last: with it all is done.
func (r *Repository) name() error {
	for _, which := range []Key{Server, Admin} {
		err := durable.Rename(next(r.KeyPath(which)), r.KeyPath(which))
		if err != nil && !(which == Server && errors.Is(err, fs.ErrNotExist)) { // it has its name
			return fmt.Errorf("trust: %w", err)
		}
	}
	return nil
}

// makeKey generates a key and puts it into a file, in place of one that nothing was signed with.
func (r *Repository) makeKey(which Key, path string) (*signingKey, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	var passphrase []byte
	if which == Admin && r.seal != nil {
		var err error
		if passphrase, err = r.seal(); err != nil {
			return nil, err
		}
	}
	k, err := generateKey()
	if err != nil {
		return nil, err
	}
	b, err := k.seal(which, passphrase)
	if err != nil {
		return nil, err
	}
	return k, writeFile(path, b, 0o600)
}
