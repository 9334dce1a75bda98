package initramfs

import (
	"bytes"
	"debug/buildinfo"
	"errors"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/u-root/mkuimage/cpio"

	"troy/chainload/release"
	"troy/image"
	"troy/initramfs/bundle"
	"troy/initramfs/kmod"
)

// probe is the program that the tests put in the agent's place.
const probe = "troy/initramfs/testdata/probe"

// maxSize is what the compressed initramfs may grow to.
const maxSize = 12 << 20

// built is the bundle that the tests share: its compilation takes half a minute.
type built struct {
	dir    string
	bundle *bundle.Bundle
	info   *Info
	err    error
}

var buildDir string

func TestMain(m *testing.M) {
	var err error
	if buildDir, err = os.MkdirTemp("", "troy-initramfs-test-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(code)
}

func environment(t testing.TB, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("%s must be set: KERNEL a bzImage, MODULES its lib/modules/VERSION (make deps fetches both)", name)
	}
	return v
}

// options make a bundle with the probe in the agent's place.
func options(t testing.TB, out string) *Options {
	t.Helper()
	cache := environment(t, "TROY_CACHE")
	return &Options{
		Kernel: environment(t, "KERNEL"), Modules: environment(t, "MODULES"), Loaders: loaders(t), Out: out, Version: "test",
		program: probe, args: []string{"--first", "two words"}, Programs: []string{"mkntfs", "ntfs-3g"}, Cache: filepath.Join(cache, "boot"),
	}
}

var shared struct {
	once sync.Once
	built
}

