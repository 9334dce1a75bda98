package signing

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/image/publish"
	"troy/image/trust/sign"
	"troy/internal/testing/smallstore"
)

func openRepo(t *testing.T, dir string) *sign.Repository {
	t.Helper()
	repo, err := sign.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return repo
}

// TestExpiring: each key is named before its signature ends, with the command that renews it.
func TestExpiring(t *testing.T) {
	dir := smallstore.Make(t, t.TempDir())
	repo := openRepo(t, dir)
	if lines, err := Expiring(repo, time.Now()); len(lines) != 0 || err != nil {
		t.Errorf("today: %q, %v", lines, err)
	}
	lines, err := Expiring(repo, time.Now().AddDate(20, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(lines, "\n")
	if n := strings.Count(text, "EXPIRED"); n != 2 {
		t.Errorf("%d of 2 have expired:\n%s", n, text)
	}
	for key, renewal := range map[sign.Key]string{sign.Admin: "troy key sign", sign.Server: "troy serve"} {
		found := false
		for _, line := range lines {
			found = found || strings.Contains(line, "the "+key.String()+" have EXPIRED") && strings.Contains(line, renewal)
		}
		if !found {
			t.Errorf("nothing of %s and %q in\n%s", key, renewal, text)
		}
	}
}

// TestKeeper: trouble is told; that the server ends is none.
func TestKeeper(t *testing.T) {
	dir := smallstore.Make(t, t.TempDir())
	var told []string
	note := func(line string) { told = append(told, line) }
	k := NewKeeper(dir, note)
	k.Refresh(t.Context())
	if len(told) != 0 {
		t.Errorf("a fresh store: %q", told)
	}
	if err := os.Remove(filepath.Join(dir, "metadata", "timestamp.json")); err != nil {
		t.Fatal(err)
	}
	k.Refresh(t.Context())
	if len(told) != 1 || !strings.Contains(told[0], "was not renewed") {
		t.Errorf("without a timestamp: %q", told)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	k.Refresh(ctx)
	if k.Run(ctx); len(told) != 1 {
		t.Errorf("at the end: %q", told)
	}
}

// TestKeeperComesBack: what could not be read at first is renewed as soon as it can be.
func TestKeeperComesBack(t *testing.T) {
	dir := smallstore.Make(t, t.TempDir())
	metadata := filepath.Join(dir, "metadata")
	var told []string
	k := NewKeeper(dir, func(line string) { told = append(told, line) })
	if err := os.Rename(metadata, metadata+".away"); err != nil {
		t.Fatal(err)
	}
	k.Refresh(t.Context())
	if len(told) != 1 || !strings.Contains(told[0], "not signed") {
		t.Errorf("without metadata: %q", told)
	}
	if err := os.Rename(metadata+".away", metadata); err != nil {
		t.Fatal(err)
	}
	if k.Refresh(t.Context()); len(told) != 1 {
		t.Errorf("with metadata: %q", told)
	}
}

func TestKeeperUnsigned(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	if _, err := publish.Init(dir); err != nil {
		t.Fatal(err)
	}
	var told []string
	if NewKeeper(dir, func(line string) { told = append(told, line) }).Refresh(t.Context()); len(told) != 1 || !strings.Contains(told[0], "not signed") {
		t.Errorf("told %q", told)
	}
}
