package sign_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"troy/image"
	"troy/image/publish"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/testing/trusttest"
)

// thief signs as somebody who has the private half of a key.
type thief struct {
	signer signature.Signer
	key    *metadata.Key
}

func newThief(t *testing.T, private ed25519.PrivateKey) *thief {
	t.Helper()
	s, err := signature.LoadED25519Signer(private)
	must(t, err)
	k, err := metadata.KeyFromPublicKey(private.Public())
	must(t, err)
	return &thief{s, k}
}

// stranger is an attacker with a key of his own.
func stranger(t *testing.T) *thief {
	t.Helper()
	return newThief(t, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)))
}

// stolen is an attacker with a key of the store.
func stolen(t *testing.T, path string) *thief {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	var k struct{ Seed []byte }
	must(t, json.Unmarshal(b, &k))
	return newThief(t, ed25519.NewKeyFromSeed(k.Seed))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// forge changes a document of the metadata and signs it by a key; nil leaves the old signatures.
func forge[T metadata.Roles](m *trusttest.Room, empty *metadata.Metadata[T], from, to string, by *thief, change func(*T)) {
	m.T.Helper()
	b, err := os.ReadFile(filepath.Join(m.Dir, trusttest.Folder, from))
	m.Must(err)
	doc, err := empty.FromBytes(b)
	m.Must(err)
	change(&doc.Signed)
	if by != nil {
		doc.ClearSignatures()
		_, err = doc.Sign(by.signer)
		m.Must(err)
	}
	b, err = doc.ToBytes(false)
	m.Must(err)
	m.Must(os.WriteFile(filepath.Join(m.Dir, trusttest.Folder, to), b, 0o644))
}

// plantVersion publishes a version of the attacker's. His own copy of the room must not count as
// what the admin published.
func plantVersion(m *trusttest.Room) {
	evil := *m
	evil.Disks = slices.Clone(m.Disks)
	evil.Publish()
}

func plantAgent(m *trusttest.Room) {
	boot, _ := m.Media("vmlinuz")
	_, err := sign.PublishAgent(m.T.Context(), m.Store, "6.6.6", boot)
	m.Must(err)
}

// copyBack lays files of an older copy over a store.
func copyBack(m *trusttest.Room, older map[string][]byte) {
	m.T.Helper()
	m.Must(os.RemoveAll(filepath.Join(m.Dir, trusttest.Folder)))
	for name, b := range older {
		p := filepath.Join(m.Dir, filepath.FromSlash(name))
		m.Must(os.MkdirAll(filepath.Dir(p), 0o755))
		m.Must(os.WriteFile(p, b, 0o644))
	}
}

func replace(m *trusttest.Room, name, old, now string) {
	m.T.Helper()
	p := filepath.Join(m.Dir, filepath.FromSlash(name))
	b, err := os.ReadFile(p)
	m.Must(err)
	if !bytes.Contains(b, []byte(old)) {
		m.T.Fatalf("%s holds no %q", name, old)
	}
	m.Must(os.WriteFile(p, bytes.Replace(b, []byte(old), []byte(now), 1), 0o644))
}

// brokenIn is a room whose admin keeps the key on a stick, with three versions of which the third
// was removed, and permissions; older is the metadata from before the removal.
func brokenIn(t *testing.T) (m *trusttest.Room, older map[string][]byte) {
	t.Helper()
	m = trusttest.NewRoom(t, &sign.Options{Keys: filepath.Join(t.TempDir(), "stick")})
	m.Publish()
	m.Publish()
	m.Sign(trusttest.Start)
	older = m.Files()
	m.Must(publish.Remove(t.Context(), m.Store, "pc", 3))
	m.Sign(trusttest.Start)
	m.Disks = m.Disks[:2]
	m.Permit(trusttest.Downgrade(1))
	m.Permit(trusttest.Wipe("GOOD-1"))
	return m, older
}

// attacks are what somebody does who has the folder of the server, all of it, and its key. The
// newest metadata is 6.targets.json.
func attacks(older map[string][]byte) map[string]func(*trusttest.Room) {
	server := func(m *trusttest.Room) *thief { return stolen(m.T, m.Repo.KeyPath(sign.Server)) }
	return map[string]func(*trusttest.Room){
		"a version":           plantVersion,
		"a release":           plantAgent,
		"a removed version":   func(m *trusttest.Room) { plantOldIndex(m, older) },
		"an older state":      func(m *trusttest.Room) { copyBack(m, older) },
		"no metadata":         func(m *trusttest.Room) { m.Must(os.RemoveAll(filepath.Join(m.Dir, trusttest.Folder))) },
		"no timestamp":        func(m *trusttest.Room) { m.Must(os.Remove(filepath.Join(m.Dir, trusttest.Folder, "timestamp.json"))) },
		"another manifest":    func(m *trusttest.Room) { replace(m, "images/pc/1.json", `"sector_size": 512`, `"sector_size": 999`) },
		"all numbers used up": func(m *trusttest.Room) { replace(m, "images/pc/versions.json", `"next": 4`, `"next": 1000000`) },
		"an image": func(m *trusttest.Room) {
			_, err := publish.Import(m.T.Context(), m.Store, "evil", &publish.Disk{Reader: bytes.NewReader(m.Disks[0]), Size: int64(len(m.Disks[0])), SectorSize: 512}, nil)
			m.Must(err)
		},
		"targets that nobody signed": func(m *trusttest.Room) {
			plantVersion(m)
			forge(m, metadata.Targets(), "6.targets.json", "6.targets.json", nil, func(s *metadata.TargetsType) { s.Targets["images/pc/4.json"] = s.Targets["images/pc/1.json"] })
		},
		"targets that the server's key signed": func(m *trusttest.Room) {
			by := server(m)
			forge(m, metadata.Targets(), "6.targets.json", "7.targets.json", by, func(s *metadata.TargetsType) { s.Version = 7 })
			point(m, by, 7)
		},
		"older targets under a new timestamp": func(m *trusttest.Room) {
			m.Must(os.WriteFile(filepath.Join(m.Dir, trusttest.Folder, "3.targets.json"), older[trusttest.Folder+"/3.targets.json"], 0o644))
			point(m, server(m), 3)
		},
		"a root with a key beside the admin's": func(m *trusttest.Room) {
			by := stranger(m.T)
			forge(m, metadata.Root(), "1.root.json", "1.root.json", by, func(s *metadata.RootType) {
				m.Must(s.AddKey(by.key, metadata.ROOT))
				m.Must(s.AddKey(by.key, metadata.TARGETS))
			})
		},
		"a second root": func(m *trusttest.Room) {
			by := stranger(m.T)
			forge(m, metadata.Root(), "1.root.json", "2.root.json", by, func(s *metadata.RootType) {
				s.Version = 2
				m.Must(s.AddKey(by.key, metadata.ROOT))
			})
		},
		"a timestamp after which none can come": func(m *trusttest.Room) {
			forge(m, metadata.Timestamp(), "timestamp.json", "timestamp.json", server(m), func(s *metadata.TimestampType) { s.Version = math.MaxInt64 })
		},
		"another signed copy": func(m *trusttest.Room) {
			for name, b := range m.Files() {
				if strings.HasSuffix(name, ".permits.json") && bytes.Contains(b, []byte("GOOD-1")) {
					replace(m, name, "GOOD-1", "EVIL-1")
				}
			}
		},
	}
}

// plantOldIndex gives the admin's own removed version back to the list.
func plantOldIndex(m *trusttest.Room, older map[string][]byte) {
	for name, b := range older {
		if strings.HasSuffix(name, ".versions.json") && bytes.Contains(b, []byte("images/pc/3.json")) {
			m.Must(os.WriteFile(filepath.Join(m.Dir, "images", "pc", "versions.json"), b, 0o644))
		}
	}
}

// point has snapshot and timestamp name a version of the targets, as the server's key can.
func point(m *trusttest.Room, by *thief, targets int64) {
	m.T.Helper()
	forge(m, metadata.Snapshot(), "6.snapshot.json", "9.snapshot.json", by, func(s *metadata.SnapshotType) {
		s.Version, s.Meta["targets.json"] = 9, metadata.MetaFile(targets)
	})
	forge(m, metadata.Timestamp(), "timestamp.json", "timestamp.json", by, func(s *metadata.TimestampType) {
		s.Version, s.Meta["snapshot.json"] = 9, metadata.MetaFile(9)
	})
}

// TestBrokenInServer: whatever an attacker makes of the folder of the store, and whatever ordinary
// thing the admin does then: nothing is signed and nothing given out. A rotation puts the folder
// back, and tells what it does.
func TestBrokenInServer(t *testing.T) {
	room, older := brokenIn(t)
	stick := filepath.Dir(room.Repo.KeyPath(sign.Admin))
	root := room.Root()
	signed := signedTargets(room)
	for name, attack := range attacks(older) {
		t.Run(name, func(t *testing.T) {
			m := room.CopyTree()
			m.T = t
			keys := filepath.Join(t.TempDir(), "stick")
			must(t, os.CopyFS(keys, os.DirFS(stick)))
			shown := []sign.Difference{}
			o := &sign.Options{Keys: keys, Confirm: func(_ string, list []sign.Difference) error {
				shown = list
				return errors.New("the admin says no")
			}}
			m.Reopen(o)
			attack(m)
			repo, err := sign.Open(m.Dir, o)
			if repo == nil {
				t.Fatal(err)
			}
			m.Repo = repo
			before := filesOf(m)
			wantNothingSigned(t, m, before)
			if err := repo.Rotate(t.Context(), m.Store, sign.Server, trusttest.Start); !errors.Is(err, sign.ErrRefused) {
				t.Errorf("a rotation that the admin does not want: %v", err)
			}
			if len(shown) == 0 || !maps.EqualFunc(filesOf(m), before, bytes.Equal) {
				t.Errorf("asked about %v, and it was done", shown)
			}
			o.Confirm = nil
			if m.Repo, err = sign.Open(m.Dir, o); m.Repo == nil {
				t.Fatal(err)
			}
			must(t, m.Repo.Rotate(t.Context(), m.Store, sign.Server, trusttest.Start))
			must(t, m.Repo.Ready(t.Context(), m.Store))
			m.WantVersion(2, root, nil, trusttest.Start)
			if again := signedTargets(m); !maps.Equal(again, signed) {
				t.Errorf("signed is %v, was %v", again, signed)
			}
			m.Publish() // and work goes on
			m.Sign(trusttest.Start)
			if signedTargets(m)["images/pc/4.json"] == "" {
				t.Error("the next version cannot be signed")
			}
		})
	}
}

// filesOf are the files of the metadata, if there are any.
func filesOf(m *trusttest.Room) map[string][]byte {
	if _, err := os.Stat(filepath.Join(m.Dir, trusttest.Folder)); err != nil {
		return nil
	}
	return m.Files()
}

// signedTargets are names and hashes in the newest targets metadata.
func signedTargets(m *trusttest.Room) map[string]string {
	m.T.Helper()
	newest := int64(0)
	all := map[string]string{}
	for name, b := range m.Files() {
		doc, err := metadata.Targets().FromBytes(b)
		if !strings.HasSuffix(name, ".targets.json") || err != nil || doc.Signed.Version <= newest {
			continue
		}
		newest = doc.Signed.Version
		clear(all)
		for target, f := range doc.Signed.Targets {
			all[target] = f.Hashes["sha256"].String()
		}
	}
	return all
}

// wantNothingSigned does what an admin does.
func wantNothingSigned(t *testing.T, m *trusttest.Room, before map[string][]byte) {
	t.Helper()
	ctx, now := t.Context(), trusttest.Start
	boot, _ := m.Media("vmlinuz")
	for what, f := range map[string]func() error{
		"ready":    func() error { return m.Repo.Ready(ctx, m.Store) },
		"permit":   func() error { return m.Repo.Permit(ctx, m.Store, []trust.Permit{trusttest.Wipe("GOOD-2")}, nil, now) },
		"withdraw": func() error { return m.Repo.Withdraw(ctx, m.Store, func(trust.Permit) bool { return true }, now) },
		"renew":    func() error { _, err := m.Repo.Sign(ctx, m.Store, now.AddDate(1, 6, 0)); return err },
		"all":      func() error { _, err := m.Repo.SignAll(ctx, m.Store, now); return err },
		"permits":  func() error { _, err := m.Repo.Permits(ctx); return err },
		"root":     func() error { _, err := m.Repo.Root(); return err },
		"source":   func() error { return evilSeen(t, m) },
		"release": func() error {
			r, err := sign.PublishAgent(ctx, m.Store, "1.0", boot)
			if err != nil {
				return err
			}
			defer os.RemoveAll(filepath.Join(m.Dir, "agent", "1.0"))
			_, err = m.Repo.Sign(ctx, m.Store, now, sign.ReleaseItem(r), sign.CurrentRelease("1.0"))
			return err
		},
	} {
		err := f()
		if err != nil && !errors.Is(err, sign.ErrDoubt) && !errors.Is(err, sign.ErrRefused) {
			t.Errorf("%s: %v", what, err)
		}
		reads := what == "permits" || what == "root" || what == "source"
		if err == nil && !reads {
			t.Errorf("%s was done", what)
		}
	}
	if !maps.EqualFunc(filesOf(m), before, bytes.Equal) {
		t.Error("the metadata was changed")
	}
}

// evilSeen looks at the store as an export does: what it shows is what was signed.
func evilSeen(t *testing.T, m *trusttest.Room) error {
	t.Helper()
	src, err := m.Repo.Source(t.Context(), m.Store)
	if err != nil {
		return err
	}
	x, err := image.LoadIndex(t.Context(), src, "pc")
	must(t, err)
	if x.Latest() != 2 {
		t.Errorf("version %d can be taken out of the store", x.Latest())
	}
	if _, err := image.LoadIndex(t.Context(), src, "evil"); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("the image evil: %v", err)
	}
	if _, err := image.LoadManifest(t.Context(), src, "pc", 1); err != nil && !errors.Is(err, trust.ErrContent) && !errors.Is(err, image.ErrCorrupt) {
		t.Errorf("version 1: %v", err)
	}
	return nil
}

// TestSecurityPage: the page for admins lists what is tried here, and nothing else.
func TestSecurityPage(t *testing.T) {
	b, err := os.ReadFile("../../../docs/security.md")
	must(t, err)
	_, list, ok := strings.Cut(string(b), "with all commands that sign or export:\n")
	list, _, end := strings.Cut(list, "\n\nWhat to do:")
	if !ok || !end {
		t.Fatal("the page has no list")
	}
	tried := attacks(nil)
	for line := range strings.Lines(list) {
		for name := range strings.SplitSeq(strings.TrimSpace(strings.TrimPrefix(line, "- ")), ", ") {
			if name != "" && tried[name] == nil {
				t.Errorf("the page says %q, which is not tried", name)
			}
			delete(tried, name)
		}
	}
	if len(tried) > 0 {
		t.Errorf("the page does not say %v", slices.Collect(maps.Keys(tried)))
	}
}
