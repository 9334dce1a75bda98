package trust_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/testing/trusttest"
)

// TestTamper flips bits in every file that a client reads, one at a time. It must refuse, or see
// the same as without (spelling outside of what is signed).
func TestTamper(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	root := m.Root()
	m.Must(m.Repo.Rotate(t.Context(), m.Store, sign.Admin, trusttest.Start)) // so that a root travels
	m.Publish()
	m.Sign(trusttest.Start)
	files := m.Files()
	for _, n := range []string{"images/pc/1.json", "images/pc/2.json"} {
		b, err := os.ReadFile(filepath.Join(m.Dir, n))
		m.Must(err)
		files[n] = b
	}
	count, harmless := 40, 0
	if os.Getenv("TROY_SOAK") == "1" {
		count = 2000
	}
	for name, b := range files {
		refused := 0
		for range count {
			bent := bytes.Clone(b)
			bent[m.R.IntN(len(bent))] ^= 1 << m.R.IntN(8)
			got, err := m.Sees(root, nil, m.Attacked(map[string][]byte{name: bent}), trusttest.Start)
			switch {
			case err != nil:
				refused++
			case got == 2:
				harmless++
			default:
				t.Errorf("%s bent: the client sees version %d", name, got)
			}
		}
		t.Logf("%-60.60s %d of %d refused", name, refused, count)
		if strings.HasSuffix(name, "timestamp.json") && refused < count*3/4 || strings.HasPrefix(name, "images/") && refused < count {
			t.Errorf("%s: only %d of %d flips refused", name, refused, count)
		}
	}
	t.Logf("%d flips changed nothing that is read or signed", harmless)
}

// TestRollback: what was trusted once is the least that is trusted later. A client without memory
// cannot know.
func TestRollback(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	root, mem := m.Root(), &trusttest.Memory{}
	before := m.Files()
	m.WantVersion(1, root, mem, trusttest.Start)
	m.Publish()
	m.Sign(trusttest.Start)
	m.WantVersion(2, root, mem, trusttest.Start)
	m.Publish()
	m.Sign(trusttest.Start)
	m.WantVersion(3, root, mem, trusttest.Start)
	now := trusttest.Start.Add(trusttest.Day)
	if _, err := m.Sees(root, mem, m.Attacked(before), now); !errors.Is(err, trust.ErrRollback) || !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("old timestamp: %v", err)
	}
	if got, err := m.Sees(root, nil, m.Attacked(before), now); got != 1 || err != nil {
		t.Errorf("without memory: version %d, %v", got, err)
	}
	m.WantVersion(3, root, mem, now) // the refusal cost nothing

	// The store itself was restored from a backup: new timestamps of old content have smaller
	// numbers.
	old := m.CopyTree()
	for name, b := range before {
		m.Must(os.WriteFile(filepath.Join(old.Dir, name), b, 0o644))
	}
	old.Reopen(nil)
	if changed, err := old.Repo.RefreshTimestamp(t.Context(), trusttest.Start.Add(10*trusttest.Day)); !changed || err != nil {
		t.Fatalf("RefreshTimestamp = %v, %v", changed, err)
	}
	if _, err := old.Sees(root, mem, old.Store, trusttest.Start.Add(10*trusttest.Day)); !errors.Is(err, trust.ErrRollback) {
		t.Errorf("restored store: %v", err)
	}
	// Its way out, as the package page says: a new key for the server.
	m.Must(old.Repo.Rotate(t.Context(), old.Store, sign.Server, trusttest.Start.Add(10*trusttest.Day)))
	old.WantVersion(3, root, mem, trusttest.Start.Add(10*trusttest.Day))
}

// TestMixAndMatch: parts of different states do not make a new one.
func TestMixAndMatch(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	root := m.Root()
	old := m.Files()
	m.Publish()
	m.Sign(trusttest.Start)
	now := m.Files()
	newest := func(files map[string][]byte, kind string) string {
		for n := 9; n > 0; n-- {
			if name := fmt.Sprintf("%s/%d.%s.json", trusttest.Folder, n, kind); files[name] != nil {
				return name
			}
		}
		t.Fatalf("no %s", kind)
		return ""
	}
	for _, kind := range []string{"snapshot", "targets"} {
		says := map[string][]byte{newest(now, kind): old[newest(old, kind)]}
		if _, err := m.Sees(root, nil, m.Attacked(says), trusttest.Start); !errors.Is(err, trust.ErrUntrusted) {
			t.Errorf("old %s under a new timestamp: %v", kind, err)
		}
	}
	says := map[string][]byte{trusttest.Folder + "/timestamp.json": old[trusttest.Folder+"/timestamp.json"], newest(old, "snapshot"): now[newest(now, "snapshot")]}
	if _, err := m.Sees(root, nil, m.Attacked(says), trusttest.Start); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("new snapshot under an old timestamp: %v", err)
	}
	bad, err := os.ReadFile(filepath.Join(m.Dir, "images/pc/1.json"))
	m.Must(err)
	if _, err := m.Sees(root, nil, m.Attacked(map[string][]byte{"images/pc/2.json": bad}), trusttest.Start); !errors.Is(err, trust.ErrContent) {
		t.Errorf("manifest of another version: %v", err)
	}
}

