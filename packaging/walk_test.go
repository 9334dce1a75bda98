package packaging

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"troy/internal/testing/fixture"
	"troy/internal/testing/standin"
	"troy/internal/testing/vmlab"
	"troy/trial/vm"
)

// Sizes in bytes: of the disk that is published, of a PC's empty disk, of the admin's stick.
const (
	walkImage = 128 << 20
	walkPC    = 2 << 30
	walkStick = 256 << 20
	walkKeys  = 64 << 20 // the stick with the admin's keys
)

// walk is a first walk: a server that begins as an empty Debian, and PCs with empty disks beside it.
type walk struct {
	t     *testing.T
	net   *vmlab.Network
	stick string
	keys  string // a volume of FAT, as sticks are sold

	mu    sync.Mutex
	last  time.Time
	clock []string // lines of a table
}

// step notes that a step has ended.
func (w *walk) step(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	line := fmt.Sprintf("| %s | %.0f s |", name, now.Sub(w.last).Seconds())
	w.last, w.clock = now, append(w.clock, line)
	w.t.Log(line)
}

// TestFirstWalk goes the way of an admin's first hour, on an empty Debian of both releases: install
// the package, troy setup; then one bare PC starts from the
// stick and one by PXE, and both end in the stand-in for Windows. It prints how long each step took.
func TestFirstWalk(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1; TestSameMedia makes media of what is in the package")
		return
	}
	deb, windows := debOf(t), walkDisk(t)
	for _, release := range []string{"bookworm", "trixie"} {
		t.Run(release, func(t *testing.T) {
			w := &walk{t: t, stick: filepath.Join(t.TempDir(), "stick.img"), keys: filepath.Join(t.TempDir(), "keys.img")}
			run(t, "truncate", "-s", fmt.Sprint(walkStick), w.stick)
			run(t, "truncate", "-s", fmt.Sprint(walkKeys), w.keys)
			run(t, "mkfs.fat", w.keys)
			var err error
			if w.net, err = vmlab.NewNetwork(t.Context(), &vmlab.NetworkConfig{Dir: t.TempDir(), Taps: 3}); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { w.net.Close() })
			w.goes(debian(t, release, deb), map[string][]byte{"troy.deb": read(t, deb), "windows.raw": windows, "proof.sh": read(t, "testdata/walk.sh")})
			t.Logf("\n| step | %s |\n|---|---|\n%s", release, strings.Join(w.clock, "\n"))
		})
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// walkDisk is the disk that is published: a stand-in where Windows has its boot manager.
func walkDisk(t *testing.T) []byte {
	t.Helper()
	loader, disk := filepath.Join(t.TempDir(), "standin.efi"), filepath.Join(t.TempDir(), "windows.raw")
	if err := standin.Build(t.Context(), &standin.Options{Kernel: environment(t, "KERNEL"), Modules: environment(t, "MODULES"), Out: loader}); err != nil {
		t.Fatal(err)
	}
	if err := fixture.MakeSmall(t.Context(), disk, loader, walkImage, 21); err != nil {
		t.Fatal(err)
	}
	return read(t, disk)
}

// goes goes the walk.
func (w *walk) goes(debian string, files map[string][]byte) {
	w.t.Helper()
	w.last = time.Now()
	s := &server{disk: copyOf(w.t, debian), files: files, config: vm.Config{
		Timeout: 90 * time.Minute, Namespace: w.net.Namespace, NICs: []vm.NIC{{Tap: w.net.Taps[0]}},
		Disks:  []vm.Disk{{Path: w.stick}, {Path: w.keys}},
		OnLine: func(line string) { w.t.Log(strings.TrimSpace(line)) },
	}}
	m := s.start(w.t)
	w.await(m, "network", "start of the server's Debian (not the admin's)")
	w.await(m, "install", "apt install ./troy.deb")
	w.await(m, "setup", "troy setup: store, image, service, media; and dd to a stick")
	w.await(m, "promote", "troy promote")
	for i, name := range []string{"stick", "net"} {
		pc := w.start(name, i+1)
		w.await(m, name+" assigned", name+": firmware, agent, code on the screen, troy assign")
		if _, err := pc.Expect(w.t.Context(), standin.Started); err != nil {
			w.t.Fatalf("%v\n%s\nthe server said:\n%s", err, pc.Log(), m.Log())
		}
		w.step(name + ": empty disk to the stand-in for Windows")
		if err := pc.Wait(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
		w.await(m, name+" reported", name+": seen in troy hosts")
	}
	w.await(m, "signed", "troy hosts confirm, troy permit wipe")
	if err := m.Wait(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// await waits until the server's script has done a step.
func (w *walk) await(m *vm.VM, part, what string) {
	w.t.Helper()
	line, err := m.Expect(w.t.Context(), `WALK: (`+part+`: ok|failed: .*)\n`)
	if err == nil && strings.Contains(line, "failed") {
		_, err = m.Expect(w.t.Context(), "WALK: end of the journal")
		w.t.Fatalf("%s\n%v\n%s", line, err, m.Log())
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.step(what)
}

// start turns a PC with an empty disk on: "stick" has the admin's stick, any other starts by PXE.
func (w *walk) start(name string, tap int) *vm.VM {
	w.t.Helper()
	firmware, err := vm.FindFirmware()
	if err != nil {
		w.t.Fatal(err)
	}
	disk := filepath.Join(w.t.TempDir(), name+".img")
	run(w.t, "truncate", "-s", fmt.Sprint(walkPC), disk)
	c := &vm.Config{
		Name: name, Dir: w.t.TempDir(), Firmware: firmware, Namespace: w.net.Namespace, MemoryMiB: 2048, Timeout: 40 * time.Minute, InitLimit: patience,
		Disks: []vm.Disk{{Path: disk, BootIndex: 2}},
		NICs:  []vm.NIC{{Tap: w.net.Taps[tap], MAC: fmt.Sprintf("52:54:00:77:00:%02x", tap)}},
		Args:  []string{"-uuid", fmt.Sprintf("7e570000-0000-4000-8000-%012x", tap)},
		OnLine: func(line string) {
			if strings.Contains(line, "deploy: ") || strings.Contains(line, "STANDIN: ") {
				w.t.Logf("%s: %s", name, strings.TrimSpace(line))
			}
		},
	}
	if name == "stick" { // a copy: the server's QEMU holds the file
		stick := filepath.Join(w.t.TempDir(), "stick.img")
		run(w.t, "cp", "--sparse=always", w.stick, stick)
		c.Disks = append(c.Disks, vm.Disk{Path: stick, Bus: vm.USB, ReadOnly: true, BootIndex: 1})
	} else {
		c.NICs[0].BootIndex = 1
	}
	pc, err := vm.Start(w.t.Context(), c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { pc.Close() })
	return pc
}
