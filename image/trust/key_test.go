package trust_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/image/publish"
	"troy/image/trust"
)

// TestRotate gives each role a new key, some twice; clients follow from any root, and never go back.
func TestRotate(t *testing.T) {
	m := newRoom(t, nil)
	roots, mem := [][]byte{m.root()}, &memory{}
	m.wantVersion(1, roots[0], mem, start)
	for i, role := range []trust.Role{trust.Timestamp, trust.Snapshot, trust.Targets, trust.Root, trust.Root, trust.Targets} {
		m.must(m.repo.Rotate(t.Context(), role, start))
		roots = append(roots, m.root())
		for _, root := range roots {
			m.wantVersion(i+1, root, nil, start)
			m.wantVersion(i+1, root, mem, start)
		}
		m.publish()
		m.sign(start)
		m.wantVersion(i+2, roots[0], mem, start)
	}
	// Whoever hides the newest roots is found out by memory, with media of any age.
	says := map[string][]byte{trust.Folder + "/7.root.json": nil}
	for _, root := range roots[:6] {
		if _, err := m.sees(root, &memory{nil}, m.attacked(says), start); err == nil {
			t.Error("targets signed by a key that no root names are trusted")
		}
	}
	if v, err := m.sees(roots[0], mem, m.attacked(says), start); v != 7 || err != nil {
		t.Errorf("with all roots in memory: version %d, %v", v, err)
	}
	other := newRoom(t, nil) // new media of a new store: the memory of the old one does not count
	other.wantVersion(1, other.root(), mem, start)
	other.wantVersion(1, other.root(), mem, start)
}

// TestHiddenRoot: the memory of an older medium knows of a root that a source keeps back.
func TestHiddenRoot(t *testing.T) {
	m := newRoom(t, nil)
	first := m.root()
	before := m.files()
	m.must(m.repo.Rotate(t.Context(), trust.Root, start))
	second := m.root()
	m.must(m.repo.Rotate(t.Context(), trust.Root, start))
	mem := &memory{}
	m.wantVersion(1, second, mem, start) // remembers root 3 only
	before[trust.Folder+"/2.root.json"], before[trust.Folder+"/3.root.json"] = nil, nil
	if _, err := m.sees(first, mem, m.attacked(before), start); !errors.Is(err, trust.ErrRollback) {
		t.Errorf("hidden roots: %v", err)
	}
	m.wantVersion(1, first, mem, start)
}

// TestLostTargetsKey: the admin who lost it needs the root key only.
func TestLostTargetsKey(t *testing.T) {
	keys := t.TempDir()
	m := newRoom(t, &trust.Options{Keys: keys})
	root, mem := m.root(), &memory{}
	m.must(os.Remove(filepath.Join(keys, "targets.key")))
	m.publish()
	if err := m.repo.CheckKeys(); !errors.Is(err, trust.ErrKey) {
		t.Errorf("CheckKeys: %v", err)
	}
	if _, err := m.repo.Sign(t.Context(), m.store, start); !errors.Is(err, trust.ErrKey) {
		t.Errorf("Sign: %v", err)
	}
	m.wantVersion(1, root, mem, start)
	if _, err := m.repo.RefreshTimestamp(t.Context(), start.Add(10*day)); err != nil {
		t.Errorf("the server needs the admin's keys: %v", err)
	}
	m.must(m.repo.Rotate(t.Context(), trust.Targets, start))
	m.must(m.repo.CheckKeys())
	m.sign(start)
	m.wantVersion(2, root, mem, start)
	m.must(os.Remove(filepath.Join(keys, "root.key")))
	if err := m.repo.Rotate(t.Context(), trust.Snapshot, start); !errors.Is(err, trust.ErrKey) {
		t.Errorf("rotation without the root key: %v", err)
	}
}

// TestInterrupted puts the store into the states between the writes of signing and of rotations: clients see old or new, and the next call ends it.
func TestInterrupted(t *testing.T) {
	m := newRoom(t, nil)
	root, before := m.root(), m.files()
	m.publish()
	m.sign(start)
	after := m.files()
	says := map[string][]byte{}
	for name := range after {
		if before[name] == nil {
			says[name] = nil
		}
	}
	says[trust.Folder+"/timestamp.json"] = before[trust.Folder+"/timestamp.json"]
	for _, name := range []string{"/targets/", ".targets.json", ".snapshot.json"} {
		if got, err := m.sees(root, nil, m.attacked(says), start); got != 1 || err != nil {
			t.Fatalf("before %s is there: version %d, %v", name, got, err)
		}
		for n := range says {
			if strings.Contains(n, name) {
				says[n] = after[n]
			}
		}
	}
	if got, err := m.sees(root, nil, m.attacked(says), start); got != 1 || err != nil {
		t.Fatalf("before the timestamp: version %d, %v", got, err)
	}
	for _, role := range []trust.Role{trust.Root, trust.Targets, trust.Snapshot, trust.Timestamp} {
		for _, state := range []string{"root metadata not written", "key not in place"} {
			c := m.copyTree()
			path := c.repo.KeyPath(role)
			oldKey, err := os.ReadFile(path)
			m.must(err)
			m.must(c.repo.Rotate(t.Context(), role, start))
			m.must(os.Rename(path, path+".new"))
			m.must(os.WriteFile(path, oldKey, 0o600))
			if state == "root metadata not written" {
				m.must(os.Remove(filepath.Join(c.dir, trust.Folder, "2.root.json")))
			}
			c.wantVersion(2, root, nil, start)
			c.publish()
			m.must(c.repo.CheckKeys())
			c.sign(start)
			c.wantVersion(3, root, nil, start)
			m.must(c.repo.Rotate(t.Context(), role, start))
			c.wantVersion(3, root, nil, start)
		}
	}
}

