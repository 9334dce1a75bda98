package trust_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/image"
	"troy/image/trust"
	"troy/internal/testing/trusttest"
)

// TestPinned: each of the ways in which a machine can be told, or not told, whom to trust.
func TestPinned(t *testing.T) {
	m, other := trusttest.NewRoom(t, nil), trusttest.NewRoom(t, nil)
	m.Publish()
	m.Sign(trusttest.Start)
	bare := m.CopyTree()
	m.Must(os.RemoveAll(filepath.Join(bare.Dir, trusttest.Folder)))
	root := m.Root()
	for _, c := range []struct {
		name string
		src  trusttest.Source
		now  time.Time
		o    trust.PinnedOptions
		err  error
		says string
	}{
		{"signed", m.Store, trusttest.Start, trust.PinnedOptions{Root: root, Memory: &trusttest.Memory{}}, nil, "root version 1, targets version 3, fresh until 2031-03-15"},
		{"no memory", m.Store, trusttest.Start, trust.PinnedOptions{Root: root}, nil, "nothing is remembered"},
		{"no root on the media", m.Store, trusttest.Start, trust.PinnedOptions{}, trust.ErrNoRoot, "troy media --store"},
		{"no root, bare store", bare.Store, trusttest.Start, trust.PinnedOptions{}, trust.ErrNoRoot, "troy media --store"},
		{"bare store", bare.Store, trusttest.Start, trust.PinnedOptions{Root: root}, trust.ErrNotSigned, "troy key init"},
		{"other store", other.Store, trusttest.Start, trust.PinnedOptions{Root: root}, trust.ErrSignature, "another store"},
		{"empty root", m.Store, trusttest.Start, trust.PinnedOptions{Root: []byte{}}, trust.ErrUntrusted, "boot media"},
		{"root is not one", m.Store, trusttest.Start, trust.PinnedOptions{Root: []byte("hello")}, trust.ErrUntrusted, "boot media"},
		{"late", m.Store, trusttest.Start.Add(15 * trusttest.Day), trust.PinnedOptions{Root: root}, trust.ErrExpired, "clock"},
		{"clock lost", m.Store, time.Unix(0, 0), trust.PinnedOptions{Root: root, Built: trusttest.Start.Add(-time.Hour)}, nil, "is signed"},
		{"clock lost, expired before the agent was built", m.Store, time.Unix(0, 0), trust.PinnedOptions{Root: root, Built: trusttest.Start.Add(20 * trusttest.Day)}, trust.ErrExpired, "clock"},
	} {
		s, says, err := trust.Pinned(t.Context(), c.src, c.now, &c.o)
		if !errors.Is(err, c.err) || c.err == nil && err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if (s == nil) != (err != nil) {
			t.Errorf("%s: source %v, %v", c.name, s, err)
		}
		if err != nil {
			says = err.Error()
		}
		if !strings.Contains(says, c.says) || strings.Contains(says, "\n") {
			t.Errorf("%s: says %q", c.name, says)
		}
		if s == nil {
			continue
		}
		if x, err := image.LoadIndex(t.Context(), s, "pc"); err != nil || x.Latest() != 2 {
			t.Errorf("%s: %v, %v", c.name, x, err)
		}
		for what, err := range map[string]error{"back": s.Permitted(t.Context(), trust.Use{Scope: trust.Downgrade, Image: "pc", Version: 1}, trusttest.Start), "wipe": s.Permitted(t.Context(), trust.Use{Scope: trust.Wipe, Disk: "S1234"}, trusttest.Start)} {
			if err == nil {
				t.Errorf("%s, %s: %v", c.name, what, err)
			}
		}
	}
}
