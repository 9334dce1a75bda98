package sign_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/testing/trusttest"
)

// TestStolenAdminKey: a thief of the admin key has signed a version of his, and one of the keys'
// two folders is still the admin's. The rotation shows what goes, and the thief's key is worth
// nothing then.
func TestStolenAdminKey(t *testing.T) {
	m, _ := brokenIn(t)
	stick := filepath.Dir(m.Repo.KeyPath(sign.Admin))
	root := m.Root()
	thiefs := filepath.Join(t.TempDir(), "copy")
	must(t, os.CopyFS(thiefs, os.DirFS(stick)))
	evil, err := sign.Open(m.Dir, &sign.Options{Keys: thiefs})
	must(t, err)
	plantVersion(m)
	plantAgent(m)
	_, err = evil.SignAll(t.Context(), m.Store, trusttest.Start)
	must(t, err)
	var shown []string
	m.Reopen(&sign.Options{Keys: stick, Confirm: func(_ string, list []sign.Difference) error {
		for _, d := range list {
			shown = append(shown, d.String())
		}
		return nil
	}})
	must(t, m.Repo.Ready(t.Context(), m.Store)) // it is signed by the admin key: nobody can tell
	must(t, m.Repo.Rotate(t.Context(), m.Store, sign.Admin, trusttest.Start))
	text := strings.Join(shown, "\n")
	for _, want := range []string{"pc version 4: gone", "release 6.6.6 of the agent: gone", "the current release of the agent: gone"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	m.WantVersion(2, root, nil, trusttest.Start)
	if err := evil.Permit(t.Context(), m.Store, []trust.Permit{trusttest.Wipe("EVIL-1")}, nil, trusttest.Start); !errors.Is(err, sign.ErrKey) {
		t.Errorf("the thief signs on: %v", err)
	}
}

// TestTwoFolders: two admins with copies of the keys work on one store; each follows what the other
// has signed.
func TestTwoFolders(t *testing.T) {
	m, _ := brokenIn(t)
	first := filepath.Dir(m.Repo.KeyPath(sign.Admin))
	second := filepath.Join(t.TempDir(), "copy")
	must(t, os.CopyFS(second, os.DirFS(first)))
	for i, keys := range []string{second, first, second} {
		m.Reopen(&sign.Options{Keys: keys})
		m.Permit(trusttest.Downgrade(i%2 + 1))
	}
	must(t, m.Repo.Rotate(t.Context(), m.Store, sign.Server, trusttest.Start))
	m.Reopen(&sign.Options{Keys: first})
	m.Permit(trusttest.Downgrade(2))
	must(t, m.Repo.Rotate(t.Context(), m.Store, sign.Admin, trusttest.Start))
	m.Reopen(&sign.Options{Keys: second})
	if err := m.Repo.Ready(t.Context(), m.Store); !errors.Is(err, sign.ErrKey) {
		t.Errorf("by a key that was replaced: %v", err)
	}
}

// TestExactChange: what is signed is what the caller made, not what lies under its name.
func TestExactChange(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	asked := 0
	m.Reopen(&sign.Options{Confirm: func(_ string, list []sign.Difference) error {
		if asked++; len(list) != 1 || !strings.Contains(list[0].String(), "pc version 2: new, SHA-256 ") || !strings.Contains(list[0].String(), "on version 1") {
			t.Errorf("shown is %v", list)
		}
		return nil
	}})
	m.Publish()
	mine, err := m.Store.Show(t.Context(), "pc", 2)
	must(t, err)
	other := *mine
	other.Notes = []string{"another one"}
	for what, items := range map[string][]sign.Item{
		"nothing":         nil,
		"another content": {sign.VersionItem(&other)},
		"another number":  {sign.VersionItem(mine), sign.NoVersion("pc", 1)},
		"one more":        {sign.VersionItem(mine), sign.CurrentRelease("1.0")},
	} {
		var unasked *sign.UnaskedError
		if _, err := m.Repo.Sign(t.Context(), m.Store, trusttest.Start, items...); !errors.As(err, &unasked) || !errors.Is(err, sign.ErrDoubt) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if asked > 0 {
		t.Error("asked about what is refused")
	}
	if changed, err := m.Repo.Sign(t.Context(), m.Store, trusttest.Start, sign.VersionItem(mine)); !changed || err != nil || asked != 1 {
		t.Errorf("Sign = %v, %v, asked %d times", changed, err, asked)
	}
}

// TestTrust: a folder of keys learns its store from the media's root, or from the store where the
// admin key signed that root; a root of the attacker's is none.
func TestTrust(t *testing.T) {
	m, _ := brokenIn(t)
	stick := filepath.Dir(m.Repo.KeyPath(sign.Admin))
	good := m.Root()
	if err := m.Repo.Trust(good); !errors.Is(err, sign.ErrExists) {
		t.Errorf("over what is trusted: %v", err)
	}
	must(t, os.Remove(filepath.Join(stick, "trusted.json")))
	if _, err := m.Repo.Root(); !errors.Is(err, sign.ErrNoTrust) {
		t.Errorf("without trust: %v", err)
	}
	if err := m.Repo.Rotate(t.Context(), m.Store, sign.Server, trusttest.Start); !errors.Is(err, sign.ErrNoTrust) {
		t.Errorf("rotation without trust: %v", err)
	}
	by := stranger(t)
	forge(m, metadata.Root(), "1.root.json", "1.root.json", by, func(s *metadata.RootType) {
		m.Must(s.AddKey(by.key, metadata.ROOT))
		m.Must(s.AddKey(by.key, metadata.TARGETS))
	})
	evil, err := os.ReadFile(filepath.Join(m.Dir, trusttest.Folder, "1.root.json"))
	must(t, err)
	for what, b := range map[string][]byte{"the store's": nil, "a file": evil, "nonsense": []byte("{}")} {
		if err := m.Repo.Trust(b); !errors.Is(err, sign.ErrDoubt) && !errors.Is(err, trust.ErrUntrusted) {
			t.Errorf("%s: %v", what, err)
		}
	}
	must(t, os.WriteFile(filepath.Join(m.Dir, trusttest.Folder, "1.root.json"), good, 0o644))
	must(t, m.Repo.Trust(nil))
	must(t, m.Repo.Ready(t.Context(), m.Store))
	must(t, os.Remove(filepath.Join(stick, "trusted.json")))
	must(t, m.Repo.Trust(good))
	m.Permit(trusttest.Downgrade(2))
}

// TestNotNoted: what a call signed that was cut off before it noted so is noted by the next one, also
// where nothing is left to be signed.
func TestNotNoted(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	path := filepath.Join(filepath.Dir(m.Repo.KeyPath(sign.Admin)), "trusted.json")
	before, err := os.ReadFile(path)
	must(t, err)
	m.Publish()
	m.Sign(trusttest.Start)
	after, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, before, 0o644))
	if changed, err := m.Repo.SignAll(t.Context(), m.Store, trusttest.Start); changed || err != nil {
		t.Errorf("signing the same again: %v, %v", changed, err)
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, after) || bytes.Equal(before, after) {
		t.Errorf("%d bytes, want %d, before %d: %v", len(now), len(after), len(before), err)
	}
}

