package packaging

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
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

// debianPackages are what the tests' Debian consists of, beside what is essential: what every
// server has, and what the tests look with. What Troy depends on is not among them.
const debianPackages = "systemd,systemd-sysv,dbus,iproute2,curl,kmod,openssl,procps"

// environment is a variable that the Makefile sets.
func environment(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set; make test sets it", name)
	}
	return value
}

// rootArchive is the same Debian as an archive, beside its image.
const rootArchive = "root.tar.zst"

// thisRelease is the code name of this machine's Debian.
func thisRelease(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/etc/os-release")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`(?m)^VERSION_CODENAME=(\w+)$`).FindSubmatch(b)
	if name == nil {
		t.Fatalf("no code name of a Debian in:\n%s", b)
	}
	return string(name[1])
}

// debian is an ext4 image of a small Debian of a release, out of the sources of packages that this
// machine has. Its folder /packages is a source of packages: what apt wants for deb there. It is
// made once, and again when deb wants something else.
func debian(t *testing.T, release, deb string) string {
	t.Helper()
	dir := filepath.Join(environment(t, "TROY_CACHE"), "debian-"+release)
	image, note := filepath.Join(dir, "root.img"), filepath.Join(dir, "made-of")
	want := debianPackages + "\n" + run(t, "dpkg-deb", "-f", deb, "Depends", "Recommends") + "\n"
	if made, err := os.ReadFile(note); err == nil && string(made) == want {
		return image
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	makeDebian(t, dir, release, deb, image)
	if err := os.WriteFile(note, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
	return image
}

// makeDebian fills the image. It is 4 GB and mostly holes: "troy doctor" asks for room.
func makeDebian(t *testing.T, dir, release, deb, image string) {
	t.Helper()
	begun := time.Now()
	sources, config := aptFiles(t, release)
	root := filepath.Join(dir, "root")
	in := "/tmp/" + filepath.Base(deb)
	run(t, "timeout", "15m", "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--aptopt="+config, "--include="+debianPackages,
		"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
		"--customize-hook=copy-in '"+deb+"' /tmp",
		"--customize-hook=chroot \"$1\" apt-get -qq -y --download-only install "+in,
		"--customize-hook=mkdir \"$1/packages\" && mv \"$1\"/var/cache/apt/archives/*.deb \"$1/packages\" && rm \"$1"+in+"\"",
		release, root, sources)
	// Where this machine gets its packages from does not stay in the image.
	apt := filepath.Join(root, "etc/apt")
	if err := errors.Join(os.RemoveAll(apt), os.MkdirAll(filepath.Join(apt, "preferences.d"), 0o755), os.MkdirAll(filepath.Join(apt, "apt.conf.d"), 0o755),
		os.WriteFile(filepath.Join(apt, "sources.list"), []byte("deb [trusted=yes] file:/packages ./\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	index(t, filepath.Join(root, "packages"))
	run(t, "tar", "--zstd", "-C", root, "-cf", filepath.Join(dir, rootArchive), ".")
	run(t, "truncate", "-s", "4G", image)
	run(t, "mke2fs", "-q", "-F", "-t", "ext4", "-d", root, image)
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	t.Logf("made a Debian %s in %.0f s", release, time.Since(begun).Seconds())
}

// aptFiles write down this machine's sources of Debian's packages, for a release, and its settings
// for fetching from them, such as a proxy.
func aptFiles(t *testing.T, release string) (sources, config string) {
	t.Helper()
	here, tmp := thisRelease(t), t.TempDir()
	var list, settings []string
	for line := range strings.Lines(run(t, "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages") + "\n") {
		f := strings.Fields(line)
		if suite, ok := strings.CutPrefix(f[1], here); ok {
			list = append(list, "deb "+f[0]+" "+release+suite+" "+f[2]+"\n")
		}
	}
	slices.Sort(list)
	for line := range strings.Lines(run(t, "apt-config", "dump")) {
		if strings.HasPrefix(line, "Acquire::") && !strings.Contains(line, `""`) {
			settings = append(settings, line)
		}
	}
	sources, config = filepath.Join(tmp, "sources.list"), filepath.Join(tmp, "apt.conf")
	if err := errors.Join(
		os.WriteFile(sources, []byte(strings.Join(slices.Compact(list), "")), 0o644),
		os.WriteFile(config, []byte(strings.Join(settings, "")), 0o644)); err != nil {
		t.Fatal(err)
	}
	return sources, config
}

// index makes a folder of packages a source that apt reads.
func index(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d packages: %v", len(files), err)
	}
	var list strings.Builder
	for _, file := range files {
		plain := strings.ReplaceAll(file, "%", "-") // which apt would take for an escape
		if err := os.Rename(file, plain); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(plain)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&list, "%s\nFilename: ./%s\nSize: %d\nSHA256: %x\n\n", run(t, "dpkg-deb", "-f", plain), filepath.Base(plain), len(b), sha256.Sum256(b))
	}
	if err := os.WriteFile(filepath.Join(dir, "Packages"), []byte(list.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// firstStage is the initramfs that starts it.
func firstStage(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "initramfs.zst")
	err := guest.Build(t.Context(), &guest.Options{Program: "troy/internal/testing/firststage", Modules: environment(t, "MODULES"),
		Drivers: []string{"virtio_blk", "ext4", "crc32c_generic", "virtio_net", "vfat", "nls_cp437", "nls_ascii", "nls_utf8"}, Out: out})
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

// proofUnit runs the script that is a test's other half, once systemd is up.
const proofUnit = `[Unit]
After=basic.target
[Service]
Type=oneshot
ExecStart=/bin/bash /proof/proof.sh
StandardOutput=tty
StandardError=inherit
TTYPath=/dev/ttyS0
`

// server is a Debian that runs a script, as vm.Config leaves it open. Disk is an image that is
// written to.
type server struct {
	disk   string
	files  map[string][]byte // what is in /proof; proof.sh is run as root
	config vm.Config         // NICs, further Disks, Timeout, OnLine
}

// start boots it.
func (s *server) start(t *testing.T) *vm.VM {
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
	for name, b := range s.files {
		all["proof/"+name] = b
	}
	extra := filepath.Join(dir, "extra.tar")
	archive(t, extra, all)
	c := s.config
	c.Name, c.Dir, c.Kernel, c.Initrd, c.NoReboot = "debian", dir, environment(t, "KERNEL"), firstStage(t), true
	c.InitLimit = patience
	c.Cmdline = "console=ttyS0 quiet panic=-1 net.ifnames=0 systemd.show_status=0 systemd.firstboot=0"
	c.Disks = append([]vm.Disk{{Path: s.disk}, {Path: extra, ReadOnly: true}}, c.Disks...)
	m, err := vm.Start(t.Context(), &c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// patience is how long a kernel may take until its programs say something: on a machine that has
// much else to do, longer than in the tests that start many.
const patience = 5 * time.Minute

// copyOf copies an image with holes.
func copyOf(t *testing.T, image string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "root.img")
	run(t, "cp", "--reflink=auto", "--sparse=always", image, path)
	return path
}
