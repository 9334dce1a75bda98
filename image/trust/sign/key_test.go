package sign_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/testing/trusttest"
)

// TestRotate gives the store new keys, some twice; clients follow from any root, and never go back.
func TestRotate(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	roots, mem := [][]byte{m.Root()}, &trusttest.Memory{}
	m.WantVersion(1, roots[0], mem, trusttest.Start)
	for i, key := range []sign.Key{sign.Server, sign.Server, sign.Admin, sign.Admin, sign.Server, sign.Admin} {
		m.Must(m.Repo.Rotate(t.Context(), m.Store, key, trusttest.Start))
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
	m.Must(m.Repo.Rotate(t.Context(), m.Store, sign.Admin, trusttest.Start))
	second := m.Root()
	m.Must(m.Repo.Rotate(t.Context(), m.Store, sign.Admin, trusttest.Start))
	mem := &trusttest.Memory{}
	m.WantVersion(1, second, mem, trusttest.Start) // remembers root 3 only
	before[trusttest.Folder+"/2.root.json"], before[trusttest.Folder+"/3.root.json"] = nil, nil
	if _, err := m.Sees(first, mem, m.Attacked(before), trusttest.Start); !errors.Is(err, trust.ErrRollback) {
		t.Errorf("hidden roots: %v", err)
	}
	m.WantVersion(1, first, mem, trusttest.Start)
}

// TestLostKey: without the admin key the store lives on, but nothing new comes in; the server's key
// can be made again.
func TestLostKey(t *testing.T) {
	keys := t.TempDir()
	m := trusttest.NewRoom(t, &sign.Options{Keys: keys})
	root, mem := m.Root(), &trusttest.Memory{}
	m.Must(os.Remove(m.Repo.KeyPath(sign.Server)))
	if _, err := m.Repo.RefreshTimestamp(t.Context(), trusttest.Start.Add(10*trusttest.Day)); !errors.Is(err, sign.ErrKey) {
		t.Errorf("without the server's key: %v", err)
	}
	m.Must(m.Repo.Rotate(t.Context(), m.Store, sign.Server, trusttest.Start))
	m.WantVersion(1, root, mem, trusttest.Start)
	m.Must(os.Rename(filepath.Join(keys, "admin.key"), filepath.Join(keys, "backup")))
	if err := m.Repo.Ready(t.Context(), m.Store); !errors.Is(err, sign.ErrKey) {
		t.Errorf("Ready: %v", err)
	}
	m.Publish()
	if _, err := m.Repo.SignAll(t.Context(), m.Store, trusttest.Start); !errors.Is(err, sign.ErrKey) {
		t.Errorf("SignAll: %v", err)
	}
	if err := m.Repo.Rotate(t.Context(), m.Store, sign.Server, trusttest.Start); !errors.Is(err, sign.ErrKey) {
		t.Errorf("rotation without the admin key: %v", err)
	}
	m.WantVersion(1, root, mem, trusttest.Start)
	if _, err := m.Repo.RefreshTimestamp(t.Context(), trusttest.Start.Add(10*trusttest.Day)); err != nil {
		t.Errorf("the server needs the admin key: %v", err)
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
	trusted := filepath.Join("keys", "trusted.json")
	for _, key := range []sign.Key{sign.Server, sign.Admin} {
		for _, state := range []string{"root metadata not written", "keys not in place", "not noted"} {
			t.Run(key.String()+", "+state, func(t *testing.T) {
				c := m.CopyTree()
				keep := map[string][]byte{}
				for _, path := range []string{c.Repo.KeyPath(sign.Server), c.Repo.KeyPath(sign.Admin), filepath.Join(c.Dir, trusted)} {
					b, err := os.ReadFile(path)
					m.Must(err)
					keep[path] = b
				}
				m.Must(c.Repo.Rotate(t.Context(), c.Store, key, trusttest.Start))
				for path, b := range keep {
					if strings.HasSuffix(path, ".key") && state != "not noted" && (key == sign.Admin || path == c.Repo.KeyPath(sign.Server)) {
						m.Must(os.Rename(path, path+".new"))
						m.Must(os.WriteFile(path, b, 0o600))
					}
				}
				m.Must(os.WriteFile(filepath.Join(c.Dir, trusted), keep[filepath.Join(c.Dir, trusted)], 0o644))
				if state == "root metadata not written" {
					m.Must(os.Remove(filepath.Join(c.Dir, trusttest.Folder, "2.root.json")))
				}
				c.WantVersion(2, root, nil, trusttest.Start)
				c.Publish()
				c.Sign(trusttest.Start)
				c.WantVersion(3, root, nil, trusttest.Start)
				m.Must(c.Repo.Rotate(t.Context(), c.Store, key, trusttest.Start))
				c.WantVersion(3, root, nil, trusttest.Start)
			})
		}
	}
}

// TestLostKeyInterrupted: the one rotation whose middle clients refuse; calling it again ends it.
func TestLostKeyInterrupted(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	root := m.Root()
	keys, path := filepath.Join(m.Dir, "keys", "trusted.json"), m.Repo.KeyPath(sign.Server)
	before, err := os.ReadFile(keys)
	m.Must(err)
	m.Must(os.Remove(path))
	m.Must(m.Repo.Rotate(t.Context(), m.Store, sign.Server, trusttest.Start))
	m.Must(os.Remove(filepath.Join(m.Dir, trusttest.Folder, "2.root.json")))
	m.Must(os.Rename(path, path+".new"))
	m.Must(os.WriteFile(keys, before, 0o644))
	if _, err := m.Sees(root, nil, m.Store, trusttest.Start); !errors.Is(err, trust.ErrSignature) {
		t.Errorf("a timestamp of a key that no root names: %v", err)
	}
	m.Publish()
	if _, err := m.Repo.SignAll(t.Context(), m.Store, trusttest.Start); !errors.Is(err, sign.ErrDoubt) {
		t.Errorf("signed over metadata that nobody signed: %v", err)
	}
	m.Must(m.Repo.Rotate(t.Context(), m.Store, sign.Server, trusttest.Start))
	m.WantVersion(1, root, nil, trusttest.Start) // what was not signed is put away
	m.Must(m.Repo.Ready(t.Context(), m.Store))
}

// TestPassphrase: keys of the admin are sealed, and what was changed in the file is found.
func TestPassphrase(t *testing.T) {
	ask := func(p string) *sign.Options {
		return &sign.Options{Passphrase: func() ([]byte, error) { return []byte(p), nil }}
	}
	m := trusttest.NewRoom(t, ask("correct horse"))
	for _, key := range []sign.Key{sign.Admin, sign.Server} {
		b, err := os.ReadFile(m.Repo.KeyPath(key))
		m.Must(err)
		sealed := bytes.Contains(b, []byte(`"box"`)) && !bytes.Contains(b, []byte(`"seed"`))
		if sealed != (key == sign.Admin) {
			t.Errorf("%s: sealed %v", key, sealed)
		}
		if st, err := os.Stat(m.Repo.KeyPath(key)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", key, st.Mode(), err)
		}
	}
	for _, o := range []*sign.Options{ask("wrong"), ask(""), nil} {
		m.Reopen(o)
		if err := m.Repo.Ready(t.Context(), m.Store); !errors.Is(err, sign.ErrKey) {
			t.Errorf("Ready: %v", err)
		}
		if _, err := m.Repo.RefreshTimestamp(t.Context(), trusttest.Start.Add(10*trusttest.Day)); err != nil {
			t.Errorf("the server needs a passphrase: %v", err)
		}
	}
	m.Reopen(ask("correct horse"))
	m.Must(m.Repo.Ready(t.Context(), m.Store))
	m.Must(m.Repo.Rotate(t.Context(), m.Store, sign.Admin, trusttest.Start))
	m.Must(m.Repo.Ready(t.Context(), m.Store))
	path := m.Repo.KeyPath(sign.Admin)
	b, err := os.ReadFile(path)
	m.Must(err)
	for range 5 {
		bent := bytes.Clone(b)
		at := bytes.Index(b, []byte(`"box": "`)) + 8 + m.R.IntN(60)
		bent[at] ^= 1
		m.Must(os.WriteFile(path, bent, 0o600))
		if err := m.Repo.Ready(t.Context(), m.Store); !errors.Is(err, sign.ErrKey) {
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
