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
	"troy/image/trust/sign"
	"troy/internal/testing/trusttest"
	"troy/netfetch"
)

// asked returns the names of the documents that a client with the root reads.
func asked(m *trusttest.Room, root []byte) []string {
	m.T.Helper()
	var names []string
	for name := range m.Files() {
		if _, err := m.Sees(root, nil, m.Attacked(map[string][]byte{name: []byte("x")}), trusttest.Start); err != nil {
			names = append(names, name)
		}
	}
	if len(names) != 5 { // root, timestamp, snapshot, targets, the index of pc
		m.T.Fatalf("a client reads %q", names)
	}
	return names
}

// TestTruncated cuts each document that a client reads, at its ends and anywhere.
func TestTruncated(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	root := m.Root()
	m.Must(m.Repo.Rotate(t.Context(), m.Store, sign.Admin, trusttest.Start))
	m.Publish()
	m.Sign(trusttest.Start)
	for _, name := range asked(m, root) {
		b := m.Files()[name]
		cuts := []int{0, 1, len(b) / 2, len(b) - 2, len(b) - 1}
		for range 20 {
			cuts = append(cuts, m.R.IntN(len(b)))
		}
		for _, n := range cuts {
			if v, err := m.Sees(root, nil, m.Attacked(map[string][]byte{name: b[:n]}), trusttest.Start); err == nil && len(bytes.TrimSpace(b[n:])) > 0 {
				t.Errorf("%s cut to %d of %d bytes: version %d", name, n, len(b), v)
			}
		}
	}
}

// TestLonger: a document that is longer than its bound is refused although the source did not keep
// to it, and bytes behind a document do no harm.
func TestLonger(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	root := m.Root()
	m.Must(m.Repo.Rotate(t.Context(), m.Store, sign.Admin, trusttest.Start))
	for _, name := range asked(m, root) {
		for _, tail := range [][]byte{bytes.Repeat([]byte(" "), 17<<20), []byte("{}"), m.Files()[name]} {
			v, err := m.Sees(root, nil, m.Attacked(map[string][]byte{name: append(m.Files()[name], tail...)}), trusttest.Start)
			if err == nil {
				t.Errorf("%s with %d bytes more: version %d", name, len(tail), v)
			}
		}
	}
}

