package packaging

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A release is a repository that apt takes with its key and refuses when a byte was changed, and a
// list of sums that the same key signed.
func TestRelease(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1: it builds the package once more, and needs reprepro")
		return
	}
	bundleOf(t)
	t.Setenv("VERSION", "1.3")
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	home, out := t.TempDir(), filepath.Join(t.TempDir(), "release")
	if err := os.Chmod(home, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GNUPGHOME", home)
	t.Cleanup(func() { run(t, "gpgconf", "--homedir", home, "--kill", "all") })
	run(t, "gpg", "--batch", "--passphrase", "", "--quick-generate-key", "Troy <test@example.org>", "ed25519", "sign", "never")
	run(t, "./release.sh", "test@example.org", out)
	run(t, "gpg", "--verify", filepath.Join(out, "SHA256SUMS.asc"), filepath.Join(out, "SHA256SUMS"))
	run(t, "sh", "-c", "cd '"+out+"' && sha256sum -c SHA256SUMS")

	state := t.TempDir()
	for _, dir := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(state, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	source := "deb [signed-by=" + filepath.Join(out, "apt/troy.asc") + "] file:" + filepath.Join(out, "apt") + " troy main\n"
	if err := os.WriteFile(filepath.Join(state, "list"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	apt := func(args ...string) (string, error) {
		out, err := exec.Command("apt-get", append([]string{"-o", "Dir::Etc::sourcelist=" + filepath.Join(state, "list"), "-o", "Dir::Etc::sourceparts=/dev/null",
			"-o", "Dir::State::lists=" + filepath.Join(state, "lists"), "-o", "Dir::Cache=" + filepath.Join(state, "cache"), "-o", "APT::Sandbox::User=root", "-o", "APT::Update::Error-Mode=any"}, args...)...).CombinedOutput()
		return string(out), err
	}
	if says, err := apt("update"); err != nil {
		t.Fatal(says)
	}
	if says, err := apt("download", "--print-uris", "troy"); err != nil || !strings.Contains(says, "troy_1.3_amd64.deb") {
		t.Errorf("apt finds %q, %v", says, err)
	}
	// A repository that somebody changed is not taken.
	inRelease := filepath.Join(out, "apt/dists/troy/InRelease")
	b, err := os.ReadFile(inRelease)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(inRelease, bytes.Replace(b, []byte("Origin: Troy"), []byte("Origin: Eris"), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	if says, err := apt("update"); err == nil {
		t.Errorf("apt takes a changed repository: %s", says)
	}
}
