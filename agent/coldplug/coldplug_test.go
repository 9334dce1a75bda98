package coldplug

import (
	"context"
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"troy/internal/testing/needs"
)

// machine is a made-up sysfs and modules folder. Loading a module may add devices.
type machine struct {
	t       *testing.T
	dir     string
	mu      sync.Mutex
	loaded  []string
	fail    map[string]error
	plugsIn map[string]string // module → modalias of the device that it brings up
}

const testDep = `kernel/usbcore.ko:
kernel/xhci-hcd.ko: kernel/usbcore.ko
kernel/xhci-pci.ko: kernel/xhci-hcd.ko kernel/usbcore.ko
kernel/usb-storage.ko: kernel/scsi_mod.ko kernel/usbcore.ko
kernel/scsi_mod.ko:
kernel/sd_mod.ko: kernel/scsi_mod.ko
kernel/r8169.ko:
kernel/realtek.ko:
kernel/vfat.ko: kernel/fat.ko
kernel/fat.ko:
`

const testAlias = `# Aliases extracted from modules themselves.
alias pci:v*d*sv*sd*bc0Csc03i30* xhci_pci
alias usb:v*p*d*dc*dsc*dp*ic08isc06ip50in* usb_storage
alias scsi:t-0x00* sd_mod
alias pci:v000010ECd00008168sv*sd*bc*sc*i* r8169
alias usb:v0421p0019d059[0-2]dc*dsc*dp*ic*isc*ip*in* usb_storage
`

func newMachine(t *testing.T, modaliases ...string) *machine {
	m := &machine{t: t, dir: t.TempDir(), fail: map[string]error{}, plugsIn: map[string]string{}}
	m.write("modules/modules.dep", testDep)
	m.write("modules/modules.alias", testAlias)
	m.write("modules/modules.softdep", "softdep r8169 pre: realtek\n")
	m.write("sys/bus/platform/devices/none/uevent", "")
	for _, a := range modaliases {
		m.plugIn(a)
	}
	return m
}

func (m *machine) write(name, content string) {
	p := filepath.Join(m.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(content), 0o600)); err != nil {
		m.t.Error(err)
	}
}

func (m *machine) plugIn(modalias string) {
	bus, _, _ := strings.Cut(modalias, ":")
	m.write(path.Join("sys/bus", bus, "devices", strings.ReplaceAll(modalias, "/", "_"), "modalias"), modalias+"\n")
}

func (m *machine) load(p string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := moduleName(p)
	if want := filepath.Join(m.dir, "modules/kernel", filepath.Base(p)); p != want {
		m.t.Errorf("load(%q), want %q", p, want)
	}
	if slices.Contains(m.loaded, name) {
		m.t.Errorf("%s loaded twice", name)
	}
	m.loaded = append(m.loaded, name)
	if a := m.plugsIn[name]; a != "" {
		m.plugIn(a)
	}
	return m.fail[name]
}

func (m *machine) plugger(always ...string) *Plugger {
	m.t.Helper()
	p, err := newPlugger(filepath.Join(m.dir, "modules"), filepath.Join(m.dir, "sys"), always, m.load)
	if err != nil {
		m.t.Fatal(err)
	}
	return p
}

const (
	xhciAlias    = "pci:v00001B36d0000000Dsv00001AF4sd00001100bc0Csc03i30"
	storageAlias = "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00"
	diskAlias    = "scsi:t-0x00"
	realtekAlias = "pci:v000010ECd00008168sv00001043sd00008677bc02sc00i00"
)

