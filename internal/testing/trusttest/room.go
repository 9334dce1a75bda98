// Package trusttest has signed stores for tests, and clients that read them under attack.
package trusttest

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/image"
	"troy/image/publish"
	"troy/image/trust"
	"troy/image/trust/sign"
)

// Folder is where the metadata lies in a store.
const Folder = "metadata"

// Start is when the tests' stores are made.
var Start = time.Date(2031, 3, 1, 8, 0, 0, 0, time.UTC)

// Day is a day.
const Day = 24 * time.Hour

// Room is a signed store and what its versions hold.
type Room struct {
	T     *testing.T
	Dir   string
	Store *image.Store
	Repo  *sign.Repository
	R     *rand.Rand
	Disks [][]byte // of version 1, 2, …
}

// NewRoom makes a store with one version, signed at Start.
func NewRoom(t *testing.T, o *sign.Options) *Room {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	m := &Room{T: t, Dir: filepath.Join(t.TempDir(), "store"), R: rand.New(rand.NewPCG(seed, 1))}
	var err error
	m.Store, err = publish.Init(m.Dir)
	m.Must(err)
	m.Repo, err = sign.Init(m.Dir, Start, o)
	m.Must(err)
	m.Publish()
	m.Sign(Start)
	return m
}

// Must fails the test on an error.
func (m *Room) Must(err error) {
	m.T.Helper()
	if err != nil {
		m.T.Fatal(err)
	}
}

func guid(n int) string { return string(rune('a'+n)) + "0000000-0000-4000-8000-000000000000" }

func (m *Room) disk(n int) *publish.Disk {
	return &publish.Disk{Reader: bytes.NewReader(m.Disks[n-1]), Size: int64(len(m.Disks[n-1])), SectorSize: 512, DataWriteGUID: guid(n)}
}

// Publish makes the next version, unsigned.
func (m *Room) Publish() {
	m.T.Helper()
	d := make([]byte, 3<<20)
	if len(m.Disks) > 0 {
		copy(d, m.Disks[len(m.Disks)-1])
	}
	for range 5 {
		at := m.R.IntN(len(d) - 8192)
		for i := range 8192 {
			d[at+i] = byte(m.R.Uint32())
		}
	}
	m.Disks = append(m.Disks, d)
	n := len(m.Disks)
	var err error
	if n == 1 {
		_, err = publish.Import(m.T.Context(), m.Store, "pc", m.disk(1), nil)
	} else {
		_, err = publish.Add(m.T.Context(), m.Store, "pc", publish.CompareDisk(m.disk(n), m.disk(n-1)), nil)
	}
	m.Must(err)
}

// Sign signs what the store holds; there must be something new.
func (m *Room) Sign(now time.Time) {
	m.T.Helper()
	if changed, err := m.Repo.SignAll(m.T.Context(), m.Store, now); err != nil || !changed {
		m.T.Fatalf("Sign = %v, %v", changed, err)
	}
}

// Key is the key of a machine.
var Key = strings.Repeat("a1", 32)

// Wipe is a permit to wipe a disk, for ten days from Start.
func Wipe(serial string) trust.Permit {
	return trust.Permit{Scope: trust.Wipe, Disk: serial, Until: Start.Add(10 * Day)}
}

// Downgrade is a permit for Key to go back to a version of "pc", for ten days from Start.
func Downgrade(version int) trust.Permit {
	return trust.Permit{Scope: trust.Downgrade, Key: Key, Image: "pc", Version: version, Until: Start.Add(10 * Day)}
}

// Permit signs permits at Start.
func (m *Room) Permit(permits ...trust.Permit) {
	m.T.Helper()
	m.Must(m.Repo.Permit(m.T.Context(), m.Store, permits, nil, Start))
}

// Root returns the newest root, as media carry it.
func (m *Room) Root() []byte {
	m.T.Helper()
	b, err := m.Repo.Root()
	m.Must(err)
	return b
}

// Files returns the content of all files of the metadata, by name in the tree.
func (m *Room) Files() map[string][]byte {
	m.T.Helper()
	all := map[string][]byte{}
	m.Must(filepath.WalkDir(filepath.Join(m.Dir, Folder), func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		rel, _ := filepath.Rel(m.Dir, p)
		all[filepath.ToSlash(rel)] = b
		return err
	}))
	return all
}

// Attacker is a source whose answers the attacker chooses.
type Attacker struct {
	image.Source
	docs image.Documents
	says map[string][]byte // nil: no such document
}

