package sign

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"troy/chainload/release"
	"troy/image"
	"troy/image/internal/ctxio"
	"troy/image/trust"
	"troy/internal/digest"
	"troy/internal/durable"
	"troy/internal/errline"
)

// PublishAgent copies boot files into the store as a release of the agent and makes it the
// current one. names are files in the folder from; none means all of them, with those in
// folders in it. The release exists whole or not at all; Repository.Sign lets machines see it. It
// returns image.ErrExists if there is a release of that version, image.ErrInvalid for a name that
// cannot be published.
func PublishAgent(ctx context.Context, store *image.Store, version, from string, names ...string) (*trust.AgentRelease, error) {
	if err := trust.CheckRelease(version); err != nil {
		return nil, err
	}
	if len(names) == 0 {
		var err error
		if names, err = filesIn(from); err != nil {
			return nil, err
		}
	}
	if len(names) == 0 || len(names) > release.MaxFiles {
		return nil, fmt.Errorf("%w: %d files in %s; a release has 1 to %d", image.ErrInvalid, len(names), from, release.MaxFiles)
	}
	a := agentsOf(store)
	unlock, err := a.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	to := filepath.Join(a.dir, version)
	if err := absent(to); errors.Is(err, ErrExists) {
		return nil, fmt.Errorf("%w: release %s of the agent", image.ErrExists, version)
	} else if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp(a.dir, ".new-*")
	if err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	defer os.RemoveAll(tmp)
	r := &trust.AgentRelease{Release: release.Release{Version: version}}
	if err := take(ctx, r, tmp, from, names); err != nil {
		return nil, err
	}
	if err := errline.Join(os.Chmod(tmp, 0o755), durable.Rename(tmp, to)); err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	return r, a.use(r)
}

// filesIn lists the files under a folder, with slashes, sorted.
func filesIn(dir string) (names []string, err error) {
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		names = append(names, filepath.ToSlash(rel))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	return names, nil
}

// take copies the files and writes the document, all of it durable.
func take(ctx context.Context, r *trust.AgentRelease, tmp, from string, names []string) error {
	folders := map[string]bool{tmp: true}
	for _, name := range names {
		if err := release.CheckName(name); err != nil {
			return invalid(err)
		}
		to := filepath.Join(tmp, filepath.FromSlash(name))
		for d := filepath.Dir(to); !folders[d]; d = filepath.Dir(d) {
			folders[d] = true
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return fmt.Errorf("trust: %w", err)
		}
		size, sum, err := copyFile(ctx, to, filepath.Join(from, filepath.FromSlash(name)))
		if err != nil {
			return fmt.Errorf("trust: %s: %w", name, err)
		}
		f := release.File{Name: name, Size: size, SHA256: sum}
		if err := f.Check(); err != nil {
			return invalid(err)
		}
		r.Files = append(r.Files, f)
	}
	slices.SortFunc(r.Files, func(x, y release.File) int { return strings.Compare(x.Name, y.Name) })
	if err := r.Check(); err != nil {
		return invalid(err)
	}
	b, err := r.Encode()
	if err == nil {
		err = durable.WriteFile(filepath.Join(tmp, release.Document), b, 0o644)
	}
	for d := range folders {
		err = errline.Join(err, durable.SyncDir(d))
	}
	if err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	return nil
}

func invalid(err error) error { return fmt.Errorf("%w: %w", image.ErrInvalid, err) }

// copyFile copies a regular file, durably, and returns what it is. It stops when the file is larger
// than a boot file may be.
func copyFile(ctx context.Context, to, from string) (size int64, sum digest.Sum, err error) {
	if st, err := os.Stat(from); err != nil {
		return 0, sum, err
	} else if !st.Mode().IsRegular() { // before it is opened: a FIFO would wait
		return 0, sum, fmt.Errorf("%w: is no file", image.ErrInvalid)
	}
	in, err := os.Open(from)
	if err != nil {
		return 0, sum, err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, sum, err
	}
	h := sha256.New()
	size, err = io.Copy(io.MultiWriter(out, h), io.LimitReader(ctxio.Reader(ctx, in), release.MaxFile+1))
	return size, digest.Sum(h.Sum(nil)), errline.Join(err, out.Sync(), out.Close())
}

// use writes the index.
func (a agents) use(r *trust.AgentRelease) error {
	b, err := r.Encode()
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(a.dir, release.Document), b, 0o644)
}

// UseAgent makes a release of the store, also an older one, the current one.
// Repository.Sign lets them see it. It returns image.ErrNotFound if there is none.
func UseAgent(ctx context.Context, store *image.Store, version string) error {
	a := agentsOf(store)
	unlock, err := a.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	list, _, err := AgentReleases(store)
	if err != nil {
		return err
	}
	for _, r := range list {
		if r.Version == version {
			return a.use(r)
		}
	}
	return noRelease(version)
}

func noRelease(version string) error {
	return fmt.Errorf("%w: the store has no release %q of the agent", image.ErrNotFound, version)
}

// RemoveAgent removes a release. The current one can be removed only when it is
// the last, else it returns image.ErrInvalid: UseAgent another first. It returns image.ErrNotFound
// if there is none.
func RemoveAgent(ctx context.Context, store *image.Store, version string) error {
	a := agentsOf(store)
	unlock, err := a.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	list, current, err := AgentReleases(store)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(r *trust.AgentRelease) bool { return r.Version == version }) {
		return noRelease(version)
	}
	if version == current && len(list) > 1 {
		return fmt.Errorf("%w: %s is the current agent release", image.ErrInvalid, version)
	}
	if version == current {
		if err := errline.Join(os.Remove(filepath.Join(a.dir, release.Document)), durable.SyncDir(a.dir)); err != nil {
			return fmt.Errorf("trust: %w", err)
		}
	}
	tmp, err := os.MkdirTemp(a.dir, ".new-*") // what begins so is cleared away by the next call
	if err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	if err := errline.Join(os.Rename(filepath.Join(a.dir, version), filepath.Join(tmp, version)), durable.SyncDir(a.dir), os.RemoveAll(tmp)); err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	return nil
}
