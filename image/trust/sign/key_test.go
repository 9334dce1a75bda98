package sign_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/image/publish"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/testing/trusttest"
)

// TestRotate gives each role a new key, some twice; clients follow from any root, and never go
// back.
func TestRotate(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	roots, mem := [][]byte{m.Root()}, &trusttest.Memory{}
	m.WantVersion(1, roots[0], mem, trusttest.Start)
	for i, role := range []sign.Role{sign.Timestamp, sign.Snapshot, sign.Targets, sign.Root, sign.Root, sign.Targets} {
		m.Must(m.Repo.Rotate(t.Context(), role, trusttest.Start))
		roots = append(roots, m.Root())
		for _, root := range roots {
			m.WantVersion(i+1, root, nil, trusttest.Start)
			m.WantVersion(i+1, root, mem, trusttest.Start)
		}
		m.Publish()
		m.Sign(trusttest.Start)
		m.WantVersion(i+2, roots[0], mem, trusttest.Start)
	}
	// A source that hides the newest roots is found out by memory, with media of any age.
	says := map[string][]byte{trusttest.Folder + "/7.root.json": nil}
	for _, root := range roots[:6] {
		if _, err := m.Sees(root, &trusttest.Memory{B: nil}, m.Attacked(says), trusttest.Start); err == nil {
			t.Error("targets signed by a key that no root names are trusted")
		}
	}
	if v, err := m.Sees(roots[0], mem, m.Attacked(says), trusttest.Start); v != 7 || err != nil {
		t.Errorf("with all roots in memory: version %d, %v", v, err)
	}
	other := trusttest.NewRoom(t, nil) // new media of a new store: the memory of the old one does not count
	other.WantVersion(1, other.Root(), mem, trusttest.Start)
	other.WantVersion(1, other.Root(), mem, trusttest.Start)
}

// TestHiddenRoot: the memory of an older medium knows of a root that a source keeps back.
func TestHiddenRoot(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	first := m.Root()
	before := m.Files()
	m.Must(m.Repo.Rotate(t.Context(), sign.Root, trusttest.Start))
	second := m.Root()
	m.Must(m.Repo.Rotate(t.Context(), sign.Root, trusttest.Start))
	mem := &trusttest.Memory{}
	m.WantVersion(1, second, mem, trusttest.Start) // remembers root 3 only
	before[trusttest.Folder+"/2.root.json"], before[trusttest.Folder+"/3.root.json"] = nil, nil
	if _, err := m.Sees(first, mem, m.Attacked(before), trusttest.Start); !errors.Is(err, trust.ErrRollback) {
		t.Errorf("hidden roots: %v", err)
	}
	m.WantVersion(1, first, mem, trusttest.Start)
}

// TestLostTargetsKey: the admin who lost it needs the root key only.
func TestLostTargetsKey(t *testing.T) {
	keys := t.TempDir()
	m := trusttest.NewRoom(t, &sign.Options{Keys: keys})
	root, mem := m.Root(), &trusttest.Memory{}
	m.Must(os.Remove(filepath.Join(keys, "targets.key")))
	m.Publish()
	if err := m.Repo.CheckKeys(); !errors.Is(err, sign.ErrKey) {
		t.Errorf("CheckKeys: %v", err)
	}
	if _, err := m.Repo.Sign(t.Context(), m.Store, trusttest.Start); !errors.Is(err, sign.ErrKey) {
		t.Errorf("Sign: %v", err)
	}
	m.WantVersion(1, root, mem, trusttest.Start)
	if _, err := m.Repo.RefreshTimestamp(t.Context(), trusttest.Start.Add(10*trusttest.Day)); err != nil {
		t.Errorf("the server needs the admin's keys: %v", err)
	}
	m.Must(m.Repo.Rotate(t.Context(), sign.Targets, trusttest.Start))
	m.Must(m.Repo.CheckKeys())
	m.Sign(trusttest.Start)
	m.WantVersion(2, root, mem, trusttest.Start)
	m.Must(os.Remove(filepath.Join(keys, "root.key")))
	if err := m.Repo.Rotate(t.Context(), sign.Snapshot, trusttest.Start); !errors.Is(err, sign.ErrKey) {
		t.Errorf("rotation without the root key: %v", err)
	}
}

