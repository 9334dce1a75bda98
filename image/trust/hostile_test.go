package trust_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"troy/image/trust"
	"troy/netfetch"
)

// asked returns the names of the documents that a client with the root reads.
func (m *room) asked(root []byte) []string {
	m.t.Helper()
	var names []string
	for name := range m.files() {
		if _, err := m.sees(root, nil, m.attacked(map[string][]byte{name: []byte("x")}), start); err != nil {
			names = append(names, name)
		}
	}
	if len(names) != 5 { // root, timestamp, snapshot, targets, the index of pc
		m.t.Fatalf("a client reads %q", names)
	}
	return names
}

// TestTruncated cuts each document that a client reads, at its ends and anywhere.
func TestTruncated(t *testing.T) {
	m := newRoom(t, nil)
	root := m.root()
	m.must(m.repo.Rotate(t.Context(), trust.Root, start))
	m.publish()
	m.sign(start)
	for _, name := range m.asked(root) {
		b := m.files()[name]
		cuts := []int{0, 1, len(b) / 2, len(b) - 2, len(b) - 1}
		for range 20 {
			cuts = append(cuts, m.r.IntN(len(b)))
		}
		for _, n := range cuts {
			if v, err := m.sees(root, nil, m.attacked(map[string][]byte{name: b[:n]}), start); err == nil && len(bytes.TrimSpace(b[n:])) > 0 {
				t.Errorf("%s cut to %d of %d bytes: version %d", name, n, len(b), v)
			}
		}
	}
}

// TestLonger: a document that is longer than its bound is refused although the source did not keep to it, and bytes behind a document do no harm.
func TestLonger(t *testing.T) {
	m := newRoom(t, nil)
	root := m.root()
	m.must(m.repo.Rotate(t.Context(), trust.Root, start))
	for _, name := range m.asked(root) {
		for _, tail := range [][]byte{bytes.Repeat([]byte(" "), 17<<20), []byte("{}"), m.files()[name]} {
			v, err := m.sees(root, nil, m.attacked(map[string][]byte{name: append(m.files()[name], tail...)}), start)
			if err == nil {
				t.Errorf("%s with %d bytes more: version %d", name, len(tail), v)
			}
		}
	}
}

// TestEndless: a server that never ends a document is left after some kilobytes, on whatever document.
func TestEndless(t *testing.T) {
	m := newRoom(t, nil)
	root := m.root()
	m.must(m.repo.Rotate(t.Context(), trust.Root, start))
	for _, name := range m.asked(root) {
		var sent atomic.Int64
		hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/"+name {
				http.ServeFile(w, r, path.Join(m.dir, path.Clean(r.URL.Path)))
				return
			}
			w.Header().Set("Content-Type", "application/json") // no length: chunked
			for b := m.files()[name]; ; b = bytes.Repeat([]byte(" "), 64<<10) {
				n, err := w.Write(b)
				if sent.Add(int64(n)); err != nil {
					return
				}
			}
		}))
		src, err := netfetch.NewHTTP(hs.URL, nil)
		m.must(err)
		_, _, err = trust.Pinned(t.Context(), src, start, &trust.PinnedOptions{Root: root, NotFound: notFound})
		if strings.HasSuffix(name, "versions.json") {
			m.must(err) // it is read later
			s, _, err := trust.Pinned(t.Context(), src, start, &trust.PinnedOptions{Root: root, NotFound: notFound})
			m.must(err)
			if b, err := s.Get(t.Context(), "images/pc/versions.json", 1<<20); err == nil {
				t.Errorf("%s: %d bytes", name, len(b))
			}
		} else if err == nil {
			t.Errorf("%s without end is trusted", name)
		}
		hs.Close()
		if n := sent.Load(); n > 24<<20 { // bound of the document, what the sockets take, tried again
			t.Errorf("%s: %d bytes were taken", name, n)
		}
	}
}

// signerOf opens a key of the store, as somebody who stole it does.
func (m *room) signerOf(role trust.Role) signature.Signer {
	m.t.Helper()
	b, err := os.ReadFile(m.repo.KeyPath(role))
	m.must(err)
	var k struct{ Seed []byte }
	m.must(json.Unmarshal(b, &k))
	s, err := signature.LoadED25519Signer(ed25519.NewKeyFromSeed(k.Seed))
	m.must(err)
	return s
}

// resign signs a document by another key and puts it in the place of what it was.
func resign[T metadata.Roles](m *room, empty *metadata.Metadata[T], b []byte, by signature.Signer, change func(*metadata.Metadata[T])) []byte {
	m.t.Helper()
	doc, err := empty.FromBytes(b)
	m.must(err)
	change(doc)
	doc.ClearSignatures()
	_, err = doc.Sign(by)
	m.must(err)
	b, err = doc.ToBytes(false)
	m.must(err)
	return b
}