func TestScanFollowsBuses(t *testing.T) {
	m := newMachine(t, xhciAlias)
	m.plugsIn["xhci_pci"] = storageAlias
	m.plugsIn["usb_storage"] = diskAlias
	p := m.plugger("vfat")
	loaded, err := p.scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"fat", "sd_mod", "scsi_mod", "usb_storage", "usbcore", "vfat", "xhci_hcd", "xhci_pci"}
	slices.Sort(want)
	if got := slices.Sorted(slices.Values(loaded)); !slices.Equal(got, want) {
		t.Errorf("loaded %q, want %q", got, want)
	}
	for _, order := range [][2]string{{"fat", "vfat"}, {"usbcore", "xhci_hcd"}, {"xhci_hcd", "xhci_pci"}, {"scsi_mod", "usb_storage"}, {"scsi_mod", "sd_mod"}} {
		if slices.Index(m.loaded, order[0]) > slices.Index(m.loaded, order[1]) {
			t.Errorf("%s was loaded after %s", order[0], order[1])
		}
	}
	if again, err := p.scan(t.Context()); len(again) != 0 || err != nil {
		t.Errorf("second scan = %q, %v; want nothing", again, err)
	}
	m.plugIn(realtekAlias)
	if late, err := p.scan(t.Context()); !slices.Equal(late, []string{"realtek", "r8169"}) || err != nil {
		t.Errorf("scan after a new device = %q, %v; want realtek, r8169", late, err)
	}
}

func TestScanWithNothingAlways(t *testing.T) {
	m := newMachine(t, realtekAlias)
	p, err := newPlugger(filepath.Join(m.dir, "modules"), filepath.Join(m.dir, "sys"), nil, m.load)
	if err != nil {
		t.Fatal(err)
	}
	if loaded, err := p.scan(t.Context()); len(loaded) != 2 || err != nil {
		t.Errorf("scan = %q, %v; want two modules", loaded, err)
	}
}

func TestFailuresAreReportedAndPassedOver(t *testing.T) {
	m := newMachine(t, xhciAlias, realtekAlias)
	m.fail["xhci_pci"] = unix.ENODEV
	m.fail["realtek"] = unix.EEXIST
	loaded, err := m.plugger("no_such_module").scan(t.Context())
	var failed *LoadError
	if !errors.As(err, &failed) || failed.Module != "xhci_pci" || !errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EEXIST) {
		t.Errorf("scan error = %v, want xhci_pci: ENODEV alone", err)
	}
	if !slices.Contains(loaded, "r8169") || slices.Contains(loaded, "xhci_pci") {
		t.Errorf("loaded %q, want r8169 and not xhci_pci", loaded)
	}
}

func TestCancelledScanCanBeRepeated(t *testing.T) {
	m := newMachine(t, realtekAlias)
	p := m.plugger("vfat")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if loaded, err := p.scan(ctx); err != nil || len(loaded) != 0 {
		t.Errorf("cancelled scan = %q, %v", loaded, err)
	}
	if loaded, err := p.scan(t.Context()); err != nil || len(loaded) != 4 {
		t.Errorf("scan afterwards = %q, %v; want four modules", loaded, err)
	}
}

func TestSettleWaitsForLateDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		p := m.plugger("vfat")
		time.AfterFunc(150*time.Millisecond, func() { m.plugIn(realtekAlias) })
		loaded, err := p.Settle(t.Context(), 600*time.Millisecond)
		if err != nil || !slices.Contains(loaded, "r8169") {
			t.Errorf("Settle = %q, %v; want r8169 among them", loaded, err)
		}
	})
}

// A USB network card behind hubs comes when all drivers seemed loaded.
func TestFollow(t *testing.T) {
	for name, late := range map[string]time.Duration{"soon": 100 * time.Millisecond, "later": 2 * time.Second, "much later": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine(t, xhciAlias)
				p := m.plugger("vfat")
				news := make(chan struct{}, 1)
				p.news = func(context.Context) <-chan struct{} { return news }
				if loaded, err := p.Settle(t.Context(), 300*time.Millisecond); err != nil || slices.Contains(loaded, "r8169") {
					t.Fatalf("Settle = %q, %v", loaded, err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				var told []string
				go p.Follow(ctx, func(loaded []string, err error) {
					if told = append(told, loaded...); err != nil {
						t.Error(err)
					}
				})
				time.Sleep(late)
				m.plugIn(realtekAlias)
				poke(news)
				poke(news)
				synctest.Wait()
				if !slices.Equal(told, []string{"realtek", "r8169"}) {
					t.Errorf("loaded %q, want realtek and r8169", told)
				}
				cancel() // else the test does not end
			})
		})
	}
}

