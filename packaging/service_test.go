package packaging

import (
	"strings"
	"testing"
	"time"

	"troy/trial/vm"
)

// parts are what testdata/proof.sh does, in this order.
var parts = strings.Fields("network install prepare start served confined checkin killed reload doctor refused signing upgrade remove purge")

// The package does under a real systemd, as process 1 of a Debian 12 and 13 in QEMU, what it says:
// it is installed, set up as docs/server.md tells, started, killed, told of a new lab.yaml, upgraded
// while a PC downloads, removed and purged.
func TestService(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1; TestUnit has systemd judge the unit, TestDeb looks into the package")
		return
	}
	files := map[string][]byte{"snponly.efi": []byte(strings.Repeat("stand-in for iPXE\n", 5000))}
	for _, name := range []string{"proof.sh", "lab.yaml"} {
		files[name] = read(t, "testdata/"+name)
	}
	bundleOf(t)
	debs := map[string]string{"one.deb": "1", "two.deb": "2"}
	for name, version := range debs {
		t.Setenv("VERSION", version)
		debs[name] = run(t, "./build-deb.sh", t.TempDir())
		files[name] = read(t, debs[name])
	}
	for _, release := range []string{"bookworm", "trixie"} {
		t.Run(release, func(t *testing.T) { proveService(t, debian(t, release, debs["one.deb"]), files) })
	}
}

func proveService(t *testing.T, debian string, files map[string][]byte) {
	t.Helper()
	begun := time.Now()
	m := (&server{disk: copyOf(t, debian), files: files, config: vm.Config{
		Timeout: 40 * time.Minute, NICs: []vm.NIC{{User: "restrict=on"}},
		OnLine: func(line string) {
			if strings.Contains(line, "PROOF: ") || strings.Contains(line, "firststage: ") {
				t.Log(strings.TrimSpace(line))
			}
		}}}).start(t)
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
