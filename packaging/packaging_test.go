package packaging

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"troy/internal/cli"
	"troy/internal/testing/testlab"
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

// bundleOf makes the boot bundle of this checkout, for build-deb.sh too, and returns its folder.
func bundleOf(t *testing.T) string {
	t.Helper()
	shared.bundle.Do(func() {
		_, shared.err = testlab.Bundle(t.Context(), filepath.Join(shared.dir, "boot"))
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	t.Setenv("BUNDLE", filepath.Join(shared.dir, "boot"))
	return filepath.Join(shared.dir, "boot")
}

// debOf builds the package of this checkout, 1.2~test, and returns its file.
func debOf(t *testing.T) string {
	t.Helper()
	bundleOf(t)
	t.Setenv("VERSION", "1.2~test")
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	shared.deb.Do(func() { shared.file = run(t, "./build-deb.sh", shared.dir) })
	if shared.file == "" {
		t.Fatal("the package was not built")
	}
	return shared.file
}

// shared is what several tests look at.
var shared struct {
	dir         string
	bundle, deb sync.Once
	err         error  // of the bundle
	file        string // the package
}

func TestMain(m *testing.M) {
	var err error
	if shared.dir, err = os.MkdirTemp("", "troy-packaging-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(shared.dir)
	os.Exit(code)
}

// media makes media of a bundle for a store, by a troy, and returns the SHA-256 of each file.
func media(t *testing.T, troy, bundle, store string) map[string]string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "media")
	run(t, "env", "SOURCE_DATE_EPOCH=1700000000", "TROY_BUNDLE="+bundle, troy, "media", "--store", store, "--out", out)
	return sums(t, out)
}

// sums are the SHA-256 of each file in a folder.
func sums(t *testing.T, dir string) map[string]string {
	t.Helper()
	sums := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		sums[strings.TrimPrefix(path, dir)] = fmt.Sprintf("%x", sha256.Sum256(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sums
}

// TestSameMedia: the checkout, and the program and the bundle out of the package, make the same
// media.
func TestSameMedia(t *testing.T) {
	bundle, store, root := bundleOf(t), filepath.Join(t.TempDir(), "store"), t.TempDir()
	run(t, "dpkg-deb", "-x", debOf(t), root)
	troy := filepath.Join(t.TempDir(), "troy")
	run(t, "go", "build", "-o", troy, "troy/cmds/troy")
	t.Setenv("TROY_KEYS", filepath.Join(t.TempDir(), "stick"))
	run(t, "env", "SOURCE_DATE_EPOCH=1700000000", filepath.Join(root, "usr/bin/troy"), "setup", "--yes", "--bundle", filepath.Join(root, "usr/share/troy/boot"),
		"--store", store, "--address", "192.0.2.1", "--listen", ":0", "--netboot", "no")
	checkout := media(t, troy, bundle, store)
	if made := sums(t, store+"-media"); !maps.Equal(checkout, made) {
		t.Errorf("setup made other media: %v", made)
	}
	packaged := media(t, filepath.Join(root, "usr/bin/troy"), filepath.Join(root, "usr/share/troy/boot"), store)
	if !maps.Equal(checkout, packaged) || len(checkout) < 10 {
		t.Errorf("of the checkout:\n%v\nof the package:\n%v", checkout, packaged)
	}
	// Every medium starts the same bytes.
	for _, name := range []string{"vmlinuz", "initramfs.cpio.zst", "site.cpio"} {
		if checkout["/agent/"+name] != checkout["/net/troy/"+name] || checkout["/agent/"+name] == "" {
			t.Errorf("%s: %s on the machines' disks, %s by network", name, checkout["/agent/"+name], checkout["/net/troy/"+name])
		}
	}
	// The upgrade of the agent is one command.
	run(t, filepath.Join(root, "usr/bin/troy"), "agent", "publish", "--store", store, "--bundle", filepath.Join(root, "usr/share/troy/boot"), "--yes")
	for name, want := range checkout {
		if file, ok := strings.CutPrefix(name, "/agent/"); ok {
			b, err := os.ReadFile(filepath.Join(store, "agent", "lab", file))
			if got := fmt.Sprintf("%x", sha256.Sum256(b)); err != nil || got != want && file != "site.cpio" { // it has the time of today
				t.Errorf("the release's %s is another: %v", file, err)
			}
		}
	}
}

// TestDeb builds the package, looks into it, and runs what is in it.
func TestDeb(t *testing.T) {
	deb := debOf(t)
	info := run(t, "dpkg-deb", "-I", deb)
	for _, want := range []string{"Package: troy", "Version: 1.2~test", "postinst", "conffiles"} {
		if !strings.Contains(info, want) {
			t.Errorf("%q is missing in:\n%s", want, info)
		}
	}
	list := run(t, "dpkg-deb", "-c", deb)
	for _, want := range []string{"-rwxr-xr-x root/root", "./usr/bin/troy", "./usr/lib/systemd/system/troy.service", "./etc/default/troy", "2023-11-14",
		"./usr/share/man/man1/troy.1.gz", "./usr/share/man/man1/troy-image.1.gz", "./usr/share/bash-completion/completions/troy",
		"./usr/share/zsh/vendor-completions/_troy", "./usr/share/fish/vendor_completions.d/troy.fish", "-rw-r--r-- root/root", "./usr/share/troy/troy-gates.exe",
		"./usr/share/troy/windows/golden.ps1",
		"./usr/share/troy/boot/manifest.json", "./usr/share/troy/boot/vmlinuz", "./usr/share/troy/boot/SOURCE", "./usr/share/doc/troy/copyright"} {
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
	if code := err.(*exec.ExitError).ExitCode(); code != cli.Check || !strings.Contains(string(out), root+"/store") {
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

// TestBootChain: installing touches nothing by which the server itself starts, now or when Debian
// has a new kernel: no file of the package lies where boot loaders and kernels or what is called for
// them lies, and no script of it runs what changes them.
func TestBootChain(t *testing.T) {
	files, control := t.TempDir(), t.TempDir()
	run(t, "dpkg-deb", "-x", debOf(t), files)
	run(t, "dpkg-deb", "-e", debOf(t), control)
	seen := map[string]bool{}
	err := filepath.WalkDir(files, func(path string, d fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, files)
		seen[name] = true
		for _, owner := range []string{"grub", "kernel", "initramfs", "dracut", "dkms", "modules", "efi", "udev", "apt", "cron"} {
			for _, dir := range []string{"/etc/", "/etc/default/", "/lib/", "/usr/lib/", "/usr/share/"} {
				if strings.HasPrefix(name, dir+owner) {
					t.Errorf("%s is in the package", name)
				}
			}
		}
		if strings.HasPrefix(name, "/boot") || strings.HasPrefix(name, "/efi") || strings.HasPrefix(name, "/lib") {
			t.Errorf("%s is in the package", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !seen["/usr/share/troy/boot/vmlinuz"] {
		t.Error("the files of the package were not seen")
	}
	entries, err := os.ReadDir(control)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		switch e.Name() { // no "triggers": nothing of Debian's is run for it
		case "control", "md5sums", "conffiles":
			continue
		case "preinst", "postinst", "prerm", "postrm":
		default:
			t.Errorf("the package has a %s", e.Name())
		}
		b, err := os.ReadFile(filepath.Join(control, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if m := regexp.MustCompile(`grub|efi|initramfs|kernel|/boot\b|bootctl|depmod|dracut`).Find(b); m != nil {
			t.Errorf("%s says %q", e.Name(), m)
		}
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
