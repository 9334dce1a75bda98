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
	"path"
	"path/filepath"
	"slices"
	"strings"

	"troy/chainload/release"
	"troy/image"
	"troy/image/internal/ctxio"
	"troy/image/trust"
	"troy/image/trust/internal/tree"
	"troy/internal/errline"
)

// agents is the folder of a store with the releases of the agent.
type agents struct{ dir string }

func agentsOf(store *image.Store) agents {
	return agents{filepath.Join(store.String(), tree.Agent)}
}

// lock waits until no other process changes the releases, and clears away what was interrupted.
func (a agents) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(a.dir, 0o755); err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	unlock, err = lockFile(ctx, filepath.Join(a.dir, ".lock"))
	if err != nil {
		return nil, err
	}
	if err := a.clear(); err != nil {
		unlock()
		return nil, fmt.Errorf("trust: %w", err)
	}
	return unlock, nil
}

// clear removes what was interrupted: folders of releases, and files.
func (a agents) clear() error {
	for _, pattern := range []string{".new-*", ".*.part"} {
		left, err := filepath.Glob(filepath.Join(a.dir, pattern))
		for _, p := range left {
			err = errline.Join(err, os.RemoveAll(p))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// read returns a release document, and its bytes; nil if it is not there.
func (a agents) read(name string) (*trust.AgentRelease, []byte, error) {
	f, err := os.Open(filepath.Join(a.dir, filepath.FromSlash(name)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("trust: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, tree.MaxRelease+1))
	if err != nil {
		return nil, nil, fmt.Errorf("trust: %w", err)
	}
	if len(b) > tree.MaxRelease {
		return nil, nil, fmt.Errorf("%w: %s/%s is longer than %d bytes", ErrDoubt, tree.Agent, name, tree.MaxRelease)
	}
	r, err := trust.ParseRelease(b)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %s/%s: %w", ErrDoubt, tree.Agent, name, err)
	}
	return r, b, nil
}

// AgentReleases returns the releases of the agent that a store holds, signed or not, sorted by
// version, and the current version ("": none).
func AgentReleases(store *image.Store) (list []*trust.AgentRelease, current string, err error) {
	a := agentsOf(store)
	entries, err := os.ReadDir(a.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("trust: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		r, _, err := a.read(path.Join(e.Name(), release.Document))
		if err != nil {
			return nil, "", err
		}
		if r == nil || r.Version != e.Name() {
			return nil, "", fmt.Errorf("%w: the folder %s/%s is no release of that version", ErrDoubt, tree.Agent, e.Name())
		}
		list = append(list, r)
	}
	r, _, err := a.read(release.Document)
	if err != nil || r == nil {
		return list, "", err
	}
	return list, r.Version, nil
}

// agent takes the releases of the agent. What is signed for the first time is hashed: a release
// that was damaged on the way is not signed.
func (c *collector) agent(ctx context.Context) error {
	list, current, err := AgentReleases(c.store)
	if err != nil {
		return err
	}
	a := agentsOf(c.store)
	for _, r := range list {
		_, b, err := a.read(path.Join(r.Version, release.Document))
		if err != nil {
			return err
		}
		c.after.add(r.Path(release.Document), b)
		for _, f := range r.Files {
			name := r.Path(f.Name)
			c.after.files[name] = target(f.Size, f.SHA256[:])
			old := c.before.files[name]
			known := !c.hash || old != nil && old.Length == f.Size && bytes.Equal(old.Hashes["sha256"], f.SHA256[:])
			if err := a.check(ctx, r, &f, known); err != nil {
				return err
			}
		}
	}
	if current == "" {
		return nil
	}
	r, b, err := a.read(release.Document)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(o *trust.AgentRelease) bool { return o.Version == r.Version && slices.Equal(o.Files, r.Files) }) {
		return fmt.Errorf("%w: %s/%s names release %s, which is not there or is another", ErrDoubt, tree.Agent, release.Document, r.Version)
	}
	c.after.add(tree.Releases, b)
	return nil
}

// check compares a boot file in the store with its entry; sizeOnly does not read it.
func (a agents) check(ctx context.Context, r *trust.AgentRelease, f *release.File, sizeOnly bool) error {
	p := filepath.Join(a.dir, r.Version, filepath.FromSlash(f.Name))
	bad := func(err error) error { return fmt.Errorf("%w: %s: %w", ErrDoubt, r.Path(f.Name), err) }
	st, err := os.Lstat(p)
	if err != nil {
		return bad(err)
	}
	if !st.Mode().IsRegular() || st.Size() != f.Size {
		return bad(fmt.Errorf("is no file of %d bytes", f.Size))
	}
	if sizeOnly {
		return nil
	}
	in, err := os.Open(p)
	if err != nil {
		return bad(err)
	}
	defer in.Close()
	h := sha256.New()
	if _, err := io.Copy(h, ctxio.Reader(ctx, in)); err != nil {
		return bad(err)
	}
	if !bytes.Equal(h.Sum(nil), f.SHA256[:]) {
		return bad(errors.New("its SHA-256 is not that of the release"))
	}
	return nil
}
