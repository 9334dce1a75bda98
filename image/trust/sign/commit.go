package sign

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"troy/image/trust/internal/tree"
)

// kept is how many older snapshots and targets stay, for clients that are in the middle of reading.
const kept = 8

// commit signs and writes targets (if asked), snapshot and timestamp, in this order: clients begin
// at the timestamp, so its rename is what they see.
type commit struct {
	dir     string // of the metadata
	now     time.Time
	state   *state
	signers map[Key][]*signingKey
	targets bool // sign those of state again
	first   bool // the first of all: versions stay 1
}

func encode[T metadata.Roles](m *metadata.Metadata[T], keys []*signingKey) ([]byte, error) {
	m.ClearSignatures()
	for _, k := range keys {
		if _, err := m.Sign(k.signer); err != nil {
			return nil, fmt.Errorf("trust: signing: %w", err)
		}
	}
	return m.ToBytes(false)
}

func (c *commit) step(v *int64) {
	if !c.first {
		*v++
	}
}

func (c *commit) run() error {
	st := c.state
	if c.targets {
		c.step(&st.targets.Signed.Version)
		st.targets.Signed.Expires = expiry(metadata.TARGETS, c.now)
		b, err := encode(st.targets, c.signers[Admin])
		if err != nil {
			return err
		}
		if err := c.write(tree.Targets(st.targets.Signed.Version), b); err != nil {
			return err
		}
		st.snapshot.Signed.Meta["targets.json"] = metaFile(st.targets.Signed.Version, b)
	}
	c.step(&st.snapshot.Signed.Version)
	st.snapshot.Signed.Expires = expiry(metadata.SNAPSHOT, c.now)
	b, err := encode(st.snapshot, c.signers[Server])
	if err != nil {
		return err
	}
	if err := c.write(tree.Snapshot(st.snapshot.Signed.Version), b); err != nil {
		return err
	}
	st.timestamp.Signed.Meta["snapshot.json"] = metaFile(st.snapshot.Signed.Version, b)
	return c.timestamp()
}

func (c *commit) timestamp() error {
	c.step(&c.state.timestamp.Signed.Version)
	c.state.timestamp.Signed.Expires = expiry(metadata.TIMESTAMP, c.now)
	b, err := encode(c.state.timestamp, c.signers[Server])
	if err != nil {
		return err
	}
	return c.write(tree.Timestamp, b)
}

func (c *commit) write(name string, b []byte) error {
	return writeFile(filepath.Join(c.dir, name), b, 0o644)
}

func metaFile(version int64, b []byte) *metadata.MetaFiles {
	m := metadata.MetaFile(version)
	m.Length, m.Hashes = int64(len(b)), metadata.Hashes{"sha256": sumOf(b)}
	return m
}

// prune removes metadata that no client needs any more. What cannot be removed stays: it does no
// harm.
func (r *Repository) prune(st *state) {
	names, err := os.ReadDir(r.path(""))
	if err != nil {
		return
	}
	used := map[string]bool{}
	for _, e := range names {
		number, kind, _ := strings.Cut(e.Name(), ".")
		n, err := strconv.ParseInt(number, 10, 64)
		switch {
		case err != nil:
		case kind == "snapshot.json" && n < st.snapshot.Signed.Version-kept, kind == "targets.json" && n < st.targets.Signed.Version-kept:
			os.Remove(r.path(e.Name()))
		case kind == "targets.json":
			t, err := read(r, e.Name(), metadata.Targets())
			if err != nil {
				return
			}
			for name, f := range t.Signed.Targets {
				used[filepath.FromSlash(tree.Copy(name, f.Hashes["sha256"]))] = true
			}
		}
	}
	r.pruneDocuments(used)
}

func (r *Repository) pruneDocuments(used map[string]bool) {
	top := r.path("")
	_ = filepath.WalkDir(filepath.Join(top, "targets"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if rel, err := filepath.Rel(top, p); err == nil && !used[rel] {
			os.Remove(p)
		}
		return nil
	})
}

// putDocument stores the signed copy of a document that can change.
func (r *Repository) putDocument(target string, b []byte) error {
	path := r.path(tree.Copy(target, sumOf(b)))
	if _, err := os.Stat(path); err == nil {
		return nil // its name says what is in it
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("trust: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	return writeFile(path, b, 0o644)
}