// TestEndless: a server that never ends a document is left after some kilobytes, on whatever
// document.
func TestEndless(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	root := m.Root()
	m.Must(m.Repo.Rotate(t.Context(), m.Store, sign.Admin, trusttest.Start))
	for _, name := range asked(m, root) {
		var sent atomic.Int64
		hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/"+name {
				http.ServeFile(w, r, path.Join(m.Dir, path.Clean(r.URL.Path)))
				return
			}
			w.Header().Set("Content-Type", "application/json") // no length: chunked
			for b := m.Files()[name]; ; b = bytes.Repeat([]byte(" "), 64<<10) {
				n, err := w.Write(b)
				if sent.Add(int64(n)); err != nil {
					return
				}
			}
		}))
		src, err := netfetch.NewHTTP(hs.URL, nil)
		m.Must(err)
		_, _, err = trust.Pinned(t.Context(), src, trusttest.Start, &trust.PinnedOptions{Root: root, NotFound: notFound})
		if strings.HasSuffix(name, "versions.json") {
			m.Must(err) // it is read later
			s, _, err := trust.Pinned(t.Context(), src, trusttest.Start, &trust.PinnedOptions{Root: root, NotFound: notFound})
			m.Must(err)
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

// signerOf opens a key of the store, as a thief does.
func signerOf(m *trusttest.Room, key sign.Key) signature.Signer {
	m.T.Helper()
	b, err := os.ReadFile(m.Repo.KeyPath(key))
	m.Must(err)
	var k struct{ Seed []byte }
	m.Must(json.Unmarshal(b, &k))
	s, err := signature.LoadED25519Signer(ed25519.NewKeyFromSeed(k.Seed))
	m.Must(err)
	return s
}

// resign signs a document by another key and puts it in the place of what it was.
func resign[T metadata.Roles](m *trusttest.Room, empty *metadata.Metadata[T], b []byte, by signature.Signer, change func(*metadata.Metadata[T])) []byte {
	m.T.Helper()
	doc, err := empty.FromBytes(b)
	m.Must(err)
	change(doc)
	doc.ClearSignatures()
	_, err = doc.Sign(by)
	m.Must(err)
	b, err = doc.ToBytes(false)
	m.Must(err)
	return b
}

// TestStolenKeys: a key signs nothing but what is its own. A thief who has the server has snapshot
// and timestamp, and no more.
func TestStolenKeys(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	root, files := m.Root(), m.Files()
	signs := map[string]sign.Key{"timestamp.json": sign.Server, "2.snapshot.json": sign.Server, "2.targets.json": sign.Admin, "2.root.json": sign.Admin}
	for _, thief := range []sign.Key{sign.Admin, sign.Server} {
		by := signerOf(m, thief)
		for name, b := range map[string][]byte{
			"timestamp.json":  resign(m, metadata.Timestamp(), files["metadata/timestamp.json"], by, func(d *metadata.Metadata[metadata.TimestampType]) { d.Signed.Version++ }),
			"2.snapshot.json": resign(m, metadata.Snapshot(), files["metadata/2.snapshot.json"], by, func(*metadata.Metadata[metadata.SnapshotType]) {}),
			"2.targets.json":  resign(m, metadata.Targets(), files["metadata/2.targets.json"], by, func(*metadata.Metadata[metadata.TargetsType]) {}),
			"2.root.json":     resign(m, metadata.Root(), root, by, func(d *metadata.Metadata[metadata.RootType]) { d.Signed.Version++ }),
		} {
			if signs[name] == thief {
				continue
			}
			if v, err := m.Sees(root, nil, m.Attacked(map[string][]byte{"metadata/" + name: b}), trusttest.Start); !errors.Is(err, trust.ErrUntrusted) {
				t.Errorf("%s signed by the %s: version %d, %v", name, thief, v, err)
			}
		}
	}
	// The thief can name other targets in a snapshot of his, but cannot sign
	// them.
	forged := resign(m, metadata.Targets(), files["metadata/2.targets.json"], signerOf(m, sign.Server), func(d *metadata.Metadata[metadata.TargetsType]) {
		d.Signed.Version = 3
		d.Signed.Targets["permits.json"] = d.Signed.Targets["images/pc/1.json"]
	})
	snapshot := resign(m, metadata.Snapshot(), files["metadata/2.snapshot.json"], signerOf(m, sign.Server), func(d *metadata.Metadata[metadata.SnapshotType]) {
		d.Signed.Version, d.Signed.Meta["targets.json"] = 3, metadata.MetaFile(3)
	})
	timestamp := resign(m, metadata.Timestamp(), files["metadata/timestamp.json"], signerOf(m, sign.Server), func(d *metadata.Metadata[metadata.TimestampType]) {
		d.Signed.Version, d.Signed.Meta["snapshot.json"] = 3, metadata.MetaFile(3)
	})
	says := map[string][]byte{"metadata/3.targets.json": forged, "metadata/3.snapshot.json": snapshot, "metadata/timestamp.json": timestamp}
	if _, err := trusttest.Open(t, root, nil, m.Attacked(says), trusttest.Start); !errors.Is(err, trust.ErrSignature) {
		t.Errorf("a server's thief signs targets: %v", err)
	}
}

// TestMutatedSets puts documents of several states and of another store together, bends and cuts
// some, with memories of any of it: what a client then trusts is exactly one of the states that
// were signed.
func TestMutatedSets(t *testing.T) {
	m, evil := trusttest.NewRoom(t, nil), trusttest.NewRoom(t, nil)
	root := m.Root()
	var states []map[string][]byte
	var good []map[string]string
	memories := [][]byte{nil}
	remember := func(r *trusttest.Room, root []byte) *trust.Source {
		mem := &trusttest.Memory{}
		s, err := trusttest.Open(t, root, mem, r.Store, trusttest.Start)
		m.Must(err)
		memories = append(memories, mem.B)
		return s
	}
	state := func() { states, good = append(states, m.Files()), append(good, remember(m, root).Names()) }
	state()
	m.Permit(trusttest.Wipe("S1234"))
	state()
	m.Must(m.Repo.Rotate(t.Context(), m.Store, sign.Admin, trusttest.Start))
	m.Publish()
	m.Sign(trusttest.Start)
	state()
	evil.Publish()
	evil.Sign(trusttest.Start)
	remember(evil, evil.Root())
	pool := map[string][][]byte{}
	for _, files := range append(states, evil.Files()) {
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
		says := maps.Clone(states[m.R.IntN(len(states))])
		for range m.R.IntN(4) {
			name := names[m.R.IntN(len(names))]
			says[name] = mutate(m, pool[name][m.R.IntN(len(pool[name]))], pool[names[m.R.IntN(len(names))]][0])
		}
		mem := &trusttest.Memory{B: mutate(m, memories[m.R.IntN(len(memories))], nil)}
		s, err := trusttest.Open(t, root, mem, m.Attacked(says), trusttest.Start)
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
func mutate(m *trusttest.Room, b, other []byte) []byte {
	if len(b) == 0 {
		return b
	}
	b = bytes.Clone(b)
	switch at := m.R.IntN(len(b)); m.R.IntN(8) {
	case 0:
		b[at] ^= 1 << m.R.IntN(8)
	case 1:
		b = b[:at]
	case 2:
		b = other
	case 3:
		b = append(b[:at:at], b[at+m.R.IntN(len(b)-at):]...)
	}
	return b
}