// TestInterrupted puts the store into the states between the writes of signing and of rotations:
// clients see old or new, and the next call ends it.
func TestInterrupted(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	root, before := m.Root(), m.Files()
	m.Publish()
	m.Sign(trusttest.Start)
	after := m.Files()
	says := map[string][]byte{}
	for name := range after {
		if before[name] == nil {
			says[name] = nil
		}
	}
	says[trusttest.Folder+"/timestamp.json"] = before[trusttest.Folder+"/timestamp.json"]
	for _, name := range []string{"/targets/", ".targets.json", ".snapshot.json"} {
		if got, err := m.Sees(root, nil, m.Attacked(says), trusttest.Start); got != 1 || err != nil {
			t.Fatalf("before %s is there: version %d, %v", name, got, err)
		}
		for n := range says {
			if strings.Contains(n, name) {
				says[n] = after[n]
			}
		}
	}
	if got, err := m.Sees(root, nil, m.Attacked(says), trusttest.Start); got != 1 || err != nil {
		t.Fatalf("before the timestamp: version %d, %v", got, err)
	}
	for _, role := range []sign.Role{sign.Root, sign.Targets, sign.Snapshot, sign.Timestamp} {
		for _, state := range []string{"root metadata not written", "key not in place"} {
			c := m.CopyTree()
			path := c.Repo.KeyPath(role)
			oldKey, err := os.ReadFile(path)
			m.Must(err)
			m.Must(c.Repo.Rotate(t.Context(), role, trusttest.Start))
			m.Must(os.Rename(path, path+".new"))
			m.Must(os.WriteFile(path, oldKey, 0o600))
			if state == "root metadata not written" {
				m.Must(os.Remove(filepath.Join(c.Dir, trusttest.Folder, "2.root.json")))
			}
			c.WantVersion(2, root, nil, trusttest.Start)
			c.Publish()
			m.Must(c.Repo.CheckKeys())
			c.Sign(trusttest.Start)
			c.WantVersion(3, root, nil, trusttest.Start)
			m.Must(c.Repo.Rotate(t.Context(), role, trusttest.Start))
			c.WantVersion(3, root, nil, trusttest.Start)
		}
	}
}

// TestLostKeyInterrupted: the one rotation whose middle clients refuse; calling it again ends it.
func TestLostKeyInterrupted(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	root := m.Root()
	m.Must(os.Remove(m.Repo.KeyPath(sign.Targets)))
	m.Must(m.Repo.Rotate(t.Context(), sign.Targets, trusttest.Start))
	m.Must(os.Remove(filepath.Join(m.Dir, trusttest.Folder, "2.root.json")))
	m.Must(os.Rename(m.Repo.KeyPath(sign.Targets), m.Repo.KeyPath(sign.Targets)+".new"))
	if _, err := m.Sees(root, nil, m.Store, trusttest.Start); !errors.Is(err, trust.ErrSignature) {
		t.Errorf("targets of a key that no root names: %v", err)
	}
	m.Publish()
	if _, err := m.Repo.Sign(t.Context(), m.Store, trusttest.Start); err == nil {
		t.Error("signed over targets without a signature")
	}
	m.Must(m.Repo.Rotate(t.Context(), sign.Targets, trusttest.Start))
	m.WantVersion(1, root, nil, trusttest.Start)
	m.Sign(trusttest.Start)
	m.WantVersion(2, root, nil, trusttest.Start)
}

