package sign_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"troy/image"
	"troy/image/trust/sign"
	"troy/internal/testing/trusttest"
)

// TestAgentRefused: what cannot be published leaves the store as it was; what was changed is
// not signed.
func TestAgentRefused(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	dir, _ := m.Media("vmlinuz", "troy.efi")
	publish := func(version, from string, names ...string) error {
		_, err := sign.PublishAgent(t.Context(), m.Store, version, from, names...)
		return err
	}
	empty, hidden, pipe, twins := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	m.Must(os.WriteFile(filepath.Join(hidden, ".x"), []byte("x"), 0o600))
	m.Must(syscall.Mkfifo(filepath.Join(pipe, "p"), 0o600))
	for _, n := range []string{"a", "A"} {
		m.Must(os.WriteFile(filepath.Join(twins, n), []byte("x"), 0o600))
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
	if list, _, err := sign.AgentReleases(m.Store); len(list) != 0 || err != nil {
		t.Fatalf("AgentReleases = %v, %v", list, err)
	}
	m.Must(publish("1", dir))
	if err := publish("1", dir); !errors.Is(err, image.ErrExists) {
		t.Errorf("the same again: %v", err)
	}
	kernel := filepath.Join(m.Dir, "agent", "1", "vmlinuz")
	good, err := os.ReadFile(kernel)
	m.Must(err)
	m.Must(os.WriteFile(kernel, append([]byte("x"), good[1:]...), 0o644))
	if _, err := m.Repo.SignAll(t.Context(), m.Store, trusttest.Start); !errors.Is(err, sign.ErrDoubt) && good[0] != 'x' {
		t.Errorf("damaged before it was signed: %v", err)
	}
	m.Must(os.WriteFile(kernel, good, 0o644))
	m.Sign(trusttest.Start)
	// Another release under the same name, put there by a third party.
	m.Must(os.RemoveAll(filepath.Join(m.Dir, "agent")))
	m.Must(publish("1", dir, "troy.efi"))
	if _, err := m.Repo.SignAll(t.Context(), m.Store, trusttest.Start); !errors.Is(err, sign.ErrDoubt) {
		t.Errorf("another release 1 is signed: %v", err)
	}
	m.Must(os.WriteFile(filepath.Join(m.Dir, "agent", "release.json"), []byte("{}"), 0o644))
	if err := m.Repo.Ready(t.Context(), m.Store); !errors.Is(err, sign.ErrDoubt) {
		t.Errorf("an index that is none: %v", err)
	}
}

// TestAgentInterrupted: an interrupted publication leaves nothing that anyone sees, and the next
// one clears it away.
func TestAgentInterrupted(t *testing.T) {
	m := trusttest.NewRoom(t, nil)
	dir, _ := m.Media("a", "b", "c", "d", "e")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sign.PublishAgent(ctx, m.Store, "1", dir); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	cut := filepath.Join(m.Dir, "agent", ".new-killed")
	m.Must(os.MkdirAll(filepath.Join(cut, "x"), 0o755))
	if list, _, err := sign.AgentReleases(m.Store); len(list) != 0 || err != nil {
		t.Errorf("AgentReleases = %v, %v", list, err)
	}
	if err := m.Repo.Ready(t.Context(), m.Store); err != nil {
		t.Errorf("what was interrupted counts: %v", err)
	}
	if _, err := sign.PublishAgent(t.Context(), m.Store, "1", dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(cut); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was left: %v", err)
	}
}
