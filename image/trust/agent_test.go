package trust_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"troy/image"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/testing/trusttest"
	"troy/netfetch"
)

// TestAgentRelease: a release is seen when it is signed, whole, and over HTTP.
func TestAgentRelease(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	root, mem := m.Root(), &trusttest.Memory{}
	s, err := trusttest.Open(t, root, mem, m.Store, trusttest.Start)
	m.Must(err)
	if _, err := s.AgentRelease(t.Context()); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("without a release: %v", err)
	}
	dir, content := m.Media("vmlinuz", "initramfs.cpio.zst", "troy.efi", "efi/shimx64.efi", "efi/grubx64.efi")
	_, err = sign.PublishAgent(t.Context(), m.Store, "1.0", dir)
	m.Must(err)
	if s, err = trusttest.Open(t, root, mem, m.Store, trusttest.Start); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AgentRelease(t.Context()); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("not signed: %v", err)
	}
	m.Sign(trusttest.Start)
	_, err = sign.PublishAgent(t.Context(), m.Store, "1.1", dir, "vmlinuz")
	m.Must(err) // in the store, not signed: 1.0 is still whole
	hs := httptest.NewServer(http.StripPrefix("/repo", http.FileServer(http.Dir(m.Dir))))
	defer hs.Close()
	src, err := netfetch.NewHTTP(hs.URL+"/repo/", nil)
	m.Must(err)
	s, says, err := trust.Pinned(t.Context(), src, trusttest.Start, &trust.PinnedOptions{Root: root, Memory: mem, NotFound: notFound})
	m.Must(err)
	if !strings.Contains(says, "is signed") {
		t.Errorf("Pinned says %q", says)
	}
	r, err := s.AgentRelease(t.Context())
	m.Must(err)
	if r.Version != "1.0" || len(r.Files) != len(content) {
		t.Fatalf("release %+v", r)
	}
	for name, want := range content {
		if got, err := s.File(t.Context(), r.Path(name)); err != nil || !bytes.Equal(got, want) || r.File(name).Size != int64(len(want)) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	for _, name := range []string{"agent/1.1/vmlinuz", "agent/release.json", "keys/server.key", "agent/1.0/../1.1/vmlinuz", "permits.json"} {
		if _, err := s.File(t.Context(), name); !errors.Is(err, image.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	m.Sign(trusttest.Start)
	m.Must(sign.UseAgent(t.Context(), m.Store, "1.0"))
	m.Sign(trusttest.Start)
	if err := sign.RemoveAgent(t.Context(), m.Store, "1.0"); !errors.Is(err, image.ErrInvalid) {
		t.Errorf("removing the current release: %v", err)
	}
	m.Must(sign.RemoveAgent(t.Context(), m.Store, "1.1"))
	m.Must(sign.RemoveAgent(t.Context(), m.Store, "1.0"))
	m.Sign(trusttest.Start)
	if list, current, err := sign.AgentReleases(m.Store); len(list) != 0 || current != "" || err != nil {
		t.Errorf("all removed: %v, %q, %v", list, current, err)
	}
	if left, _ := filepath.Glob(filepath.Join(m.Dir, "agent", ".new-*")); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
	m.WantVersion(1, root, mem, trusttest.Start)
}

func notFound(err error) bool { return errors.Is(err, netfetch.ErrNotFound) }

// bent changes one byte of a file.
type bent struct {
	trusttest.Source
	name     string
	at       int64
	cut      bool
	mirror   bool // there is another one, which is right
	rejected int64
}

func (b *bent) ReadRange(ctx context.Context, name string, off, n int64) ([]byte, error) {
	p, err := b.Source.ReadRange(ctx, name, off, n)
	if name == b.name && off <= b.at && b.at < off+n && err == nil {
		p[b.at-off] ^= 1
		if b.cut {
			p = p[:b.at-off]
		}
	}
	return p, err
}

func (b *bent) Reject(_ string, _, n int64) bool {
	if b.rejected += n; b.mirror {
		b.name = ""
	}
	return b.mirror
}

// TestAgentBent: no wrong file is ever whole, and the source hears of it.
func TestAgentBent(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	dir, content := m.Media("a", "b", "c", "d", "e")
	_, err := sign.PublishAgent(t.Context(), m.Store, "1.0", dir)
	m.Must(err)
	m.Sign(trusttest.Start)
	for name, want := range content {
		for _, at := range []int64{0, int64(len(want)) - 1, m.R.Int64N(int64(len(want)))} {
			for _, cut := range []bool{false, true} {
				src := &bent{Source: m.Store, name: "agent/1.0/" + name, at: at, cut: cut}
				s, err := trusttest.Open(t, m.Root(), nil, src, trusttest.Start)
				m.Must(err)
				if got, err := s.File(t.Context(), src.name); !errors.Is(err, trust.ErrContent) || got != nil {
					t.Errorf("%s, byte %d: %d bytes, %v", name, at, len(got), err)
				}
				if !cut && src.rejected != int64(len(want)) {
					t.Errorf("%s: %d of %d bytes rejected", name, src.rejected, len(want))
				}
				if src.mirror = true; cut {
					continue
				}
				if got, err := s.File(t.Context(), src.name); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s of the next mirror: %v", name, err)
				}
			}
		}
	}
	s, err := trusttest.Open(t, m.Root(), nil, m.Store, trusttest.Start)
	m.Must(err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.File(ctx, "agent/1.0/e"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := s.File(t.Context(), "agent/1.0/z"); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
}
