package packaging

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"troy/internal/cli"
	"troy/server/protocol"
)

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestDeb builds the package, looks into it, and runs what is in it.
func TestDeb(t *testing.T) {
	t.Setenv("VERSION", "1.2~test")
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	deb := run(t, "./build-deb.sh", t.TempDir())
	info := run(t, "dpkg-deb", "-I", deb)
	for _, want := range []string{"Package: troy", "Version: 1.2~test", "postinst", "conffiles"} {
		if !strings.Contains(info, want) {
			t.Errorf("%q is missing in:\n%s", want, info)
		}
	}
	list := run(t, "dpkg-deb", "-c", deb)
	for _, want := range []string{"-rwxr-xr-x root/root", "./usr/bin/troy", "./usr/lib/systemd/system/troy.service", "./etc/default/troy", "2023-11-14",
		"./usr/share/man/man1/troy.1.gz", "./usr/share/man/man1/troy-image.1.gz", "./usr/share/bash-completion/completions/troy",
		"./usr/share/zsh/vendor-completions/_troy", "./usr/share/fish/vendor_completions.d/troy.fish", "-rw-r--r-- root/root", "./usr/share/troy/troy-gates.exe"} {
		if !strings.Contains(list, want) {
			t.Errorf("%q is missing in:\n%s", want, list)
		}
	}
	for line := range strings.Lines(list) {
		if !strings.Contains(line, " root/root ") || !strings.Contains(line, " 2023-11-14 ") {
			t.Errorf("owner or time: %s", line)
		}
	}
	root := t.TempDir()
	run(t, "dpkg-deb", "-x", deb, root)
	troy := filepath.Join(root, "usr/bin/troy")
	run(t, troy, "lab", "check", filepath.Join(root, "usr/share/doc/troy/examples/lab.yaml"))
	// Every flag of the default configuration is known: the store that is not there is what is
	// complained about.
	b, err := os.ReadFile(filepath.Join(root, "etc/default/troy"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^TROY_OPTIONS="(.*)"$`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("no options in:\n%s", b)
	}
	options := strings.ReplaceAll(string(m[1]), "/var/lib/troy", root)
	out, err := exec.Command(troy, append([]string{"serve"}, strings.Fields(options)...)...).CombinedOutput()
	if code := err.(*exec.ExitError).ExitCode(); code != 1 || !strings.Contains(string(out), root+"/store") {
		t.Errorf("troy serve %s: exit code %d: %s", options, code, out)
	}
	// An upgrade says what it means for the agents; without an older troy, what can be said.
	control := t.TempDir()
	run(t, "dpkg-deb", "-e", deb, control)
	says := run(t, "env", "PATH=/usr/bin:/bin", filepath.Join(control, "preinst"), "upgrade", "1.1")
	if !strings.Contains(says, "the new one "+protocol.Spoken()+", reads state.db of format") || !strings.Contains(says, "troy agent publish") {
		t.Errorf("before an upgrade it says %q", says)
	}
	if says := run(t, filepath.Join(control, "preinst"), "install"); says != "" {
		t.Errorf("before the first installation it says %q", says)
	}
	for _, script := range []string{"preinst", "postinst", "prerm", "postrm"} {
		run(t, "sh", "-n", script)
	}
}

// exposureMost is what systemd-analyze security may say, of 10.
const exposureMost = 2.5

func TestUnit(t *testing.T) {
	root := t.TempDir()
	unit, err := os.ReadFile("troy.service")
	if err != nil {
		t.Fatal(err)
	}
	// The program is not installed here: the unit is judged with another's path.
	p := filepath.Join(root, "troy.service")
	if err := os.WriteFile(p, []byte(strings.ReplaceAll(string(unit), "/usr/bin/troy", "/bin/true")), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := run(t, "systemd-analyze", "verify", "--man=no", p); strings.Contains(out, "troy.service:") {
		t.Errorf("systemd-analyze verify: %s", out)
	}
	if cli.Usage == 2 || cli.Check == 2 {
		t.Error("Go's own exit code of a program that broke is one of ours")
	}
	// What is in no score: a program that broke (Go: 2) is started again, one with wrong options is not.
	for _, want := range []string{fmt.Sprintf("RestartPreventExitStatus=%d %d\n", cli.Usage, cli.Check), "Restart=on-failure\n", "MemoryMax=", "/store/keys/admin.key"} {
		if !strings.Contains(string(unit), want) {
			t.Errorf("the unit lacks %q", want)
		}
	}
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", p).CombinedOutput()
	m := regexp.MustCompile(`Overall exposure level for troy.service: ([0-9.]+)`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("systemd-analyze security: %v\n%s", err, out)
	}
	exposure, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil || exposure > exposureMost {
		t.Errorf("exposure %s of 10, want at most %v\n%s", m[1], exposureMost, out)
	}
	t.Logf("exposure %s of 10", m[1])
}