// TestWrittenStore: a thief can write to the store, but has no key. What he puts there is not
// signed by accident.
func TestWrittenStore(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	if names, err := m.Repo.Unsigned(t.Context(), m.Store); len(names) != 0 || err != nil {
		t.Fatalf("Unsigned = %q, %v", names, err)
	}
	c := m.CopyTree()
	c.Publish() // a version of his
	names, err := c.Repo.Unsigned(t.Context(), c.Store)
	if err != nil || len(names) != 3 || names[0] != "images/pc/2.json" {
		t.Errorf("Unsigned = %q, %v", names, err)
	}
	c = m.CopyTree() // another version 1
	m.Must(publish.Remove(t.Context(), c.Store, "pc", 1))
	m.Must(os.RemoveAll(filepath.Join(c.Dir, "images")))
	m.Must(os.Mkdir(filepath.Join(c.Dir, "images"), 0o755))
	c.Disks = nil
	c.Publish()
	if _, err := c.Repo.Sign(t.Context(), c.Store, trusttest.Start); !errors.Is(err, sign.ErrRepository) {
		t.Errorf("another content of version 1: %v", err)
	}
	c = m.CopyTree() // targets that name his files
	c.Publish()
	path := filepath.Join(c.Dir, trusttest.Folder, "2.targets.json")
	b, err := os.ReadFile(path)
	m.Must(err)
	m.Must(os.WriteFile(path, bytes.Replace(b, []byte("images/pc/1.json"), []byte("images/pc/2.json"), 1), 0o644))
	if _, err := c.Repo.Unsigned(t.Context(), c.Store); !errors.Is(err, sign.ErrRepository) {
		t.Errorf("forged targets: %v", err)
	}
	if _, err := c.Repo.Sign(t.Context(), c.Store, trusttest.Start); !errors.Is(err, sign.ErrRepository) {
		t.Errorf("signed over forged targets: %v", err)
	}
}

// TestPassphrase: keys of the admin are sealed, and what was changed in the file is found.
func TestPassphrase(t *testing.T) {
	ask := func(p string) *sign.Options {
		return &sign.Options{Passphrase: func() ([]byte, error) { return []byte(p), nil }}
	}
	m := trusttest.NewRoom(t, ask("correct horse"))
	for _, role := range []sign.Role{sign.Root, sign.Targets, sign.Snapshot, sign.Timestamp} {
		b, err := os.ReadFile(m.Repo.KeyPath(role))
		m.Must(err)
		sealed := bytes.Contains(b, []byte(`"box"`)) && !bytes.Contains(b, []byte(`"seed"`))
		if sealed != (role == sign.Root || role == sign.Targets) {
			t.Errorf("%s key: sealed %v", role, sealed)
		}
		if st, err := os.Stat(m.Repo.KeyPath(role)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s key: %v, %v", role, st.Mode(), err)
		}
	}
	for _, o := range []*sign.Options{ask("wrong"), ask(""), nil} {
		m.Reopen(o)
		if err := m.Repo.CheckKeys(); !errors.Is(err, sign.ErrKey) {
			t.Errorf("CheckKeys: %v", err)
		}
		if _, err := m.Repo.RefreshTimestamp(t.Context(), trusttest.Start.Add(10*trusttest.Day)); err != nil {
			t.Errorf("the server needs a passphrase: %v", err)
		}
	}
	m.Reopen(ask("correct horse"))
	m.Must(m.Repo.CheckKeys())
	m.Must(m.Repo.Rotate(t.Context(), sign.Targets, trusttest.Start))
	m.Must(m.Repo.CheckKeys())
	path := m.Repo.KeyPath(sign.Targets)
	b, err := os.ReadFile(path)
	m.Must(err)
	for range 5 {
		bent := bytes.Clone(b)
		at := bytes.Index(b, []byte(`"box": "`)) + 8 + m.R.IntN(60)
		bent[at] ^= 1
		m.Must(os.WriteFile(path, bent, 0o600))
		if err := m.Repo.CheckKeys(); !errors.Is(err, sign.ErrKey) {
			t.Errorf("bent key: %v", err)
		}
	}
	if _, err := sign.Init(m.Dir, trusttest.Start, nil); !errors.Is(err, sign.ErrExists) {
		t.Errorf("second Init: %v", err)
	}
	if _, err := sign.Open(t.TempDir(), nil); !errors.Is(err, sign.ErrUnsigned) {
		t.Errorf("unsigned store: %v", err)
	}
}
