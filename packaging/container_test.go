package packaging

import (
	"context"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// The container is built of the package and serves as its head says: its root read-only, as a user
// of its own with one capability. It makes the same media as this checkout does. The image with a
// Debian is not fetched: the one of the tests replaces it.
func TestContainer(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1: it needs podman, and root")
		return
	}
	deb := debOf(t)
	root := filepath.Join(filepath.Dir(debian(t, thisRelease(t), deb)), rootArchive)
	recipe, err := filepath.Abs("Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	folder, dir := t.TempDir(), t.TempDir()
	run(t, "cp", deb, folder)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "testdata/container.sh", folder, dir, root, recipe)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`Status: install ok installed\nVersion: 1\.2~test\n`, `Uid:\s65532\s65532\s65532\s65532`, `CapEff:\s0000000000000400`, `CapBnd:\s0000000000000400`,
		`read-only file system; /x.vhdx was not made`, `no version was promoted`, `test-01`, `network boot from /data/media/net`, `served .* in .* requests`, `ended with 0`} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("no %s", want)
		}
	}
	d := billOf(t, filepath.Join(dir, sbomFile))
	d.has(t, "usr/bin/troy", filepath.Join(dir, "usr/bin/troy"))
	made := sums(t, filepath.Join(dir, "data/media"))
	troy := filepath.Join(t.TempDir(), "troy")
	run(t, "go", "build", "-o", troy, "troy/cmds/troy")
	if want := media(t, troy, bundleOf(t), filepath.Join(dir, "data/store")); !maps.Equal(made, want) || len(want) < 10 {
		t.Errorf("of the container:\n%v\nof the checkout:\n%v", made, want)
	}
}
