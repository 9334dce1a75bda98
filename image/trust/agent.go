package trust

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"troy/image"
	"troy/image/internal/ctxio"
)

// AgentFolder is where the boot files of the agent lie in a store's tree: VERSION/NAME, which never change, and the index of the current release.
const AgentFolder = "agent"

const (
	releaseName   = "release.json"
	maxAgentFiles = 256
	maxAgentFile  = 1 << 30 // bytes of one boot file
	maxRelease    = 128 << 10
)

// AgentRelease is the document agent/VERSION/release.json, and agent/release.json for the release that machines shall have.
type AgentRelease struct {
	// Format is 1.
	Format int `json:"format"`
	// Version is spelled as the name of an image may be.
	Version string      `json:"version"`
	Files   []AgentFile `json:"files"`
}

// AgentFile is one boot file of a release.
type AgentFile struct {
	// Name is the path in the folder of the release, with slashes.
	Name string `json:"name"`
	// Size is in bytes.
	Size   int64     `json:"size"`
	SHA256 image.Sum `json:"sha256"`
}

// Path returns the name of a file of the release in the tree: what Source.Fetch takes.
func (a *AgentRelease) Path(name string) string { return path.Join(AgentFolder, a.Version, name) }

// File returns the entry of a file, nil if the release has none of that name.
func (a *AgentRelease) File(name string) *AgentFile {
	for i := range a.Files {
		if a.Files[i].Name == name {
			return &a.Files[i]
		}
	}
	return nil
}

// Size returns the bytes of all files.
func (a *AgentRelease) Size() (n int64) {
	for _, f := range a.Files {
		n += f.Size
	}
	return n
}

func (a *AgentRelease) encode() ([]byte, error) {
	b, err := json.MarshalIndent(a, "", "  ")
	return append(b, '\n'), err
}

// parseRelease takes a document only if all names in it stay in the folder of the release.
func parseRelease(b []byte) (*AgentRelease, error) {
	var a AgentRelease
	if err := strict(b, &a); err != nil || a.Format != 1 {
		return nil, errors.New("trust: this is no release of format 1")
	}
	if err := CheckRelease(a.Version); err != nil {
		return nil, err
	}
	if len(a.Files) == 0 || len(a.Files) > maxAgentFiles {
		return nil, fmt.Errorf("trust: a release of %d files; want 1 to %d", len(a.Files), maxAgentFiles)
	}
	seen := map[string]bool{}
	for _, f := range a.Files {
		if err := checkAgentFile(f.Name, f.Size); err != nil {
			return nil, err
		}
		if low := strings.ToLower(f.Name); seen[low] { // the files may go to a FAT file system
			return nil, fmt.Errorf("trust: the release has two files %s", f.Name)
		} else {
			seen[low] = true
		}
	}
	return &a, nil
}

// CheckRelease returns image.ErrInvalid unless a version of the agent can have this name: as image.CheckName, and not release.json.
func CheckRelease(version string) error {
	if version == releaseName {
		return fmt.Errorf("%w: a release cannot be called %s", image.ErrInvalid, version)
	}
	if err := image.CheckName(version); err != nil {
		return fmt.Errorf("release of the agent: %w", err)
	}
	return nil
}