// TestExpiry moves the clock.
func TestExpiry(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	root := m.Root()
	m.WantVersion(1, root, nil, trusttest.Start.Add(13*trusttest.Day))
	m.WantVersion(1, root, nil, time.Unix(0, 0)) // a PC that lost its clock: the agent's build stamp is what helps here
	expired := func(mem trust.Memory, now time.Time) {
		t.Helper()
		if _, err := m.Sees(root, mem, m.Store, now); !errors.Is(err, trust.ErrExpired) || !strings.Contains(err.Error(), "expired") {
			t.Errorf("%v: %v", now, err)
		}
	}
	mem := &trusttest.Memory{}
	m.WantVersion(1, root, mem, trusttest.Start)
	kept := bytes.Clone(mem.B)
	expired(nil, trusttest.Start.Add(15*trusttest.Day))
	expired(mem, trusttest.Start.Add(15*trusttest.Day))
	if changed, err := m.Repo.RefreshTimestamp(t.Context(), trusttest.Start.Add(trusttest.Day)); changed || err != nil {
		t.Errorf("refreshed without need: %v, %v", changed, err)
	}
	for at := 8 * trusttest.Day; at < 700*trusttest.Day; at += 6 * trusttest.Day { // the server that runs, for two years
		if _, err := m.Repo.RefreshTimestamp(t.Context(), trusttest.Start.Add(at)); err != nil {
			t.Fatal(err)
		}
		if at%(60*trusttest.Day) < 6*trusttest.Day {
			m.WantVersion(1, root, mem, trusttest.Start.Add(at))
		}
	}
	if bytes.Equal(kept, mem.B) {
		t.Error("nothing new is remembered")
	}
	late := trusttest.Start.Add(3 * 365 * trusttest.Day) // the targets are too old; only the admin can help
	_, err := m.Repo.RefreshTimestamp(t.Context(), late)
	m.Must(err)
	expired(mem, late)
	list, err := m.Repo.Expiries(late)
	m.Must(err)
	for _, e := range list {
		if e.Soon != (e.Key == sign.Admin) {
			t.Errorf("%+v", e)
		}
	}
	m.Sign(late)
	m.WantVersion(1, root, mem, late)
	kept = bytes.Clone(mem.B)
	expired(mem, trusttest.Start.Add(6*365*trusttest.Day)) // the root
	if !bytes.Equal(kept, mem.B) {
		t.Error("an expired root made the client forget")
	}
	m.Sign(trusttest.Start.Add(6 * 365 * trusttest.Day))
	m.WantVersion(1, root, mem, trusttest.Start.Add(6*365*trusttest.Day))
}

// TestOtherKeys: another store's metadata, and single documents signed by another store's keys.
func TestOtherKeys(t *testing.T) {
	m, evil := trusttest.NewRoom(t, nil), trusttest.NewRoom(t, nil)
	root := m.Root()
	if _, err := evil.Sees(root, nil, evil.Store, trusttest.Start); !errors.Is(err, trust.ErrSignature) {
		t.Errorf("another store: %v", err)
	}
	for name, b := range evil.Files() {
		if name == trusttest.Folder+"/1.root.json" || strings.Contains(name, "/targets/") || strings.Contains(name, "/1.") {
			continue // not asked for
		}
		if _, err := m.Sees(root, nil, m.Attacked(map[string][]byte{name: b}), trusttest.Start); !errors.Is(err, trust.ErrUntrusted) {
			t.Errorf("%s of another store: %v", name, err)
		}
	}
	evil.Must(evil.Repo.Rotate(t.Context(), evil.Store, sign.Admin, trusttest.Start))
	if _, err := m.Sees(root, nil, m.Attacked(map[string][]byte{trusttest.Folder + "/2.root.json": evil.Root()}), trusttest.Start); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("root of another store: %v", err)
	}
	if err := trust.CheckRoot([]byte("{}")); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("no root: %v", err)
	}
}

// TestUnsignedNames: what is not signed is not there, and the way around the signed copy is shut.
func TestUnsignedNames(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	s, err := trusttest.Open(t, m.Root(), nil, m.Store, trusttest.Start)
	m.Must(err)
	for _, name := range []string{"store.json", "images/other/versions.json", "images/pc/7.json", "keys/server.key", "metadata/timestamp.json", ""} {
		if b, err := s.Get(t.Context(), name, 1<<20); err == nil {
			t.Errorf("Get(%q) = %q", name, b)
		}
		if b, err := s.ReadRange(t.Context(), name, 0, 1); err == nil {
			t.Errorf("ReadRange(%q) = %q", name, b)
		}
	}
	if b, err := s.ReadRange(t.Context(), "images/pc/1.json", 5, 1<<20); err == nil {
		t.Errorf("past the end: %q", b)
	}
}
