package packaging

import (
	"os"
	"strings"
	"testing"
	"time"
)

// parts are what testdata/proof.sh does, in this order.
var parts = strings.Fields("network install prepare start served confined checkin killed reload doctor refused signing upgrade remove purge")

// The package does under a real systemd, as process 1 of a Debian in QEMU, what it says: it is
// installed, set up as README.md tells, started, killed, told of a new lab.yaml, upgraded, removed
// and purged.
func TestService(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1; TestUnit has systemd judge the unit, TestDeb looks into the package")
		return
	}
	files := map[string][]byte{"snponly.efi": []byte(strings.Repeat("stand-in for iPXE\n", 5000))}
	for _, name := range []string{"proof.sh", "lab.yaml"} {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = b
	}
	bundleOf(t)
	for name, version := range map[string]string{"one.deb": "1", "two.deb": "2"} {
		t.Setenv("VERSION", version)
		b, err := os.ReadFile(run(t, "./build-deb.sh", t.TempDir()))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = b
	}
	begun := time.Now()
	m := startDebian(t, files)
	for _, part := range parts {
		line, err := m.Expect(t.Context(), `PROOF: (`+part+`: ok|failed: .*)\n`)
		if err == nil && strings.Contains(line, "failed") {
			_, err = m.Expect(t.Context(), "PROOF: end of the journal")
			t.Fatalf("%s\n%v\n%s", line, err, m.Log())
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s after %.0f s", part, time.Since(begun).Seconds())
	}
	if err := m.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}
