package sign

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"troy/image"
	"troy/image/trust"
	"troy/image/trust/internal/tree"
	"troy/internal/format"
)

// TrustedKind is the format of trusted.json.
var TrustedKind = format.Kind{Name: trustedName, Number: 1, Oldest: 1}

// trustedName is the file beside the admin key.
const trustedName = "trusted.json"

// maxTrusted bounds what is read of it, in bytes.
const maxTrusted = 256 << 20

// longAgo is a time at which no signature has expired.
var longAgo time.Time

// trusted is a copy of all signed documents as they were when this folder of keys signed last, by
// their names in the tree. It is a source like the store; nothing in it is believed that does not
// follow from its first root.
type trusted struct {
	format.Head
	Files map[string][]byte `json:"files"`

	Unknown format.Unknown `json:",embed"`
}

var _ image.Documents = (*trusted)(nil)

// Get implements image.Documents.
func (t *trusted) Get(_ context.Context, name string, _ int64) ([]byte, error) {
	b, ok := t.Files[name]
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return b, nil
}

// rootName is the name of the first root in the copy; "" if there is none.
func (t *trusted) rootName() string {
	first, least := "", int64(maxNumber)
	for name := range t.Files {
		number, ok := strings.CutSuffix(strings.TrimPrefix(name, tree.Folder+"/"), ".root.json")
		if n, err := strconv.ParseInt(number, 10, 64); ok && err == nil && n > 0 && n < least {
			first, least = name, n
		}
	}
	return first
}

func (t *trusted) root() []byte { return t.Files[t.rootName()] }

// state is the state of which this is a copy, and what a client remembers of it; nil for a copy
// that has a root only.
func (t *trusted) state(ctx context.Context) (*state, *memory, error) {
	m := &memory{}
	if t.Files[tree.Folder+"/"+tree.Timestamp] == nil {
		return nil, m, nil
	}
	st, err := follow(ctx, trustedName, t, t.root(), m)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrNoTrust, err)
	}
	return st, m, nil
}

// memory is a trust.Memory that lasts as long as the program.
type memory struct{ b []byte }

// Load implements trust.Memory.
func (m *memory) Load() ([]byte, error) { return m.b, nil }

// Save implements trust.Memory.
func (m *memory) Save(b []byte) error { m.b = b; return nil }

func (r *Repository) trustedPath() string { return filepath.Join(r.keys, trustedName) }

// trusted reads what is trusted.
func (r *Repository) trusted() (*trusted, error) {
	path := r.trustedPath()
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s has no %s", ErrNoTrust, r.keys, trustedName)
	}
	if err == nil && (st.Size() > maxTrusted || !st.Mode().IsRegular()) {
		err = errors.New("is too large or no file")
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(path)
	}
	t := &trusted{}
	if err == nil {
		err = TrustedKind.Read(b, t)
	}
	if err == nil {
		err = trust.CheckRoot(t.root())
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNoTrust, path, err)
	}
	return t, nil
}

func (r *Repository) write(t *trusted) error {
	TrustedKind.Stamp(&t.Head)
	b, err := format.Marshal(t)
	if err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	return writeFile(r.trustedPath(), append(b, '\n'), 0o644)
}

// recorder keeps what is read of a folder.
type recorder struct {
	folder
	files map[string][]byte
}

// Get implements image.Documents.
func (r *recorder) Get(ctx context.Context, name string, max int64) ([]byte, error) {
	b, err := r.folder.Get(ctx, name, max)
	if err == nil {
		r.files[name] = b
	}
	return b, err
}

// remember notes beside the keys what was signed, as a client reads it back from the store.
func (r *Repository) remember(st *state) error {
	rec := &recorder{folder(r.dir), map[string][]byte{}}
	got, err := follow(context.Background(), r.dir, rec, st.roots[0], nil)
	if err == nil && (!sameTargets(got.content.files, st.content.files) || !slices.EqualFunc(got.roots, st.roots, bytes.Equal)) {
		err = errors.New("the store was changed in the meantime")
	}
	if err == nil {
		t, terr := r.trusted()
		if terr != nil {
			t = &trusted{} // it is made now
		}
		t.Files = rec.files
		err = r.write(t)
	}
	if err != nil {
		return fmt.Errorf("%w: it was signed, but could not be noted in %s: %w", ErrDoubt, r.trustedPath(), err)
	}
	return nil
}

// catchUp notes what a call that was cut off had signed, and not noted.
func (r *Repository) catchUp(st *state) error {
	t, err := r.trusted()
	if err != nil || t.Files[tree.Folder+"/"+tree.Targets(st.targets.Signed.Version)] != nil {
		return err
	}
	return r.remember(st)
}

// Trust makes a root what this folder of keys trusts, as boot media carry it; nil means the newest
// root in the store's folder, which then must be signed by the admin key. It returns ErrExists if
// the folder trusts a root already, ErrDoubt for a root that does not name the admin key, where
// that is at hand.
func (r *Repository) Trust(root []byte) error {
	if err := absent(r.trustedPath()); err != nil {
		return err
	}
	own, kerr := readKeyFile(r.KeyPath(Admin), Admin)
	if kerr != nil && !errors.Is(kerr, fs.ErrNotExist) { // it is there, so the root has to be its
		return kerr
	}
	if root == nil {
		if kerr != nil {
			return kerr
		}
		st, err := r.load()
		if err != nil {
			return err
		}
		root = st.roots[0]
	}
	t := &trusted{Files: map[string][]byte{}}
	if err := trust.CheckRoot(root); err != nil {
		return err
	}
	m, err := metadata.Root().FromBytes(root)
	if err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	if kerr == nil {
		if err := own.signedRoot(root); err != nil {
			return err
		}
	}
	t.Files[tree.Folder+"/"+tree.Root(m.Signed.Version)] = root
	return r.write(t)
}

// Root returns the newest root metadata: what boot media carry, so that a machine trusts this
// store. It follows from what is trusted beside the keys; errors: ErrNoTrust, ErrDoubt.
func (r *Repository) Root() ([]byte, error) {
	st, err := r.verified(context.Background())
	if err != nil {
		return nil, err
	}
	return bytes.Clone(st.roots[len(st.roots)-1]), nil
}

// Source returns a view of the store that lets nothing pass that the admin key did not sign, newest
// state that was trusted or newer. Whoever copies a version out of a store reads it through this.
// Errors: ErrNoTrust, ErrDoubt.
func (r *Repository) Source(ctx context.Context, store *image.Store) (*trust.Source, error) {
	t, err := r.trusted()
	if err != nil {
		return nil, err
	}
	if _, err := r.verified(ctx); err != nil {
		return nil, err
	}
	_, m, err := t.state(ctx)
	if err != nil {
		return nil, err
	}
	s, _, err := trust.Pinned(ctx, store, longAgo, &trust.PinnedOptions{Root: t.root(), Memory: m})
	if err != nil {
		return nil, doubt(err)
	}
	return s, nil
}