// TestLostKeyInterrupted: the one rotation whose middle clients refuse; calling it again ends it.
func TestLostKeyInterrupted(t *testing.T) {
	m := newRoom(t, nil)
	root := m.root()
	m.must(os.Remove(m.repo.KeyPath(trust.Targets)))
	m.must(m.repo.Rotate(t.Context(), trust.Targets, start))
	m.must(os.Remove(filepath.Join(m.dir, trust.Folder, "2.root.json")))
	m.must(os.Rename(m.repo.KeyPath(trust.Targets), m.repo.KeyPath(trust.Targets)+".new"))
	if _, err := m.sees(root, nil, m.store, start); !errors.Is(err, trust.ErrSignature) {
		t.Errorf("targets of a key that no root names: %v", err)
	}
	m.publish()
	if _, err := m.repo.Sign(t.Context(), m.store, start); err == nil {
		t.Error("signed over targets that nobody signed")
	}
	m.must(m.repo.Rotate(t.Context(), trust.Targets, start))
	m.wantVersion(1, root, nil, start)
	m.sign(start)
	m.wantVersion(2, root, nil, start)
}

// TestWrittenStore: somebody can write to the store, but has no key. What he puts there is not signed by accident.
func TestWrittenStore(t *testing.T) {
	m := newRoom(t, nil)
	if names, err := m.repo.Unsigned(t.Context(), m.store); len(names) != 0 || err != nil {
		t.Fatalf("Unsigned = %q, %v", names, err)
	}
	c := m.copyTree()
	c.publish() // a version of his
	names, err := c.repo.Unsigned(t.Context(), c.store)
	if err != nil || len(names) != 3 || names[0] != "images/pc/2.json" {
		t.Errorf("Unsigned = %q, %v", names, err)
	}
	c = m.copyTree() // another version 1
	m.must(publish.Remove(t.Context(), c.store, "pc", 1))
	m.must(os.RemoveAll(filepath.Join(c.dir, "images")))
	m.must(os.Mkdir(filepath.Join(c.dir, "images"), 0o755))
	c.disks = nil
	c.publish()
	if _, err := c.repo.Sign(t.Context(), c.store, start); !errors.Is(err, trust.ErrRepository) {
		t.Errorf("another content of version 1: %v", err)
	}
	c = m.copyTree() // targets that name his files
	c.publish()
	path := filepath.Join(c.dir, trust.Folder, "2.targets.json")
	b, err := os.ReadFile(path)
	m.must(err)
	m.must(os.WriteFile(path, bytes.Replace(b, []byte("images/pc/1.json"), []byte("images/pc/2.json"), 1), 0o644))
	if _, err := c.repo.Unsigned(t.Context(), c.store); !errors.Is(err, trust.ErrRepository) {
		t.Errorf("forged targets: %v", err)
	}
	if _, err := c.repo.Sign(t.Context(), c.store, start); !errors.Is(err, trust.ErrRepository) {
		t.Errorf("signed over forged targets: %v", err)
	}
}

// TestPassphrase: keys of the admin are sealed, and what was changed in the file is found.
func TestPassphrase(t *testing.T) {
	ask := func(p string) *trust.Options {
		return &trust.Options{Passphrase: func() ([]byte, error) { return []byte(p), nil }}
	}
	m := newRoom(t, ask("correct horse"))
	for _, role := range []trust.Role{trust.Root, trust.Targets, trust.Snapshot, trust.Timestamp} {
		b, err := os.ReadFile(m.repo.KeyPath(role))
		m.must(err)
		sealed := bytes.Contains(b, []byte(`"box"`)) && !bytes.Contains(b, []byte(`"seed"`))
		if sealed != (role == trust.Root || role == trust.Targets) {
			t.Errorf("%s key: sealed %v", role, sealed)
		}
		if st, err := os.Stat(m.repo.KeyPath(role)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s key: %v, %v", role, st.Mode(), err)
		}
	}
	for _, o := range []*trust.Options{ask("wrong"), ask(""), nil} {
		m.reopen(o)
		if err := m.repo.CheckKeys(); !errors.Is(err, trust.ErrKey) {
			t.Errorf("CheckKeys: %v", err)
		}
		if _, err := m.repo.RefreshTimestamp(t.Context(), start.Add(10*day)); err != nil {
			t.Errorf("the server needs a passphrase: %v", err)
		}
	}
	m.reopen(ask("correct horse"))
	m.must(m.repo.CheckKeys())
	m.must(m.repo.Rotate(t.Context(), trust.Targets, start))
	m.must(m.repo.CheckKeys())
	path := m.repo.KeyPath(trust.Targets)
	b, err := os.ReadFile(path)
	m.must(err)
	for range 5 {
		bent := bytes.Clone(b)
		at := bytes.Index(b, []byte(`"box": "`)) + 8 + m.r.IntN(60)
		bent[at] ^= 1
		m.must(os.WriteFile(path, bent, 0o600))
		if err := m.repo.CheckKeys(); !errors.Is(err, trust.ErrKey) {
			t.Errorf("bent key: %v", err)
		}
	}
	if _, err := trust.Init(m.dir, start, nil); !errors.Is(err, trust.ErrExists) {
		t.Errorf("second Init: %v", err)
	}
	if _, err := trust.Open(t.TempDir(), nil); !errors.Is(err, trust.ErrUnsigned) {
		t.Errorf("unsigned store: %v", err)
	}
}
