package packaging

import (
	"archive/tar"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"troy/internal/testing/guest"
	"troy/trial/vm"
)

// soak tells whether everything is to be tried, however long it takes.
func soak() bool { return os.Getenv("TROY_SOAK") != "" }

// debianPackages are what the tests' Debian consists of, beside what is essential.
const debianPackages = "systemd,systemd-sysv,dbus,iproute2,curl,kmod,openssl,procps," +
	"7zip,mtools,ntfs-3g,partclone,qemu-utils,wimtools,xorriso"

// environment is a variable that the Makefile sets.
func environment(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set; make test sets it", name)
	}
	return value
}

// debian is an ext4 image of a small Debian of this machine's release, out of this machine's own
// package sources. It is made once.
func debian(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(environment(t, "TROY_CACHE"), "debian")
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`(?m)^VERSION_CODENAME=(\w+)$`).FindSubmatch(release)
	if name == nil {
		t.Fatalf("no code name of a Debian in:\n%s", release)
	}
	image, note := filepath.Join(dir, "root.img"), filepath.Join(dir, "made-of")
	want := string(name[1]) + " " + debianPackages + "\n"
	if made, err := os.ReadFile(note); err == nil && string(made) == want {
		return image
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	makeDebian(t, dir, string(name[1]), image)
	if err := os.WriteFile(note, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
	return image
}

// makeDebian fills the image. It is 4 GB and mostly holes: "troy doctor" asks for room.
func makeDebian(t *testing.T, dir, release, image string) {
	t.Helper()
	begun := time.Now()
	tmp := t.TempDir()
	sources, config := filepath.Join(tmp, "sources.list"), filepath.Join(tmp, "apt.conf")
	lines := run(t, "apt-get", "indextargets", "--format", "deb $(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
	list := strings.Split(lines, "\n")
	slices.Sort(list)
	var settings []string // such as a proxy
	for line := range strings.Lines(run(t, "apt-config", "dump")) {
		if strings.HasPrefix(line, "Acquire::") && !strings.Contains(line, `""`) {
			settings = append(settings, line)
		}
	}
	if err := errors.Join(
		os.WriteFile(sources, []byte(strings.Join(slices.Compact(list), "\n")+"\n"), 0o644),
		os.WriteFile(config, []byte(strings.Join(settings, "")), 0o644)); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "root")
	run(t, "timeout", "15m", "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--aptopt="+config, "--include="+debianPackages,
		"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*", release, root, sources)
	// Where this machine gets its packages from does not stay in the image.
	if err := os.RemoveAll(filepath.Join(root, "etc/apt")); err != nil {
		t.Fatal(err)
	}
	run(t, "truncate", "-s", "4G", image)
	run(t, "mke2fs", "-q", "-F", "-t", "ext4", "-d", root, image)
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	t.Logf("made a Debian in %.0f s", time.Since(begun).Seconds())
}

// firstStage is the initramfs that starts it.
func firstStage(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "initramfs.zst")
	err := guest.Build(t.Context(), &guest.Options{Program: "troy/internal/testing/firststage", Modules: environment(t, "MODULES"),
		Drivers: []string{"virtio_blk", "ext4", "crc32c_generic", "virtio_net"}, Out: out})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// archive writes files, and links ("-> TARGET"), as a tar archive that is as well a disk.
func archive(t *testing.T, path string, files map[string][]byte) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		b := files[name]
		h := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(b))}
		if to, ok := strings.CutPrefix(string(b), "-> "); ok {
			h, b = &tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}, nil
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// proofUnit runs the script that is the test's other half, once systemd is up.
const proofUnit = `[Unit]
After=basic.target
[Service]
Type=oneshot
ExecStart=/bin/bash /proof/proof.sh
StandardOutput=tty
StandardError=inherit
TTYPath=/dev/ttyS0
`

// startDebian boots a Debian whose folder /proof holds files; what is written to its disk is lost
// with it. /proof/proof.sh is run as root.
func startDebian(t *testing.T, files map[string][]byte) *vm.VM {
	t.Helper()
	dir := t.TempDir()
	all := map[string][]byte{
		"etc/systemd/system/proof.service":                         []byte(proofUnit),
		"etc/systemd/system/multi-user.target.wants/proof.service": []byte("-> ../proof.service"),
	}
	// The serial line is the script's, and nothing but it works with packages.
	for _, name := range []string{"serial-getty@.service", "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer"} {
		all["etc/systemd/system/"+name] = []byte("-> /dev/null")
	}
	for name, b := range files {
		all["proof/"+name] = b
	}
	extra := filepath.Join(dir, "extra.tar")
	archive(t, extra, all)
	m, err := vm.Start(t.Context(), &vm.Config{
		Name: "debian", Dir: dir, Kernel: environment(t, "KERNEL"), Initrd: firstStage(t), NoReboot: true, Timeout: 40 * time.Minute,
		Cmdline: "console=ttyS0 quiet panic=-1 net.ifnames=0 systemd.show_status=0 systemd.firstboot=0",
		Disks:   []vm.Disk{{Path: debian(t)}, {Path: extra, ReadOnly: true}},
		NICs:    []vm.NIC{{User: "restrict=on"}},
		Args:    []string{"-snapshot"},
		OnLine: func(line string) {
			if strings.Contains(line, "PROOF: ") || strings.Contains(line, "firststage: ") {
				t.Log(strings.TrimSpace(line))
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}
