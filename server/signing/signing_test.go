package signing

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/image"
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
	for key, renewal := range map[sign.Key]string{sign.Admin: "troy key sign", sign.Server: "troy serve"} {
		found := false
		for _, line := range lines {
			found = found || strings.Contains(line, "the "+key.String()+" end") && strings.Contains(line, renewal)
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

func TestKeeperUnsigned(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	if _, err := publish.Init(dir); err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct{ dir, want string }{
		"unsigned": {dir, "not signed"},
		"no store": {t.TempDir(), ""},
	} {
		t.Run(name, func(t *testing.T) {
			var told []string
			k := NewKeeper(x.dir, func(line string) { told = append(told, line) })
			k.Refresh(t.Context()) // of nothing
			if k != nil || len(told) != 1 || !strings.Contains(told[0], x.want) {
				t.Errorf("%v, told %q", k, told)
			}
		})
	}
}

// TestHidden: a version is hidden from its import to its signature.
func TestHidden(t *testing.T) {
	dir := smallstore.Make(t, t.TempDir())
	repo := openRepo(t, dir)
	store, err := image.OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	hidden := func(name string, version int) bool {
		t.Helper()
		h, err := Hidden(t.Context(), dir, name, version)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	if hidden(smallstore.Image, 2) {
		t.Error("a signed version is hidden")
	}
	below, err := image.OpenVersion(t.Context(), store, smallstore.Image, 0)
	if err != nil {
		t.Fatal(err)
	}
	disk := *publish.VersionDisk(below)
	disk.DataWriteGUID = "33333333-3333-4333-8333-333333333333"
	if _, err := publish.Add(t.Context(), store, smallstore.Image, publish.CompareDisk(&disk, publish.VersionDisk(below)), nil); err != nil {
		t.Fatal(err)
	}
	if !hidden(smallstore.Image, 3) || hidden(smallstore.Image, 2) {
		t.Error("only the new version should be hidden")
	}
	if _, err := repo.SignAll(t.Context(), store, time.Now()); err != nil {
		t.Fatal(err)
	}
	if hidden(smallstore.Image, 3) {
		t.Error("it is hidden after it was signed")
	}
	if h, err := Hidden(t.Context(), t.TempDir(), smallstore.Image, 3); h || err != nil {
		t.Errorf("a folder that is no store: %v, %v", h, err)
	}
}