func sharedBuild(t testing.TB) built {
	t.Helper()
	o := options(t, filepath.Join(buildDir, "shared"))
	shared.once.Do(func() {
		shared.dir = o.Out
		if shared.info, shared.err = Build(t.Context(), o); shared.err == nil {
			shared.bundle, shared.err = bundle.Open(o.Out)
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.built
}

// siteFiles are what the tests' site adds.
var siteFiles = []File{
	{Name: "etc/troy/config", Data: []byte("troy.port=eth0\n")},
	{Name: "etc/server", Data: []byte("http://192.0.2.1/\n"), Mode: 0o600},
}

// testSite is what rescue media of that site lay over the initramfs.
func testSite(t testing.TB) []byte {
	t.Helper()
	rescue, err := sharedBuild(t).bundle.Read(bundle.Rescue)
	site, siteErr := Site(siteFiles)
	if err := errors.Join(err, siteErr); err != nil {
		t.Fatal(err)
	}
	return append(rescue, site...)
}

// A bundle that was made twice, in two folders, is the same in all its files.
func TestSameBundle(t *testing.T) {
	b, again := sharedBuild(t), t.TempDir()
	if _, err := Build(t.Context(), options(t, again)); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(bundle.Names(), bundle.ManifestName) {
		sameFiles(t, filepath.Join(b.dir, name), filepath.Join(again, name))
	}
}

// The bundle names the packages of Debian that it has files of, their source, and all licences.
func TestOrigin(t *testing.T) {
	b := sharedBuild(t)
	source, err := b.bundle.Read(bundle.Source)
	if err != nil {
		t.Fatal(err)
	}
	copyright, err := b.bundle.Read(bundle.Copyright)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(source, []byte("of no package")) {
		t.Errorf("files without a package: make deps notes where its files are from\n%s", source)
	}
	for _, want := range []string{"source linux", "source grub2 (= 2.", "source shim (= 1", "source ntfs-3g (= ", "source glibc (= ", "github.com/u-root/u-root v"} {
		if !bytes.Contains(source, []byte(want)) {
			t.Errorf("the offer of source lacks %q:\n%s", want, source)
		}
	}
	for _, want := range []string{"==== shim-signed ====", "==== ntfs-3g ====", "github.com/klauspost/compress v", "==== std 1.", "GNU GENERAL PUBLIC LICENSE\n                       Version 2"} {
		if !bytes.Contains(copyright, []byte(want)) {
			t.Errorf("the licences lack %q", want)
		}
	}
	initrd := unpack(t, filepath.Join(b.dir, release.Initrd))
	info, err := buildinfo.Read(bytes.NewReader(content(t, initrd, "bin/probe")))
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Deps) == 0 {
		t.Fatal("the agent of this test is of no module")
	}
	of := map[string][]string{}
	for _, m := range b.bundle.Manifest.Modules {
		of[m.Name+" "+m.Version] = m.Files
	}
	for _, d := range append(info.Deps, &debug.Module{Path: "std", Version: strings.TrimPrefix(info.GoVersion, "go")}) {
		if !slices.Contains(of[d.Path+" "+d.Version], release.Initrd) {
			t.Errorf("%s %s is in the agent and not in the manifest", d.Path, d.Version)
		}
	}
	// u-root's commands do not say themselves of what they are, and the linker drops what it can.
	bb, linked, named := content(t, unpack(t, filepath.Join(b.dir, bundle.Rescue)), "bbin/bb"), 0, 0
	for _, m := range b.bundle.Manifest.Modules {
		if slices.Contains(m.Files, bundle.Rescue) && m.Name != "std" {
			named++
			if bytes.Contains(bb, []byte(m.Name+"/")) || bytes.Contains(bb, []byte(m.Name+".")) {
				linked++
			}
		}
	}
	if linked < 5 || named > linked*5/4 {
		t.Errorf("%d modules are said to be in the programs for rescue, %d are", named, linked)
	}
	if n := len(b.bundle.Manifest.Drivers); n != len(b.info.Modules) || b.bundle.Manifest.Linux != b.info.Release {
		t.Errorf("manifest: %d drivers of %s", n, b.bundle.Manifest.Linux)
	}
}

// Of the normal kind, with few drivers, because all is compiled and compressed twice.
func TestTwoBuildsAreIdentical(t *testing.T) {
	build := func(cache string) string {
		o, out := options(t, ""), filepath.Join(t.TempDir(), release.Initrd)
		o.Cache, o.drivers = cache, []string{"virtio_blk", "nvme"}
		if _, err := buildInitramfs(t.Context(), o, out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	cache := t.TempDir()
	first := build("")
	sameFiles(t, first, build(cache))
	sameFiles(t, first, build(cache)) // now parts come from the cache
	a := unpack(t, first)
	if got := string(content(t, a, "bin/uinit")); got != "probe" {
		t.Errorf("bin/uinit links to %q, want the agent", got)
	}
	for _, r := range a.Files {
		switch path.Base(r.Name) {
		case "sh", "gosh", "defaultsh", "elvish", "cat", "mount":
			t.Errorf("%s is there: nobody is to come to a prompt", r.Name)
		}
	}
}

func sameFiles(t *testing.T, a, b string) {
	t.Helper()
	x, errX := os.ReadFile(a)
	y, errY := os.ReadFile(b)
	if err := errors.Join(errX, errY); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(x, y) {
		t.Errorf("%s (%d bytes) and %s (%d bytes) differ", a, len(x), b, len(y))
	}
}

func TestContent(t *testing.T) {
	b := sharedBuild(t)
	if size := fileSize(t, filepath.Join(b.dir, release.Initrd)); size != b.info.Size {
		t.Errorf("Info.Size is %d, the file's is %d", b.info.Size, size)
	}
	a := rescueMedia(t)
	for name, target := range map[string]string{
		"init": "bbin/init", "bin/sh": "../bbin/gosh", "bbin/ls": "bb", "bbin/ip": "bb",
		"bbin/dmesg": "bb", "bbin/mount": "bb", "bbin/ps": "bb", "bbin/cat": "bb", "sbin/modprobe": "../bbin/modprobe",
	} {
		if got := string(content(t, a, name)); got != target {
			t.Errorf("%s links to %q, want %q", name, got, target)
		}
	}
	if got, want := string(content(t, a, "bin/uinit")), "#!/bbin/gosh\n/bin/probe '--first' 'two words' <"; !strings.HasPrefix(got, want) {
		t.Errorf("bin/uinit = %q, want it to begin with %q", got, want)
	}
	if got := string(content(t, a, "etc/server")); got != "http://192.0.2.1/\n" {
		t.Errorf("etc/server = %q", got)
	}
	for _, name := range []string{"bin/probe", "bbin/bb", "bin/uinit", "bin/defaultsh"} {
		if r, _ := a.Get(name); r.Mode != cpio.S_IFREG|0o755 {
			t.Errorf("%s has mode %o, want an executable file", name, r.Mode)
		}
	}
	if _, ok := a.Get("etc/resolv.conf"); ok {
		t.Error("a resolver address is baked in")
	}
	for _, r := range a.Files {
		if r.MTime != 0 || r.UID != 0 || r.Ino != 0 {
			t.Errorf("%s has a time, an owner or an inode number", r.Name)
		}
	}
}

// TestSize guards what every machine has to load, with the real agent in it.
func TestSize(t *testing.T) {
	b := sharedBuild(t)
	agent := filepath.Join(t.TempDir(), "agent")
	if err := Compile(t.Context(), agentProgram, agent, "test"); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(agent)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := compress(t.Context(), raw, filepath.Join(environment(t, "TROY_CACHE"), "boot"), "size")
	if err != nil {
		t.Fatal(err)
	}
	size := int64(len(packed))
	for _, p := range b.info.Parts {
		t.Logf("%s: %d bytes, unpacked %d", p.Name, p.Size, p.RawSize)
		if p.Name != "agent" {
			size += p.Size
		}
	}
	t.Logf("agent: %d bytes, unpacked %d; %d modules; in all %d bytes", len(packed), len(raw), len(b.info.Modules), size)
	if size > maxSize {
		t.Errorf("initramfs has %d bytes, the limit is %d", size, maxSize)
	}
}

// Each directory must stand before what is in it, or the kernel drops the file.
func TestDirectoriesComeFirst(t *testing.T) {
	a := rescueMedia(t)
	seen := map[string]bool{".": true}
	for _, name := range a.Order {
		if dir := filepath.Dir(name); !seen[dir] {
			t.Errorf("%s stands before its directory", name)
		}
		seen[name] = true
	}
}

func TestModulesAreComplete(t *testing.T) {
	b := sharedBuild(t)
	a := unpack(t, filepath.Join(b.dir, release.Initrd))
	dir := "lib/modules/" + b.info.Release + "/"
	count := 0
	for line := range strings.Lines(string(content(t, a, dir+"modules.dep"))) {
		count++
		for _, p := range strings.Fields(strings.Replace(line, ":", " ", 1)) {
			if code := content(t, a, dir+p); !bytes.HasPrefix(code, []byte("\x7fELF")) {
				t.Errorf("%s is not a raw module", p)
			}
		}
	}
	if count != len(b.info.Modules) {
		t.Errorf("modules.dep names %d modules, Info %d", count, len(b.info.Modules))
	}
	for _, name := range []string{"nvme", "ahci", "vmd", "virtio_blk", "virtio_net", "e1000e", "igc", "r8169", "realtek", "usb_storage", "uas", "ufshcd_pci", "sdhci_pci", "sdhci_acpi", "mmc_block",
		"r8152", "cdc_ether", "rndis_host", "efivarfs", "vfat"} {
		if !slices.Contains(b.info.Modules, name) {
			t.Errorf("module %s is not in the initramfs", name)
		}
	}
	alias := content(t, a, dir+"modules.alias")
	for _, line := range []string{"virtio:d00000002v* virtio_blk", "mmc:block mmc_block", "pci:v00008086d000054FFsv*sd*bc*sc*i* ufshcd_pci"} {
		if !bytes.Contains(alias, []byte("alias "+line+"\n")) {
			t.Errorf("modules.alias lacks %s", line)
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	other, old := fakeKernel(t, "6.6.6-other (x) #1"), fakeKernel(t, "6.5.13-amd64 (x) #1")
	for name, c := range map[string]struct {
		change func(*Options)
		want   error
	}{
		"modules of another kernel": {func(o *Options) { o.Kernel = other }, ErrKernelMismatch},
		"an old kernel":             {func(o *Options) { o.Kernel = old }, ErrOldKernel},
		"no release's name":         {func(o *Options) { o.Version = "1 -X main.x=y" }, image.ErrInvalid},
		"no boot loaders":           {func(o *Options) { o.Loaders = out }, ErrNoLoader},
		"unknown further driver":    {func(o *Options) { o.Drivers = []string{"no_such_driver"} }, kmod.ErrNotFound},
		"no kernel":                 {func(o *Options) { o.Kernel = os.Args[0] }, ErrKernel},
		"kernel absent":             {func(o *Options) { o.Kernel = out }, os.ErrNotExist},
		"modules absent":            {func(o *Options) { o.Modules = out }, os.ErrNotExist},
		"unknown module":            {func(o *Options) { o.drivers = []string{"no_such_driver"} }, nil},
		"program absent":            {func(o *Options) { o.Programs = []string{"no-such-program"} }, exec.ErrNotFound},
		"a script as a program":     {func(o *Options) { o.Programs = []string{"ldd"} }, ErrProgram},
		"agent absent":              {func(o *Options) { o.program = "troy/no/such/agent" }, nil},
	} {
		o := options(t, out)
		o.drivers = []string{"virtio_blk"} // each module is unpacked
		c.change(o)
		_, err := Build(t.Context(), o)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: Build = %v, want %v", name, err, c.want)
		}
	}
	if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused build left its output (%v)", err)
	}
}

// fakeKernel is a file that says of itself that it is a kernel.
func fakeKernel(t *testing.T, version string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "kernel")
	head := make([]byte, 0x400)
	copy(head[bootMagicOffset:], "HdrS")
	head[kernelVersionOffset+1] = 1
	copy(head[0x300:], version)
	if err := os.WriteFile(name, head, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestDuplicateFile(t *testing.T) {
	err := Pack(filepath.Join(t.TempDir(), "x"), []File{{Name: "a/b"}, {Name: "/a/b"}})
	if !errors.Is(err, ErrDuplicate) {
		t.Errorf("Pack of two files a/b = %v, want %v", err, ErrDuplicate)
	}
}

// tools.go keeps in go.mod exactly what defaultCommands builds.
func TestToolsNamesTheCommands(t *testing.T) {
	b, err := os.ReadFile("tools.go")
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), `_ "`); ok {
			named = append(named, strings.TrimSuffix(rest, `"`))
		}
	}
	want := defaultCommands(true)
	slices.Sort(want)
	slices.Sort(named)
	if !slices.Equal(named, want) {
		t.Errorf("tools.go names\n%q\nDefaultCommands\n%q", named, want)
	}
}
