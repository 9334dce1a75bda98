package initramfs

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The files are those that ldd names, and with nothing else the programs run.
func TestTools(t *testing.T) {
	files, err := tools(t.Context(), []string{"mkntfs", "ntfs-3g", "mkntfs"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"bin/mkntfs", "bin/ntfs-3g"}
	for _, program := range []string{"mkntfs", "ntfs-3g"} {
		where, err := findProgram(program)
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("ldd", where).Output()
		if err != nil {
			t.Fatalf("ldd: %v", err)
		}
		for _, m := range regexp.MustCompile(`(?m)(/\S+) \(0x`).FindAllStringSubmatch(string(out), -1) {
			want = append(want, strings.TrimPrefix(m[1], "/"))
		}
	}
	slices.Sort(want)
	want = slices.Compact(want)
	var got []string
	root, total := t.TempDir(), 0
	for _, f := range files {
		got = append(got, f.Name)
		total += len(f.Data)
	}
	if !slices.Equal(got, want) || len(got) < 5 {
		t.Errorf("Tools gives\n%q\nldd names\n%q", got, want)
	}
	t.Logf("%d files, %d bytes", len(files), total)
	if err := writeTree(root, files); err != nil {
		t.Fatal(err)
	}
	volume := filepath.Join(root, "volume")
	if err := os.WriteFile(volume, make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range got {
		if err := os.Chmod(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("chroot", root, "/bin/mkntfs", "-F", "-Q", "/volume").CombinedOutput(); err != nil {
		t.Errorf("mkntfs with these files alone: %v\n%s", err, out)
	}
}

func TestToolsRefuses(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("\x7fELF nothing more"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := tools(t.Context(), []string{text}); !errors.Is(err, ErrProgram) {
		t.Errorf("a program cut short: %v, want %v", err, ErrProgram)
	}
	if _, err := findLibrary("libnothing.so.9", libraryDirs); !errors.Is(err, ErrLibrary) {
		t.Errorf("a library that is not there: %v, want %v", err, ErrLibrary)
	}
	if files, err := tools(t.Context(), nil); files != nil || err != nil {
		t.Errorf("no programs: %v, %v", files, err)
	}
}
