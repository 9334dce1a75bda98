package trust_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"

	"troy/image"
	"troy/image/publish"
	"troy/image/trust"
)

// TestWholeWay: what is signed is seen, what is only published is not, and metadata does not grow without end.
func TestWholeWay(t *testing.T) {
	m := newRoom(t, nil)
	root, mem := m.root(), &memory{}
	m.wantVersion(1, root, mem, start)
	m.publish()
	m.wantVersion(1, root, mem, start) // not signed yet: the version before is whole
	m.sign(start)
	m.wantVersion(2, root, mem, start)
	if changed, err := m.repo.Sign(t.Context(), m.store, start); changed || err != nil {
		t.Errorf("signing the same again: %v, %v", changed, err)
	}
	for range 12 {
		m.publish()
		m.sign(start)
	}
	m.wantVersion(14, root, mem, start)
	if n := len(m.files()); n > 30 {
		t.Errorf("%d files of metadata after 14 versions", n)
	}
	m.must(publish.Remove(t.Context(), m.store, "pc", 14))
	m.sign(start)
	if _, err := publish.GC(t.Context(), m.store); err != nil {
		t.Fatal(err)
	}
	m.wantVersion(13, root, mem, start)
}

// TestForeignClient reads the repository with the client that comes with go-tuf, over HTTP.
func TestForeignClient(t *testing.T) {
	m := newRoom(t, nil)
	root := m.root()
	m.must(m.repo.Rotate(t.Context(), trust.Root, start))
	m.publish()
	m.sign(start)
	hs := httptest.NewServer(http.FileServer(http.Dir(m.dir)))
	defer hs.Close()
	cfg, err := config.New(hs.URL+"/"+trust.Folder, root)
	m.must(err)
	cfg.LocalMetadataDir, cfg.LocalTargetsDir = t.TempDir(), t.TempDir()
	cfg.RemoteTargetsURL, cfg.PrefixTargetsWithHash = hs.URL+"/"+trust.Folder+"/targets", true
	u, err := updater.New(cfg)
	m.must(err)
	u.UnsafeSetRefTime(start)
	m.must(u.Refresh())
	info, err := u.GetTargetInfo(image.IndexName("pc"))
	m.must(err)
	_, got, err := u.DownloadTarget(info, filepath.Join(t.TempDir(), "index"), "")
	m.must(err)
	if want, err := m.store.Get(t.Context(), image.IndexName("pc"), 1<<20); err != nil || !bytes.Equal(got, want) {
		t.Errorf("go-tuf's client reads %q, %v", got, err)
	}
	for _, name := range []string{"images/pc/1.json", "images/pc/2.json"} {
		if _, err := u.GetTargetInfo(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTamper flips bits in every file that a client reads, one at a time. It must refuse, or see the same as without (spelling outside of what is signed).
func TestTamper(t *testing.T) {
	m := newRoom(t, nil)
	root := m.root()
	m.must(m.repo.Rotate(t.Context(), trust.Root, start)) // so that a root travels
	m.publish()
	m.sign(start)
	files := m.files()
	for _, n := range []string{"images/pc/1.json", "images/pc/2.json"} {
		b, err := os.ReadFile(filepath.Join(m.dir, n))
		m.must(err)
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
			bent[m.r.IntN(len(bent))] ^= 1 << m.r.IntN(8)
			got, err := m.sees(root, nil, m.attacked(map[string][]byte{name: bent}), start)
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

// TestRollback: what was trusted once is the least that is trusted later. A client without memory cannot know.
func TestRollback(t *testing.T) {
	m := newRoom(t, nil)
	root, mem := m.root(), &memory{}
	before := m.files()
	m.wantVersion(1, root, mem, start)
	m.publish()
	m.sign(start)
	m.wantVersion(2, root, mem, start)
	m.publish()
	m.sign(start)
	m.wantVersion(3, root, mem, start)
	now := start.Add(day)
	if _, err := m.sees(root, mem, m.attacked(before), now); !errors.Is(err, trust.ErrRollback) || !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("old timestamp: %v", err)
	}
	if got, err := m.sees(root, nil, m.attacked(before), now); got != 1 || err != nil {
		t.Errorf("without memory: version %d, %v", got, err)
	}
	m.wantVersion(3, root, mem, now) // the refusal cost nothing

	// The store itself was restored from a backup: new timestamps of old content have smaller numbers.
	old := m.copyTree()
	for name, b := range before {
		m.must(os.WriteFile(filepath.Join(old.dir, name), b, 0o644))
	}
	old.reopen(nil)
	if changed, err := old.repo.RefreshTimestamp(t.Context(), start.Add(10*day)); !changed || err != nil {
		t.Fatalf("RefreshTimestamp = %v, %v", changed, err)
	}
	if _, err := old.sees(root, mem, old.store, start.Add(10*day)); !errors.Is(err, trust.ErrRollback) {
		t.Errorf("restored store: %v", err)
	}
	// Its way out, as the package page says: new keys for what is online.
	m.must(old.repo.Rotate(t.Context(), trust.Timestamp, start.Add(10*day)))
	m.must(old.repo.Rotate(t.Context(), trust.Snapshot, start.Add(10*day)))
	old.wantVersion(1, root, mem, start.Add(10*day))
}

// TestMixAndMatch: parts of different states do not make a new one.
func TestMixAndMatch(t *testing.T) {
	m := newRoom(t, nil)
	root := m.root()
	old := m.files()
	m.publish()
	m.sign(start)
	now := m.files()
	newest := func(files map[string][]byte, kind string) string {
		for n := 9; n > 0; n-- {
			if name := fmt.Sprintf("%s/%d.%s.json", trust.Folder, n, kind); files[name] != nil {
				return name
			}
		}
		t.Fatalf("no %s", kind)
		return ""
	}
	for _, kind := range []string{"snapshot", "targets"} {
		says := map[string][]byte{newest(now, kind): old[newest(old, kind)]}
		if _, err := m.sees(root, nil, m.attacked(says), start); !errors.Is(err, trust.ErrUntrusted) {
			t.Errorf("old %s under a new timestamp: %v", kind, err)
		}
	}
	says := map[string][]byte{trust.Folder + "/timestamp.json": old[trust.Folder+"/timestamp.json"], newest(old, "snapshot"): now[newest(now, "snapshot")]}
	if _, err := m.sees(root, nil, m.attacked(says), start); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("new snapshot under an old timestamp: %v", err)
	}
	bad, err := os.ReadFile(filepath.Join(m.dir, "images/pc/1.json"))
	m.must(err)
	if _, err := m.sees(root, nil, m.attacked(map[string][]byte{"images/pc/2.json": bad}), start); !errors.Is(err, trust.ErrContent) {
		t.Errorf("manifest of another version: %v", err)
	}
}

// TestExpiry moves the clock.
func TestExpiry(t *testing.T) {
	m := newRoom(t, nil)
	root := m.root()
	m.wantVersion(1, root, nil, start.Add(13*day))
	m.wantVersion(1, root, nil, time.Unix(0, 0)) // a PC that lost its clock: the agent's build stamp is what helps here
	expired := func(mem trust.Memory, now time.Time) {
		t.Helper()
		if _, err := m.sees(root, mem, m.store, now); !errors.Is(err, trust.ErrExpired) || !strings.Contains(err.Error(), "expired") {
			t.Errorf("%v: %v", now, err)
		}
	}
	mem := &memory{}
	m.wantVersion(1, root, mem, start)
	kept := bytes.Clone(mem.b)
	expired(nil, start.Add(15*day))
	expired(mem, start.Add(15*day))
	if changed, err := m.repo.RefreshTimestamp(t.Context(), start.Add(day)); changed || err != nil {
		t.Errorf("refreshed without need: %v, %v", changed, err)
	}
	for at := 8 * day; at < 700*day; at += 6 * day { // the server that runs, for two years
		if _, err := m.repo.RefreshTimestamp(t.Context(), start.Add(at)); err != nil {
			t.Fatal(err)
		}
		if at%(60*day) < 6*day {
			m.wantVersion(1, root, mem, start.Add(at))
		}
	}
	if bytes.Equal(kept, mem.b) {
		t.Error("nothing new is remembered")
	}
	late := start.Add(3 * 365 * day) // the targets are too old; only the admin can help
	_, err := m.repo.RefreshTimestamp(t.Context(), late)
	m.must(err)
	expired(mem, late)
	list, err := m.repo.Expiries(late)
	m.must(err)
	for _, e := range list {
		if e.Soon != (e.Role == trust.Targets) {
			t.Errorf("%+v", e)
		}
	}
	m.sign(late)
	m.wantVersion(1, root, mem, late)
	kept = bytes.Clone(mem.b)
	expired(mem, start.Add(6*365*day)) // the root
	if !bytes.Equal(kept, mem.b) {
		t.Error("an expired root made the client forget")
	}
	m.must(m.repo.Rotate(t.Context(), trust.Root, start.Add(6*365*day)))
	m.sign(start.Add(6 * 365 * day))
	m.wantVersion(1, root, mem, start.Add(6*365*day))
}

// TestOtherKeys: another store's metadata, and single documents signed by another store's keys.
func TestOtherKeys(t *testing.T) {
	m, evil := newRoom(t, nil), newRoom(t, nil)
	root := m.root()
	if _, err := evil.sees(root, nil, evil.store, start); !errors.Is(err, trust.ErrSignature) {
		t.Errorf("another store: %v", err)
	}
	for name, b := range evil.files() {
		if name == trust.Folder+"/1.root.json" || strings.Contains(name, "/targets/") || strings.Contains(name, "/1.") {
			continue // not asked for
		}
		if _, err := m.sees(root, nil, m.attacked(map[string][]byte{name: b}), start); !errors.Is(err, trust.ErrUntrusted) {
			t.Errorf("%s of another store: %v", name, err)
		}
	}
	evil.must(evil.repo.Rotate(t.Context(), trust.Root, start))
	if _, err := m.sees(root, nil, m.attacked(map[string][]byte{trust.Folder + "/2.root.json": evil.root()}), start); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("root of another store: %v", err)
	}
	if _, err := trust.NewClient(&trust.ClientOptions{Root: []byte("{}")}); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("no root: %v", err)
	}
}

// TestOrder: a machine goes back only by the admin's signature.
func TestOrder(t *testing.T) {
	m := newRoom(t, nil)
	m.publish()
	m.publish()
	m.sign(start)
	allow := func(have, want int) error {
		s, err := open(t, m.root(), nil, m.store, start)
		m.must(err)
		return s.Allow(t.Context(), "pc", have, want)
	}
	m.must(allow(0, 1))
	m.must(allow(1, 3))
	if err := allow(3, 1); !errors.Is(err, trust.ErrOrder) || !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("back without an order: %v", err)
	}
	m.must(m.repo.SetOrder(t.Context(), m.store, "pc", 1, start))
	m.must(allow(3, 1))
	if err := allow(3, 2); !errors.Is(err, trust.ErrOrder) {
		t.Errorf("back to another version: %v", err)
	}
	m.publish()
	m.sign(start)
	m.must(allow(3, 1)) // it stays until it is withdrawn
	m.must(m.repo.SetOrder(t.Context(), m.store, "pc", 0, start))
	if err := allow(3, 1); !errors.Is(err, trust.ErrOrder) {
		t.Errorf("withdrawn: %v", err)
	}
	if err := m.repo.SetOrder(t.Context(), m.store, "pc", 9, start); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("order of a version that is not: %v", err)
	}
}

// TestUnsignedNames: what nobody signed is not there, and the way around the signed copy is shut.
func TestUnsignedNames(t *testing.T) {
	m := newRoom(t, nil)
	s, err := open(t, m.root(), nil, m.store, start)
	m.must(err)
	for _, name := range []string{"store.json", "images/other/versions.json", "images/pc/7.json", "keys/online/timestamp.key", "metadata/timestamp.json", ""} {
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
