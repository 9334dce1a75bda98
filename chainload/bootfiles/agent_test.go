package bootfiles

import (
	"os"
	"path/filepath"
	"testing"
)

// With a copy of the agent on the ESP the file that firmware starts without boot entries is the
// agent's, whatever it holds; a copy without a manifest is none.
func TestInstallBesideAgent(t *testing.T) {
	for name, want := range map[string]bool{"EFI/Troy/a/manifest.json": true, "EFI/troy/b/Manifest.json": true, "EFI/Troy/a/vmlinuz": false} {
		t.Run(name, func(t *testing.T) {
			root, s := t.TempDir(), newSet()
			for _, file := range []string{name, fallback} {
				must(t, os.MkdirAll(filepath.Join(root, filepath.Dir(file)), 0o755))
				must(t, os.WriteFile(filepath.Join(root, file), []byte("agent"), 0o644))
			}
			_, err := install(t.Context(), s, root)
			must(t, err)
			b, err := os.ReadFile(filepath.Join(root, fallback))
			must(t, err)
			if kept := string(b) == "agent"; kept != want {
				t.Errorf("%s was kept: %v", fallback, kept)
			}
		})
	}
}