// A device that comes between Settle and Follow is seen though nothing tells of it.
func TestFollowLooksFirst(t *testing.T) {
	m := newMachine(t, realtekAlias)
	ctx, cancel := context.WithCancel(t.Context())
	m.plugger().Follow(ctx, func([]string, error) { cancel() })
	if !slices.Contains(m.loaded, "r8169") {
		t.Errorf("loaded %q, want r8169", m.loaded)
	}
}

// The kernel tells of a device: of one that is there, when it is asked to.
func TestUevents(t *testing.T) {
	needs.Root(t)
	news := uevents(t.Context())
	if err := os.WriteFile("/sys/devices/virtual/mem/null/uevent", []byte("change"), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/sys/devices/virtual/mem/null/uevent", []byte("add"), 0); err != nil {
		t.Fatal(err)
	}
	<-news
}

// An eMMC or SD card has its alias in uevent only.
func TestModaliases(t *testing.T) {
	m := newMachine(t, realtekAlias)
	m.write("sys/bus/mmc/devices/mmc0:0001/uevent", "DRIVER=mmcblk\nMMC_TYPE=MMC\nMMC_NAME=DA4128\nMODALIAS=mmc:block\n")
	m.write("sys/bus/mmc/devices/mmc0:0001/type", "MMC\n")
	m.write("sys/bus/pci/devices/both/modalias", "pci:v1\n")
	m.write("sys/bus/pci/devices/both/uevent", "MODALIAS=pci:v2\n")
	got, err := modaliases(m.dir + "/sys")
	if want := []string{"mmc:block", realtekAlias, "pci:v1"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

func TestNewWithoutModules(t *testing.T) {
	if _, err := newPlugger(t.TempDir(), t.TempDir(), nil, nil); err == nil {
		t.Error("newPlugger accepts a folder without modules.dep")
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"pci:v00008086d*sv*", "pci:v00008086d00001533sv00", true},
		{"pci:v00008086d*sv*", "pci:v00008087d00001533sv00", false},
		{"usb:v0421p0019d059[0-2]dc*", "usb:v0421p0019d0591dc00", true},
		{"usb:v0421p0019d059[0-2]dc*", "usb:v0421p0019d0593dc00", false},
		{"a[!0-9]b", "axb", true},
		{"a[!0-9]b", "a1b", false},
		{"a[]]b", "a]b", true},
		{"a[-x]b", "a-b", true},
		{"a[", "a[", false},
		{"*", "", true},
		{"**a**", "bab", true},
		{"*a*b", "aXbXa", false},
		{"of:N*T*Cvendor,a/b", "of:NxTyCvendor,a/b", true},
		{"*/*", "x/y/z", true},
		{"a?c", "abc", true},
		{"a?c", "ac", false},
		{`a\*c`, "a*c", true},
		{`a\*c`, "abc", false},
		{"", "", true},
		{"", "a", false},
		{"a", "", false},
	} {
		if got := match(c.pattern, c.s); got != c.want {
			t.Errorf("match(%q, %q) = %v, want %v", c.pattern, c.s, got, c.want)
		}
	}
}

// Without slashes, and for patterns that both understand, path.Match says the same.
func FuzzMatch(f *testing.F) {
	seeds := []string{"pci:v*d*sv*", "a[0-2]b*", "*a*b*c", "a?b[x-z]", "[a]*[b]"}
	for _, p := range seeds {
		f.Add(p, "a1bxc")
		f.Add(p, "pci:v00001B36d0000000Dsv00")
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if strings.ContainsAny(pattern+s, "/\\!^") || !isASCII(pattern+s) || oddClass(pattern) {
			return // the two differ there on purpose
		}
		want, err := path.Match(pattern, s)
		if err != nil {
			return
		}
		if got := match(pattern, s); got != want {
			t.Errorf("match(%q, %q) = %v, path.Match says %v", pattern, s, got, want)
		}
	})
}

// oddClass tells whether a bracket expression has ']' or '-' at an end.
func oddClass(pattern string) bool {
	for _, odd := range []string{"[]", "[-", "-]", "--"} {
		if strings.Contains(pattern, odd) {
			return true
		}
	}
	return false
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > 127 }) < 0
}