func checkAgentFile(name string, size int64) error {
	if !fs.ValidPath(name) || name == "." || name == releaseName || len(name) > 200 || strings.IndexFunc(name, foreign) >= 0 {
		return fmt.Errorf("%w: %q cannot be the name of a boot file", image.ErrInvalid, name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part[0] == '.' {
			return fmt.Errorf("%w: %q cannot be the name of a boot file: a part begins with a dot", image.ErrInvalid, name)
		}
	}
	if size <= 0 || size > maxAgentFile {
		return fmt.Errorf("%w: boot file %s of %d bytes; want 1 to %d", image.ErrInvalid, name, size, maxAgentFile)
	}
	return nil
}

// foreign says that a character may not be in the name of a boot file.
func foreign(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._-+/", r))
}

// agents is the folder of a store with the releases of the agent.
type agents struct{ dir string }

func agentsOf(store *image.Store) agents {
	return agents{filepath.Join(store.String(), AgentFolder)}
}

// lock waits until nobody else changes the releases, and clears away what was interrupted.
func (a agents) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(a.dir, 0o755); err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	unlock, err = lockFile(ctx, filepath.Join(a.dir, ".lock"))
	if err != nil {
		return nil, err
	}
	left, err := filepath.Glob(filepath.Join(a.dir, ".new-*"))
	for _, p := range left {
		err = errors.Join(err, os.RemoveAll(p))
	}
	if err != nil {
		unlock()
		return nil, fmt.Errorf("trust: %w", err)
	}
	return unlock, nil
}

// read returns a release document, and its bytes; nil if it is not there.
func (a agents) read(name string) (*AgentRelease, []byte, error) {
	f, err := os.Open(filepath.Join(a.dir, filepath.FromSlash(name)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("trust: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRelease+1))
	if err != nil {
		return nil, nil, fmt.Errorf("trust: %w", err)
	}
	if len(b) > maxRelease {
		return nil, nil, fmt.Errorf("%w: %s/%s is longer than %d bytes", ErrRepository, AgentFolder, name, maxRelease)
	}
	r, err := parseRelease(b)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %s/%s: %w", ErrRepository, AgentFolder, name, err)
	}
	return r, b, nil
}

// AgentReleases returns the releases of the agent that a store holds, signed or not, sorted by version, and the version that machines shall have ("": none).
func AgentReleases(store *image.Store) (list []*AgentRelease, current string, err error) {
	a := agentsOf(store)
	entries, err := os.ReadDir(a.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("trust: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		r, _, err := a.read(path.Join(e.Name(), releaseName))
		if err != nil {
			return nil, "", err
		}
		if r == nil || r.Version != e.Name() {
			return nil, "", fmt.Errorf("%w: the folder %s/%s is no release of that version", ErrRepository, AgentFolder, e.Name())
		}
		list = append(list, r)
	}
	r, _, err := a.read(releaseName)
	if err != nil || r == nil {
		return list, "", err
	}
	return list, r.Version, nil
}

// agent takes the releases of the agent. What is signed for the first time is hashed: a release that was damaged on the way is not signed.
func (c *collector) agent(ctx context.Context, st *state) error {
	list, current, err := AgentReleases(c.store)
	if err != nil {
		return err
	}
	a := agentsOf(c.store)
	for _, r := range list {
		_, b, err := a.read(path.Join(r.Version, releaseName))
		if err != nil {
			return err
		}
		c.files[r.Path(releaseName)] = target(int64(len(b)), sumOf(b))
		for _, f := range r.Files {
			name := r.Path(f.Name)
			c.files[name] = target(f.Size, f.SHA256[:])
			old := st.targets.Signed.Targets[name]
			known := c.dry || old != nil && old.Length == f.Size && bytes.Equal(old.Hashes["sha256"], f.SHA256[:])
			if err := a.check(ctx, r, &f, known); err != nil {
				return err
			}
		}
	}
	if current == "" {
		return nil
	}
	r, b, err := a.read(releaseName)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(o *AgentRelease) bool { return o.Version == r.Version && slices.Equal(o.Files, r.Files) }) {
		return fmt.Errorf("%w: %s/%s names release %s, which is not there or is another", ErrRepository, AgentFolder, releaseName, r.Version)
	}
	return c.document(AgentFolder+"/"+releaseName, b)
}

// check compares a boot file in the store with its entry; sizeOnly does not read it.
func (a agents) check(ctx context.Context, r *AgentRelease, f *AgentFile, sizeOnly bool) error {
	p := filepath.Join(a.dir, r.Version, filepath.FromSlash(f.Name))
	bad := func(err error) error { return fmt.Errorf("%w: %s: %w", ErrRepository, r.Path(f.Name), err) }
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