// TestStolenKeys: the key of a role signs nothing but what that role signs. Whoever has the server has snapshot and timestamp, and no more.
func TestStolenKeys(t *testing.T) {
	m := newRoom(t, nil)
	root, files := m.root(), m.files()
	roles := []trust.Role{trust.Root, trust.Targets, trust.Snapshot, trust.Timestamp}
	for _, thief := range roles {
		by := m.signerOf(thief)
		for name, b := range map[trust.Role][]byte{
			trust.Timestamp: resign(m, metadata.Timestamp(), files["metadata/timestamp.json"], by, func(d *metadata.Metadata[metadata.TimestampType]) { d.Signed.Version++ }),
			trust.Snapshot:  resign(m, metadata.Snapshot(), files["metadata/2.snapshot.json"], by, func(*metadata.Metadata[metadata.SnapshotType]) {}),
			trust.Targets:   resign(m, metadata.Targets(), files["metadata/2.targets.json"], by, func(*metadata.Metadata[metadata.TargetsType]) {}),
			trust.Root:      resign(m, metadata.Root(), root, by, func(d *metadata.Metadata[metadata.RootType]) { d.Signed.Version++ }),
		} {
			if name == thief {
				continue
			}
			file := map[trust.Role]string{trust.Timestamp: "timestamp.json", trust.Snapshot: "2.snapshot.json", trust.Targets: "2.targets.json", trust.Root: "2.root.json"}[name]
			if v, err := m.sees(root, nil, m.attacked(map[string][]byte{"metadata/" + file: b}), start); !errors.Is(err, trust.ErrUntrusted) {
				t.Errorf("%s signed by the key of %s: version %d, %v", name, thief, v, err)
			}
		}
	}
	// Both online keys: the thief can name other targets in a snapshot of his, but cannot sign them.
	forged := resign(m, metadata.Targets(), files["metadata/2.targets.json"], m.signerOf(trust.Snapshot), func(d *metadata.Metadata[metadata.TargetsType]) {
		d.Signed.Version = 3
		d.Signed.Targets["orders/wipe.json"] = d.Signed.Targets["images/pc/1.json"]
	})
	snapshot := resign(m, metadata.Snapshot(), files["metadata/2.snapshot.json"], m.signerOf(trust.Snapshot), func(d *metadata.Metadata[metadata.SnapshotType]) {
		d.Signed.Version, d.Signed.Meta["targets.json"] = 3, metadata.MetaFile(3)
	})
	timestamp := resign(m, metadata.Timestamp(), files["metadata/timestamp.json"], m.signerOf(trust.Timestamp), func(d *metadata.Metadata[metadata.TimestampType]) {
		d.Signed.Version, d.Signed.Meta["snapshot.json"] = 3, metadata.MetaFile(3)
	})
	says := map[string][]byte{"metadata/3.targets.json": forged, "metadata/3.snapshot.json": snapshot, "metadata/timestamp.json": timestamp}
	if _, err := open(t, root, nil, m.attacked(says), start); !errors.Is(err, trust.ErrSignature) {
		t.Errorf("a server's thief signs targets: %v", err)
	}
}

// TestMutatedSets puts documents of several states and of another store together, bends and cuts some, with memories of any of it: what a client then
// trusts is exactly one of the states that were signed.
func TestMutatedSets(t *testing.T) {
	m, evil := newRoom(t, nil), newRoom(t, nil)
	root := m.root()
	var states []map[string][]byte
	var good []map[string]string
	memories := [][]byte{nil}
	remember := func(r *room, root []byte) *trust.Source {
		mem := &memory{}
		s, err := open(t, root, mem, r.store, start)
		m.must(err)
		memories = append(memories, mem.b)
		return s
	}
	state := func() { states, good = append(states, m.files()), append(good, remember(m, root).Names()) }
	state()
	m.must(m.repo.SetWipe(t.Context(), m.store, []trust.WipeEntry{{Serial: "S1234"}}, start))
	state()
	m.must(m.repo.Rotate(t.Context(), trust.Targets, start))
	m.publish()
	m.sign(start)
	state()
	evil.publish()
	evil.sign(start)
	remember(evil, evil.root())
	pool := map[string][][]byte{}
	for _, files := range append(states, evil.files()) {
		for name, b := range files {
			if strings.Count(name, "/") == 1 {
				pool[name] = append(pool[name], b)
			}
		}
	}
	names := make([]string, 0, len(pool))
	for name := range pool {
		names = append(names, name)
	}
	for _, files := range states {
		for _, name := range names {
			if files[name] == nil {
				files[name] = nil // it was not there then
			}
		}
	}
	count, trusted := 1500, 0
	if os.Getenv("TROY_SOAK") == "1" {
		count = 200000
	}
	for range count {
		says := maps.Clone(states[m.r.IntN(len(states))])
		for range m.r.IntN(4) {
			name := names[m.r.IntN(len(names))]
			says[name] = m.mutate(pool[name][m.r.IntN(len(pool[name]))], pool[names[m.r.IntN(len(names))]][0])
		}
		mem := &memory{m.mutate(memories[m.r.IntN(len(memories))], nil)}
		s, err := open(t, root, mem, m.attacked(says), start)
		if err != nil {
			continue
		}
		trusted++
		if !isOneOf(s.Names(), good) {
			t.Fatalf("the client trusts %v", s.Names())
		}
	}
	t.Logf("%d of %d sets trusted", trusted, count)
	if trusted < count/100 || trusted > count*99/100 {
		t.Errorf("%d of %d sets trusted: this proves nothing", trusted, count)
	}
}

func isOneOf(names map[string]string, good []map[string]string) bool {
	for _, g := range good {
		if maps.Equal(names, g) {
			return true
		}
	}
	return false
}

// mutate mostly leaves a document as it is, or bends, cuts or replaces it.
func (m *room) mutate(b, other []byte) []byte {
	if len(b) == 0 {
		return b
	}
	b = bytes.Clone(b)
	switch at := m.r.IntN(len(b)); m.r.IntN(8) {
	case 0:
		b[at] ^= 1 << m.r.IntN(8)
	case 1:
		b = b[:at]
	case 2:
		b = other
	case 3:
		b = append(b[:at:at], b[at+m.r.IntN(len(b)-at):]...)
	}
	return b
}