// Attacked is Attack on the store of the room.
func (m *Room) Attacked(says map[string][]byte) *Attacker {
	return Attack(m.Store, says)
}

// Attack returns a source that answers for some documents of a store otherwise; nil: there is no
// such document.
func Attack(store *image.Store, says map[string][]byte) *Attacker {
	return &Attacker{Source: store, docs: store, says: says}
}

// Get implements image.Documents.
func (a *Attacker) Get(ctx context.Context, name string, max int64) ([]byte, error) {
	if b, ok := a.says[name]; ok {
		if b == nil {
			return nil, image.ErrNotFound
		}
		return b, nil
	}
	return a.docs.Get(ctx, name, max)
}

// Memory is a trust.Memory.
type Memory struct{ B []byte }

// Load implements trust.Memory.
func (m *Memory) Load() ([]byte, error) { return m.B, nil }

// Save implements trust.Memory.
func (m *Memory) Save(b []byte) error { m.B = b; return nil }

// Source is what a client reads.
type Source interface {
	image.Source
	image.Documents
}

// Open is a whole run of a client: the signed view, or why not.
func Open(t *testing.T, root []byte, mem trust.Memory, src Source, now time.Time) (*trust.Source, error) {
	t.Helper()
	s, _, err := trust.Pinned(t.Context(), src, now, &trust.PinnedOptions{Root: root, Memory: mem})
	if (s == nil) != (err != nil) {
		t.Errorf("a client gives source %v, %v", s, err)
	}
	return s, err
}

// Sees opens and returns the newest version that the client believes in, having fetched it and
// compared it.
func (m *Room) Sees(root []byte, mem trust.Memory, src Source, now time.Time) (int, error) {
	m.T.Helper()
	s, err := Open(m.T, root, mem, src, now)
	if err != nil {
		return 0, err
	}
	x, err := image.LoadIndex(m.T.Context(), s, "pc")
	if err != nil {
		return 0, err
	}
	p, err := image.LoadPlan(m.T.Context(), s, "pc", 0, x.Latest())
	if err != nil {
		return 0, err
	}
	got := make(Disk, p.VirtualSize)
	if _, err := p.Fetch(m.T.Context(), s, got, nil); err != nil {
		return 0, err
	}
	if !bytes.Equal(got, m.Disks[x.Latest()-1]) {
		m.T.Errorf("version %d is not what was published", x.Latest())
	}
	return x.Latest(), nil
}

// WantVersion fails unless a client sees version n.
func (m *Room) WantVersion(n int, root []byte, mem trust.Memory, now time.Time) {
	m.T.Helper()
	if got, err := m.Sees(root, mem, m.Store, now); got != n || err != nil {
		m.T.Fatalf("the client sees version %d, %v; want %d", got, err, n)
	}
}

// Disk is a sink in memory.
type Disk []byte

// WriteAt implements io.WriterAt.
func (d Disk) WriteAt(p []byte, off int64) (int, error) { return copy(d[off:], p), nil }

var _ io.WriterAt = Disk(nil)

// CopyTree copies the folder of the store.
func (m *Room) CopyTree() *Room {
	m.T.Helper()
	c := *m
	c.Dir = filepath.Join(m.T.TempDir(), "copy")
	m.Must(os.CopyFS(c.Dir, os.DirFS(m.Dir)))
	c.Reopen(nil)
	return &c
}

// Reopen opens the store again, with other options.
func (m *Room) Reopen(o *sign.Options) {
	m.T.Helper()
	var err error
	m.Store, err = image.OpenStore(m.Dir)
	m.Must(err)
	m.Repo, err = sign.Open(m.Dir, o)
	m.Must(err)
}

// Media makes a folder with boot files of awkward sizes.
func (m *Room) Media(names ...string) (dir string, content map[string][]byte) {
	m.T.Helper()
	dir, content = m.T.TempDir(), map[string][]byte{}
	for i, name := range names {
		b := make([]byte, []int{1, 1<<20 - 1, 1 << 20, 1<<20 + 1, 3<<20 + 17}[i%5])
		for j := range b {
			b[j] = byte(m.R.Uint32())
		}
		p := filepath.Join(dir, filepath.FromSlash(name))
		m.Must(os.MkdirAll(filepath.Dir(p), 0o755))
		m.Must(os.WriteFile(p, b, 0o600))
		content[name] = b
	}
	return dir, content
}
