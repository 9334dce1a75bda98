package sign

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"troy/image"
	"troy/image/trust"
	"troy/image/trust/internal/tree"
)

// maxNumber bounds the version numbers of metadata: whoever has the server's key could else use
// them up.
const maxNumber = 1 << 31

// state is what is signed.
type state struct {
	root      *metadata.Metadata[metadata.RootType]
	timestamp *metadata.Metadata[metadata.TimestampType]
	snapshot  *metadata.Metadata[metadata.SnapshotType]
	targets   *metadata.Metadata[metadata.TargetsType]

	roots   [][]byte // from the first that is trusted to root; of the folder as it is, root alone
	content *content // only of what was verified
}

// folder reads the documents of a store's folder.
type folder string

// Get implements image.Documents.
func (f folder) Get(_ context.Context, name string, max int64) ([]byte, error) {
	p := filepath.Join(string(f), filepath.FromSlash(name))
	if st, err := os.Stat(p); err != nil {
		return nil, err
	} else if !st.Mode().IsRegular() { // before it is opened: a FIFO would wait
		return nil, fmt.Errorf("%w: %s is no file", ErrDoubt, p)
	}
	in, err := os.Open(p)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	b, err := io.ReadAll(io.LimitReader(in, max+1))
	if err == nil && int64(len(b)) > max {
		err = fmt.Errorf("%w: %s is longer than %d bytes", ErrDoubt, p, max)
	}
	return b, err
}

// verified reads what the store holds as signed, following from what was trusted last. Its errors
// are ErrNoTrust and ErrDoubt. Signatures that have expired are good enough: the admin is about to
// renew them, and is never led back.
func (r *Repository) verified(ctx context.Context) (*state, error) {
	t, err := r.trusted()
	if err != nil {
		return nil, err
	}
	last, memory, err := t.state(ctx)
	if err != nil {
		return nil, err
	}
	st, err := follow(ctx, r.dir, folder(r.dir), t.root(), memory)
	if err == nil {
		err = st.after(last, r.dir)
	}
	if err != nil {
		return st, doubt(err)
	}
	if err := r.own(&st.root.Signed); err != nil {
		return st, err
	}
	if last != nil {
		st.content.fill(last.content)
	}
	return st, nil
}

// own refuses a root that does not name the admin key, where that is at hand: then somebody has
// changed what lies beside it, or the key was replaced.
func (r *Repository) own(root *metadata.RootType) error {
	path := r.KeyPath(Admin)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, p := range []string{path, next(path)} {
		if f, err := readKeyFile(p, Admin); err == nil && f.named(root) {
			return nil
		}
	}
	return fmt.Errorf("%w: %s is not the %s that root version %d names", ErrKey, path, Admin, root.Version)
}

// follow reads the signed state of a source. On an error the state has at least root and roots.
func follow(ctx context.Context, name string, src image.Documents, root []byte, m *memory) (*state, error) {
	if m == nil {
		m = &memory{}
	}
	chain, err := trust.Follow(ctx, name, src, longAgo, &trust.PinnedOptions{Root: root, Memory: m})
	if chain == nil {
		return nil, err
	}
	st := &state{root: chain.Metadata.Root, roots: chain.Roots}
	if err != nil {
		return st, err
	}
	if err := st.take(ctx, name, src, chain.Metadata); err != nil {
		return st, err
	}
	return st, st.sane()
}

// take reads the documents that the metadata names.
func (st *state) take(ctx context.Context, name string, src image.Documents, t *trustedmetadata.TrustedMetadata) error {
	st.timestamp, st.snapshot, st.targets = t.Timestamp, t.Snapshot, t.Targets[metadata.TARGETS]
	first := st.root.Signed.Version - int64(len(st.roots)) + 1
	for i, b := range st.roots {
		file := tree.Folder + "/" + tree.Root(first+int64(i))
		got, err := src.Get(ctx, file, int64(len(b)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if !bytes.Equal(got, b) {
			return fmt.Errorf("%s of %s is not the root that the admin key signed", file, name)
		}
	}
	c := newContent()
	for target, f := range st.targets.Signed.Targets {
		c.files[target] = f
		if !isDocument(target) {
			continue
		}
		at := target
		if tree.Changes(target) {
			at = tree.Folder + "/" + tree.Copy(target, f.Hashes["sha256"])
		}
		b, err := src.Get(ctx, at, min(f.Length, tree.MaxDocument))
		if err == nil {
			err = f.VerifyLengthHashes(b)
		}
		if err != nil && tree.Changes(target) {
			return fmt.Errorf("%s of %s is not what was signed: %w", at, name, err)
		}
		if err == nil { // else its owner may have removed it: the collector tells
			c.docs[target] = b
		}
	}
	st.content = c
	return nil
}

// sane refuses version numbers that leave no room for further ones.
func (st *state) sane() error {
	for name, n := range map[string]int64{tree.Timestamp: st.timestamp.Signed.Version, "the snapshot": st.snapshot.Signed.Version,
		"the list of targets": st.targets.Signed.Version, "the root": st.root.Signed.Version} {
		if n < 1 || n > maxNumber {
			return fmt.Errorf("%s has the version number %d: allowed are 1 to %d", name, n, maxNumber)
		}
	}
	return nil
}

// after refuses a state that is older than the one that was trusted last; nil = none was.
func (st *state) after(last *state, name string) error {
	if last == nil {
		return nil
	}
	was, is := last.targets.Signed.Version, st.targets.Signed.Version
	if is < was || is == was && !sameTargets(st.content.files, last.content.files) {
		return fmt.Errorf("%s has version %d of what the admin key signed, and these keys have seen version %d or another one", name, is, was)
	}
	return nil
}

// load reads what the newest timestamp of the folder leads to and believes it: for the server,
// which knows of no other root and signs nothing that machines take.
func (r *Repository) load() (*state, error) {
	st := &state{}
	for n := int64(1); ; n++ {
		b, err := os.ReadFile(r.path(tree.Root(n)))
		if errors.Is(err, fs.ErrNotExist) && n > 1 {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDoubt, err)
		}
		t, err := trustedmetadata.New(b)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrDoubt, tree.Root(n), err)
		}
		st.root, st.roots = t.Root, [][]byte{b}
	}
	var err error
	if st.timestamp, err = read(r, tree.Timestamp, metadata.Timestamp()); err != nil {
		return nil, err
	}
	if m := st.timestamp.Signed.Meta["snapshot.json"]; m == nil {
		return nil, fmt.Errorf("%w: %s names no snapshot", ErrDoubt, tree.Timestamp)
	} else if st.snapshot, err = read(r, tree.Snapshot(m.Version), metadata.Snapshot()); err != nil {
		return nil, err
	}
	if m := st.snapshot.Signed.Meta["targets.json"]; m == nil {
		return nil, fmt.Errorf("%w: the snapshot names no targets", ErrDoubt)
	} else if st.targets, err = read(r, tree.Targets(m.Version), metadata.Targets()); err != nil {
		return nil, err
	}
	if err := st.sane(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDoubt, err)
	}
	return st, nil
}

func read[T metadata.Roles](r *Repository, name string, m *metadata.Metadata[T]) (*metadata.Metadata[T], error) {
	b, err := os.ReadFile(r.path(name))
	if err == nil {
		m, err = m.FromBytes(b)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDoubt, name, err)
	}
	return m, nil
}

func sumOf(b []byte) []byte {
	s := sha256.Sum256(b)
	return s[:]
}
