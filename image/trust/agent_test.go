package trust_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"troy/image"
	"troy/image/trust"
	"troy/netfetch"
)

// media makes a folder with boot files of awkward sizes.
func (m *room) media(names ...string) (dir string, content map[string][]byte) {
	m.t.Helper()
	dir, content = m.t.TempDir(), map[string][]byte{}
	for i, name := range names {
		b := make([]byte, []int{1, 1<<20 - 1, 1 << 20, 1<<20 + 1, 3<<20 + 17}[i%5])
		for j := range b {
			b[j] = byte(m.r.Uint32())
		}
		p := filepath.Join(dir, filepath.FromSlash(name))
		m.must(os.MkdirAll(filepath.Dir(p), 0o755))
		m.must(os.WriteFile(p, b, 0o600))
		content[name] = b
	}
	return dir, content
}

// TestAgentRelease: a release is seen when it is signed, whole, and over HTTP.
func TestAgentRelease(t *testing.T) {
	m := newRoom(t, nil)
	root, mem := m.root(), &memory{}
	s, err := open(t, root, mem, m.store, start)
	m.must(err)
	if _, err := s.AgentRelease(t.Context()); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("without a release: %v", err)
	}
	dir, content := m.media("vmlinuz", "initramfs.cpio.zst", "troy.efi", "efi/shimx64.efi", "efi/grubx64.efi")
	_, err = trust.PublishAgent(t.Context(), m.store, "1.0", dir)
	m.must(err)
	if s, err = open(t, root, mem, m.store, start); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AgentRelease(t.Context()); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("not signed: %v", err)
	}
	m.sign(start)
	_, err = trust.PublishAgent(t.Context(), m.store, "1.1", dir, "vmlinuz")
	m.must(err) // in the store, not signed: 1.0 is still whole
	hs := httptest.NewServer(http.StripPrefix("/repo", http.FileServer(http.Dir(m.dir))))
	defer hs.Close()
	src, err := netfetch.NewHTTP(hs.URL+"/repo/", nil)
	m.must(err)
	s, says, err := trust.Pinned(t.Context(), src, start, &trust.PinnedOptions{Root: root, Memory: mem, NotFound: notFound})
	m.must(err)
	if !s.Signed() || !strings.Contains(says, "is signed") {
		t.Errorf("Pinned says %q", says)
	}
	r, err := s.AgentRelease(t.Context())
	m.must(err)
	if r.Version != "1.0" || len(r.Files) != len(content) {
		t.Fatalf("release %+v", r)
	}
	for name, want := range content {
		var got bytes.Buffer
		if err := s.Fetch(t.Context(), r.Path(name), &got); err != nil || !bytes.Equal(got.Bytes(), want) || r.File(name).Size != int64(len(want)) {
			t.Errorf("%s: %d bytes, %v", name, got.Len(), err)
		}
	}
	for name, want := range content {
		f := s.Open(t.Context(), r.Path(name))
		if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s read: %d bytes, %v", name, len(got), err)
		}
		m.must(f.Close())
	}
	f := s.Open(t.Context(), r.Path("efi/grubx64.efi"))
	_, err = io.ReadFull(f, make([]byte, 1<<19))
	m.must(err)
	m.must(f.Close()) // in the middle
	if n, err := f.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes after Close", n)
	}
	for _, name := range []string{"agent/1.1/vmlinuz", "agent/release.json", "keys/online/timestamp.key", "agent/1.0/../1.1/vmlinuz", "orders/wipe.json"} {
		if err := s.Fetch(t.Context(), name, &bytes.Buffer{}); !errors.Is(err, image.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	m.sign(start)
	m.must(trust.UseAgent(t.Context(), m.store, "1.0"))
	m.sign(start)
	if err := trust.RemoveAgent(t.Context(), m.store, "1.0"); !errors.Is(err, image.ErrInvalid) {
		t.Errorf("removing the current release: %v", err)
	}
	m.must(trust.RemoveAgent(t.Context(), m.store, "1.1"))
	m.must(trust.RemoveAgent(t.Context(), m.store, "1.0"))
	m.sign(start)
	if list, current, err := trust.AgentReleases(m.store); len(list) != 0 || current != "" || err != nil {
		t.Errorf("all removed: %v, %q, %v", list, current, err)
	}
	if left, _ := filepath.Glob(filepath.Join(m.dir, "agent", ".new-*")); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
	m.wantVersion(1, root, mem, start)
}

func notFound(err error) bool { return errors.Is(err, netfetch.ErrNotFound) }

// bent changes one byte of a file.
type bent struct {
	source
	name     string
	at       int64
	cut      bool
	rejected int64
}

func (b *bent) ReadRange(ctx context.Context, name string, off, n int64) ([]byte, error) {
	p, err := b.source.ReadRange(ctx, name, off, n)
	if name == b.name && off <= b.at && b.at < off+n && err == nil {
		p[b.at-off] ^= 1
		if b.cut {
			p = p[:b.at-off]
		}
	}
	return p, err
}

func (b *bent) Reject(_ string, _, n int64) { b.rejected += n }

// TestAgentBent: no wrong file is ever whole, and the source hears of it.
func TestAgentBent(t *testing.T) {
	m := newRoom(t, nil)
	dir, content := m.media("a", "b", "c", "d", "e")
	_, err := trust.PublishAgent(t.Context(), m.store, "1.0", dir)
	m.must(err)
	m.sign(start)
	for name, want := range content {
		for _, at := range []int64{0, int64(len(want)) - 1, m.r.Int64N(int64(len(want)))} {
			for _, cut := range []bool{false, true} {
				src := &bent{source: m.store, name: "agent/1.0/" + name, at: at, cut: cut}
				s, err := open(t, m.root(), nil, src, start)
				m.must(err)
				var got bytes.Buffer
				if err := s.Fetch(t.Context(), src.name, &got); !errors.Is(err, trust.ErrContent) {
					t.Errorf("%s, byte %d: %v", name, at, err)
				}
				if got.Len() >= len(want) || !cut && src.rejected != int64(len(want)) {
					t.Errorf("%s: %d of %d bytes written, %d rejected", name, got.Len(), len(want), src.rejected)
				}
				f := s.Open(t.Context(), src.name)
				if b, err := io.ReadAll(f); !errors.Is(err, trust.ErrContent) || len(b) >= len(want) {
					t.Errorf("%s read: %d bytes, %v", name, len(b), err)
				}
				m.must(f.Close())
				src.name = "" // the next mirror
				got.Reset()
				if err := s.Fetch(t.Context(), "agent/1.0/"+name, &got); err != nil || !bytes.Equal(got.Bytes(), want) {
					t.Errorf("%s again: %v", name, err)
				}
			}
		}
	}
	s, err := open(t, m.root(), nil, m.store, start)
	m.must(err)
	if err := s.Fetch(t.Context(), "agent/1.0/e", &full{n: 2 << 20}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("full: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Fetch(ctx, "agent/1.0/e", &bytes.Buffer{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	// The same by the unsigned way: damage is found, forgery is not.
	u, _, err := trust.Pinned(t.Context(), &bent{source: m.store, name: "agent/1.0/b"}, start, &trust.PinnedOptions{Unsigned: true})
	m.must(err)
	if err := u.Fetch(t.Context(), "agent/1.0/b", &bytes.Buffer{}); !errors.Is(err, trust.ErrContent) {
		t.Errorf("unsigned, bent: %v", err)
	}
	m.must(u.Fetch(t.Context(), "agent/1.0/a", &bytes.Buffer{}))
	if err := u.Fetch(t.Context(), "agent/1.0/z", &bytes.Buffer{}); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("unsigned, unknown: %v", err)
	}
}

type full struct{ n int }

func (f *full) Write(p []byte) (int, error) {
	if f.n -= len(p); f.n < 0 {
		return 0, syscall.ENOSPC
	}
	return len(p), nil
}

// TestAgentRefused: what cannot be published leaves the store as it was; what somebody changed is not signed.
func TestAgentRefused(t *testing.T) {
	m := newRoom(t, nil)
	dir, _ := m.media("vmlinuz", "troy.efi")
	publish := func(version, from string, names ...string) error {
		_, err := trust.PublishAgent(t.Context(), m.store, version, from, names...)
		return err
	}
	empty, hidden, pipe, twins := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	m.must(os.WriteFile(filepath.Join(hidden, ".x"), []byte("x"), 0o600))
	m.must(syscall.Mkfifo(filepath.Join(pipe, "p"), 0o600))
	for _, n := range []string{"a", "A"} {
		m.must(os.WriteFile(filepath.Join(twins, n), []byte("x"), 0o600))
	}
	for name, err := range map[string]error{
		"no version": publish("", dir), "a path": publish("../x", dir), "release.json": publish("release.json", dir), "upper case": publish("V1", dir),
		"empty folder": publish("1", empty), "hidden file": publish("1", hidden), "a pipe": publish("1", pipe), "outside": publish("1", empty, "../"+filepath.Base(dir)+"/vmlinuz"),
		"names that FAT takes for one": publish("1", twins),
	} {
		if err == nil {
			t.Errorf("%s is published", name)
		}
	}
	if err := publish("1", dir, "nothing"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if list, _, err := trust.AgentReleases(m.store); len(list) != 0 || err != nil {
		t.Fatalf("AgentReleases = %v, %v", list, err)
	}
	m.must(publish("1", dir))
	if err := publish("1", dir); !errors.Is(err, image.ErrExists) {
		t.Errorf("the same again: %v", err)
	}
	kernel := filepath.Join(m.dir, "agent", "1", "vmlinuz")
	good, err := os.ReadFile(kernel)
	m.must(err)
	m.must(os.WriteFile(kernel, append([]byte("x"), good[1:]...), 0o644))
	if _, err := m.repo.Sign(t.Context(), m.store, start); !errors.Is(err, trust.ErrRepository) && good[0] != 'x' {
		t.Errorf("damaged before it was signed: %v", err)
	}
	m.must(os.WriteFile(kernel, good, 0o644))
	m.sign(start)
	// Another release under the same name, put there by somebody.
	m.must(os.RemoveAll(filepath.Join(m.dir, "agent")))
	m.must(publish("1", dir, "troy.efi"))
	if _, err := m.repo.Sign(t.Context(), m.store, start); !errors.Is(err, trust.ErrRepository) {
		t.Errorf("another release 1 is signed: %v", err)
	}
	m.must(os.WriteFile(filepath.Join(m.dir, "agent", "release.json"), []byte("{}"), 0o644))
	if _, err := m.repo.Unsigned(t.Context(), m.store); !errors.Is(err, trust.ErrRepository) {
		t.Errorf("an index that is none: %v", err)
	}
}

// TestAgentInterrupted: an interrupted publication leaves nothing that anyone sees, and the next one clears it away.
func TestAgentInterrupted(t *testing.T) {
	m := newRoom(t, nil)
	dir, _ := m.media("a", "b", "c", "d", "e")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := trust.PublishAgent(ctx, m.store, "1", dir); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	cut := filepath.Join(m.dir, "agent", ".new-killed")
	m.must(os.MkdirAll(filepath.Join(cut, "x"), 0o755))
	if list, _, err := trust.AgentReleases(m.store); len(list) != 0 || err != nil {
		t.Errorf("AgentReleases = %v, %v", list, err)
	}
	if names, err := m.repo.Unsigned(t.Context(), m.store); len(names) != 0 || err != nil {
		t.Errorf("Unsigned = %q, %v", names, err)
	}
	if _, err := trust.PublishAgent(t.Context(), m.store, "1", dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(cut); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was left: %v", err)
	}
}