// TestForgedTrust: what lies beside the key is somebody else's.
func TestForgedTrust(t *testing.T) {
	m, _ := brokenIn(t)
	evil := trusttest.NewRoom(t, nil)
	copyBack(m, evil.Files())
	b, err := os.ReadFile(filepath.Join(evil.Dir, "keys", "trusted.json"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(filepath.Dir(m.Repo.KeyPath(sign.Admin)), "trusted.json"), b, 0o644))
	if _, err := m.Repo.Root(); !errors.Is(err, sign.ErrKey) {
		t.Errorf("the root of somebody else: %v", err)
	}
	if err := m.Repo.Rotate(t.Context(), m.Store, sign.Admin, trusttest.Start); !errors.Is(err, sign.ErrKey) {
		t.Errorf("a rotation to it: %v", err)
	}
}

// TestUnreadableStick: a stick that cannot be read is none without keys: nobody is told to make new
// ones, and no root is believed because nothing spoke against it.
func TestUnreadableStick(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	loop := filepath.Join(t.TempDir(), "loop")
	must(t, os.Symlink(loop, loop))
	bare := t.TempDir()
	if _, err := sign.Open(bare, &sign.Options{Keys: loop}); err == nil || errors.Is(err, sign.ErrUnsigned) {
		t.Errorf("Open: %v", err)
	}
	if _, err := sign.Init(bare, trusttest.Start, &sign.Options{Keys: loop}); err == nil {
		t.Error("Init makes keys on it")
	}
	if left, err := os.ReadDir(bare); len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	keys := t.TempDir()
	must(t, os.Mkdir(filepath.Join(keys, "admin.key"), 0o755))
	repo, err := sign.Open(m.Dir, &sign.Options{Keys: keys})
	must(t, err)
	if err := repo.Trust(m.Root()); err == nil {
		t.Error("a root is trusted beside an admin key that cannot be read")
	}
}
