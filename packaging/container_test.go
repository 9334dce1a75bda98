package packaging

import (
	"context"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// The container is built and serves as its head says: with nothing in it but the program and the boot bundle, its root
// read-only, as a user of its own with one capability. The image with Go is not fetched: this
// machine's Go replaces it.
func TestContainer(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1: it needs podman, and root")
		return
	}
	top, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	dir, boot := t.TempDir(), bundleOf(t)
	cmd := exec.CommandContext(ctx, "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "testdata/container.sh", top, dir,
		run(t, "go", "env", "GOROOT"), run(t, "go", "env", "GOMODCACHE"), run(t, "go", "env", "GOCACHE"), boot)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`files: data/ troy usr/ usr/share/ usr/share/troy/ usr/share/troy/sbom.cdx.json ?\n`, `Uid:\s65532\s65532\s65532\s65532`, `CapEff:\s0000000000000400`, `CapBnd:\s0000000000000400`,
		`read-only file system; /x.vhdx was not made`, `no version was promoted`, `test-01`, `network boot from /data/net`, `served .* in .* requests`, `ended with 0`} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("no %s", want)
		}
	}
	d := billOf(t, filepath.Join(dir, sbomFile))
	d.has(t, "troy", filepath.Join(dir, "troy"))
	run(t, "diff", "-r", boot, filepath.Join(dir, "usr/share/troy/boot")) // so they make the same media, see TestSameMedia
}
