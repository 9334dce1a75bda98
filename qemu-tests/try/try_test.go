// Package try has the tests of troy try as a whole, beside those of the parent folder: both take long,
// and run at the same time.
package try

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"troy/gates"
	"troy/internal/testing/testlab"
)

// lab has the command and a boot bundle.
var lab *testlab.Lab

func TestMain(m *testing.M) {
	os.Exit(testlab.With(testlab.Programs, func(l *testlab.Lab) int {
		lab = l
		return m.Run()
	}))
}

func soak() bool { return os.Getenv("TROY_SOAK") != "" }

// healthy lets other programs judge the disk of a PC of the trial.
func healthy(t *testing.T, folder, pc string) {
	t.Helper()
	if err := testlab.Healthy(t.Context(), filepath.Join(folder, pc, "disk.img")); err != nil {
		t.Errorf("%s: %v", pc, err)
	}
}

// The trial of a medium whose Windows the stand-in plays, by the one command that an admin gives. In
// the short run PC A alone is made: from an empty disk, by the stick, with its power cut twice, and
// Windows is set up. Other programs find nothing wrong with its disk.
func TestTry(t *testing.T) {
	dir := t.TempDir()
	iso, content, folder := filepath.Join(dir, "Win11.iso"), filepath.Join(dir, "content"), filepath.Join(dir, "trial")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	if err := lab.Medium(t.Context(), iso, content, seed); err != nil {
		t.Fatal(err)
	}
	args := []string{"--until", "provision", iso}
	if soak() {
		args = []string{"--cuts", "20", iso}
	}
	// A trial that is killed leaves nothing running, and goes on.
	said, err := lab.Try(t.Context(), folder, "PC A has a bare disk", args...)
	if !errors.Is(err, testlab.ErrTryKilled) {
		t.Fatalf("%v\n%s", err, said)
	}
	ended(t, folder)
	said, err = lab.Try(t.Context(), folder, "", args...)
	if err == nil && strings.Contains(said, "becomes version 1") {
		t.Error("the image was imported twice")
	}
	if err != nil {
		logs(t, folder)
		t.Fatalf("%v\n%s", err, said)
	}
	for _, name := range []string{"pc-a", "pc-b"} {
		if name == "pc-a" || soak() {
			healthy(t, folder, name)
		}
	}
	imported(t, folder, content)
	b, err := os.ReadFile(folder + ".json")
	if err != nil {
		t.Fatal(err)
	}
	r, err := gates.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if !r.PC.Windows.StandIn || r.Count(gates.Pass)+r.Count(gates.Fail) > 0 {
		t.Errorf("a stand-in answers no gate:\n%s", r.Page())
	}
	if soak() && !regexp.MustCompile(`ok +cuts +20 cuts of the power`).MatchString(said) {
		t.Error("there were no 20 cuts")
	}
	ended(t, folder)
}

// ended waits until no process names a folder.
func ended(t *testing.T, folder string) {
	t.Helper()
	const tries, pause = 100, 100 * time.Millisecond
	left := ""
	for range tries {
		if left = running(t, folder); left == "" {
			return
		}
		time.Sleep(pause)
	}
	t.Errorf("still running: %s", left)
}

// A trial of the disk image of an installed Windows, which gets the program that reports in a copy.
func TestTryImage(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1; package prepare makes the copy in a virtual PC")
		return
	}
	dir := t.TempDir()
	disk, folder := filepath.Join(dir, "installed.vhdx"), filepath.Join(dir, "trial")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	if err := lab.Installed(t.Context(), disk, seed); err != nil {
		t.Fatal(err)
	}
	before := fileSum(t, disk)
	said, err := lab.Try(t.Context(), folder, "", "--until", "change", disk)
	if err != nil {
		logs(t, folder)
		t.Fatalf("%v\n%s", err, said)
	}
	if fileSum(t, disk) != before {
		t.Error("the file was written to")
	}
	healthy(t, folder, "pc-a")
}

func fileSum(t *testing.T, path string) (sum [sha256.Size]byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}

// imported compares version 1 of a trial with what is on its medium.
func imported(t *testing.T, folder, content string) {
	t.Helper()
	raw, store, keys := filepath.Join(t.TempDir(), "v1.raw"), filepath.Join(folder, "store"), filepath.Join(folder, "keys")
	if err := lab.Export(t.Context(), store, keys, "trial", "1", raw); err == nil || !strings.Contains(err.Error(), "this is the store of a trial") {
		t.Errorf("the export from the store of a trial: %v", err)
	}
	if err := os.Remove(filepath.Join(store, "trial-only")); err != nil {
		t.Fatal(err)
	}
	if err := lab.Export(t.Context(), store, keys, "trial", "1", raw); err != nil {
		t.Fatal(err)
	}
	volume := raw + ".volume"
	if err := testlab.CutOnlyVolume(t.Context(), raw, volume); err != nil {
		t.Fatal(err)
	}
	have, err := testlab.VolumeFiles(t.Context(), volume)
	if err != nil {
		t.Fatal(err)
	}
	want, err := testlab.Files(content)
	if err != nil || len(want) == 0 {
		t.Fatal(want, err)
	}
	for name, sum := range want {
		if have[name] != sum {
			t.Errorf("%s is not as on the medium", name)
		}
	}
}

// running lists the processes that name a folder.
func running(t *testing.T, folder string) (all string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(b), folder) {
			all += fmt.Sprintln(strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return all
}

// logs shows the ends of the serial logs.
func logs(t *testing.T, folder string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*", "*.serial.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Error(err)
			continue
		}
		const most = 3000
		t.Logf("%s:\n%s", filepath.Base(f), b[max(0, len(b)-most):])
	}
}
