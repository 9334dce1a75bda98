package trust_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"troy/image"
	"troy/image/publish"
	"troy/image/trust"
)

// start is when the tests' stores are made.
var start = time.Date(2031, 3, 1, 8, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// room is a signed store and what its versions hold.
type room struct {
	t     *testing.T
	dir   string
	store *image.Store
	repo  *trust.Repository
	disks [][]byte // of version 1, 2, …
	r     *rand.Rand
}

func newRoom(t *testing.T, o *trust.Options) *room {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	m := &room{t: t, dir: filepath.Join(t.TempDir(), "store"), r: rand.New(rand.NewPCG(seed, 1))}
	var err error
	m.store, err = publish.Init(m.dir)
	m.must(err)
	m.repo, err = trust.Init(m.dir, start, o)
	m.must(err)
	m.publish()
	m.sign(start)
	return m
}

func (m *room) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func guid(n int) string { return string(rune('a'+n)) + "0000000-0000-4000-8000-000000000000" }

func (m *room) disk(n int) *publish.Disk {
	return &publish.Disk{Reader: bytes.NewReader(m.disks[n-1]), Size: int64(len(m.disks[n-1])), SectorSize: 512, DataWriteGUID: guid(n)}
}

// publish makes the next version, unsigned.
func (m *room) publish() {
	m.t.Helper()
	d := make([]byte, 3<<20)
	if len(m.disks) > 0 {
		copy(d, m.disks[len(m.disks)-1])
	}
	for range 5 {
		at := m.r.IntN(len(d) - 8192)
		for i := range 8192 {
			d[at+i] = byte(m.r.Uint32())
		}
	}
	m.disks = append(m.disks, d)
	n := len(m.disks)
	var err error
	if n == 1 {
		_, err = publish.Import(m.t.Context(), m.store, "pc", m.disk(1), nil)
	} else {
		_, err = publish.Add(m.t.Context(), m.store, "pc", publish.CompareDisk(m.disk(n), m.disk(n-1)), nil)
	}
	m.must(err)
}

func (m *room) sign(now time.Time) {
	m.t.Helper()
	if changed, err := m.repo.Sign(m.t.Context(), m.store, now); err != nil || !changed {
		m.t.Fatalf("Sign = %v, %v", changed, err)
	}
}

func (m *room) root() []byte {
	m.t.Helper()
	b, err := m.repo.Root()
	m.must(err)
	return b
}

// files returns the content of all files of the metadata, by name in the tree.
func (m *room) files() map[string][]byte {
	m.t.Helper()
	all := map[string][]byte{}
	m.must(filepath.WalkDir(filepath.Join(m.dir, trust.Folder), func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		rel, _ := filepath.Rel(m.dir, p)
		all[filepath.ToSlash(rel)] = b
		return err
	}))
	return all
}

// attacker is a source that answers what he likes.
type attacker struct {
	image.Source
	docs image.Documents
	says map[string][]byte // nil: no such document
}

func (m *room) attacked(says map[string][]byte) *attacker {
	return &attacker{Source: m.store, docs: m.store, says: says}
}

func (a *attacker) Get(ctx context.Context, name string, max int64) ([]byte, error) {
	if b, ok := a.says[name]; ok {
		if b == nil {
			return nil, image.ErrNotFound
		}
		return b, nil
	}
	return a.docs.Get(ctx, name, max)
}

// memory is a trust.Memory.
type memory struct{ b []byte }

func (m *memory) Load() ([]byte, error) { return m.b, nil }
func (m *memory) Save(b []byte) error   { m.b = b; return nil }

type source interface {
	image.Source
	image.Documents
}

// open is a whole run of a client: the signed view, or why not.
func open(t *testing.T, root []byte, mem trust.Memory, src source, now time.Time) (*trust.Source, error) {
	t.Helper()
	c, err := trust.NewClient(&trust.ClientOptions{Root: root, Memory: mem})
	if err != nil {
		return nil, err
	}
	if err := c.Refresh(t.Context(), src, now); err != nil {
		if _, serr := c.Source(src); serr == nil {
			t.Error("a client that failed gives a source")
		}
		return nil, err
	}
	return c.Source(src)
}

// sees opens and returns the newest version that the client believes in, having fetched it and compared it.
func (m *room) sees(root []byte, mem trust.Memory, src source, now time.Time) (int, error) {
	m.t.Helper()
	s, err := open(m.t, root, mem, src, now)
	if err != nil {
		return 0, err
	}
	x, err := image.LoadIndex(m.t.Context(), s, "pc")
	if err != nil {
		return 0, err
	}
	p, err := image.LoadPlan(m.t.Context(), s, "pc", 0, x.Latest())
	if err != nil {
		return 0, err
	}
	got := make(disk, p.VirtualSize)
	if _, err := p.Fetch(m.t.Context(), s, got, nil); err != nil {
		return 0, err
	}
	if !bytes.Equal(got, m.disks[x.Latest()-1]) {
		m.t.Errorf("version %d is not what was published", x.Latest())
	}
	return x.Latest(), nil
}

// wantVersion fails unless a client sees version n.
func (m *room) wantVersion(n int, root []byte, mem trust.Memory, now time.Time) {
	m.t.Helper()
	if got, err := m.sees(root, mem, m.store, now); got != n || err != nil {
		m.t.Fatalf("the client sees version %d, %v; want %d", got, err, n)
	}
}

type disk []byte

func (d disk) WriteAt(p []byte, off int64) (int, error) { return copy(d[off:], p), nil }

var _ io.WriterAt = disk(nil)

// copyTree copies the folder of the store.
func (m *room) copyTree() *room {
	m.t.Helper()
	c := *m
	c.dir = filepath.Join(m.t.TempDir(), "copy")
	m.must(os.CopyFS(c.dir, os.DirFS(m.dir)))
	c.reopen(nil)
	return &c
}

func (m *room) reopen(o *trust.Options) {
	m.t.Helper()
	var err error
	m.store, err = image.OpenStore(m.dir)
	m.must(err)
	m.repo, err = trust.Open(m.dir, o)
	m.must(err)
}
