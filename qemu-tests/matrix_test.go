package qemutests

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"troy/diskwriter/machine"
	"troy/internal/testing/fixture"
	"troy/internal/testing/standin"
	"troy/internal/testing/testlab"
	"troy/server/protocol"
	"troy/trial/vm"
)

// A disk as PCs have them.
type drive struct {
	bus               vm.Bus
	logical, physical int // bytes of a sector
	image             int // bytes of a sector of the virtual disk
}

func (d drive) String() string {
	return fmt.Sprintf("%s-%d-%d-image-%d", [...]string{vm.VirtioBlk: "virtio", vm.NVMe: "nvme", vm.AHCI: "ahci"}[d.bus], d.logical, d.physical, d.image)
}

// drives are all that QEMU has: AHCI none with sectors of 4096 bytes.
var drives = []drive{
	{vm.NVMe, 4096, 4096, 4096},
	{vm.NVMe, 512, 512, 512},
	{vm.NVMe, 512, 4096, 512},
	{vm.NVMe, 512, 4096, 4096},
	{vm.AHCI, 512, 512, 512},
	{vm.AHCI, 512, 4096, 512},
	{vm.VirtioBlk, 512, 512, 512},
	{vm.VirtioBlk, 512, 4096, 512},
	{vm.VirtioBlk, 4096, 4096, 4096},
}

// Every kind of disk is provisioned from nothing, and then gets the next version.
func TestDrives(t *testing.T) {
	if !soak() {
		t.Log("only with TROY_SOAK=1; TestProvision, TestKernelNow and TestStickLazy have virtio and NVMe with sectors of 512 bytes")
		return
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	images := map[int]*fixture.Windows{}
	for _, sector := range []int{512, 4096} {
		w, err := room.PublishPair(t.Context(), t.TempDir(), imageOf(sector), sector, seed)
		if err != nil {
			t.Fatal(err)
		}
		images[sector] = w
	}
	for _, d := range drives {
		t.Run(d.String(), func(t *testing.T) { testDrive(t, d, images[d.image]) })
	}
	t.Run("image of 512 on 4Kn", testTooCoarse)
}

// provision has the room fill empty disks.
const provision = "provision: {allow: true}"

func imageOf(sector int) string { return fmt.Sprintf("sectors-%d", sector) }

func testDrive(t *testing.T, d drive, w *fixture.Windows) {
	pc := newDrive(t, d)
	begin := time.Now()
	for version, raw := range []string{w.V1, w.V2} {
		version++
		s, err := room.Serve(t.Context(), testlab.Room{Image: imageOf(d.image), Version: version, Keys: provision + ", merge: now"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Stop() }) // after a failure; the others need the port
		serial, err := pc.FromUSB(t.Context())
		if err != nil {
			t.Fatalf("%v\n%s", err, serial)
		}
		if !strings.Contains(serial, standin.Started) {
			t.Errorf("Windows was not started:\n%s", serial)
		}
		if r := reported(t, s, 1); r.Outcome != protocol.OutcomeDone || r.Version != version || r.ExitCode != 0 {
			t.Fatalf("report: %+v\n%s", r, serial)
		}
		if _, err := s.Stop(); err != nil {
			t.Fatal(err)
		}
		holds(t, pc, raw, machine.BootName, machine.BaseName)
		t.Logf("version %d after %.0f s", version, time.Since(begin).Seconds())
	}
	if d.logical == 512 {
		if err := testlab.Healthy(t.Context(), pc.Disk); err != nil {
			t.Error(err)
		}
	} else {
		healthy4Kn(t, pc)
	}
}

func newDrive(t *testing.T, d drive) *testlab.PC {
	t.Helper()
	pc, err := room.NewBarePC("drive-" + d.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(pc.Disk) })
	pc.Bus, pc.SectorSize, pc.PhysicalSectorSize = d.bus, d.logical, d.physical
	return pc
}

// healthy4Kn is healthy for sectors of 4096 bytes, which sgdisk does not believe an image file to
// have.
func healthy4Kn(t *testing.T, pc *testlab.PC) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "fdisk", "-b", "4096", "-l", pc.Disk).CombinedOutput()
	text := string(out)
	if err != nil || !strings.Contains(text, "Disklabel type: gpt") || strings.Contains(text, "corrupt") || strings.Contains(text, "mismatch") ||
		strings.Count(text, pc.Disk) != 4 {
		t.Errorf("fdisk: %v\n%s", err, text)
	}
	volume, esp := filepath.Join(t.TempDir(), "volume"), filepath.Join(t.TempDir(), "esp")
	if err := testlab.CutVolume(t.Context(), pc.Disk, volume); err != nil {
		t.Fatal(err)
	}
	if err := testlab.CutESP(t.Context(), pc.Disk, esp); err != nil {
		t.Fatal(err)
	}
	if err := testlab.HealthyVolumes(t.Context(), volume, esp); err != nil {
		t.Error(err)
	}
}

// testTooCoarse: an image with sectors of 512 bytes does not go to a disk with larger ones, and
// nothing is written to it.
func testTooCoarse(t *testing.T) {
	s, err := room.Serve(t.Context(), testlab.Room{Image: imageOf(512), Version: 2, Keys: provision})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	pc := newDrive(t, drive{vm.VirtioBlk, 4096, 4096, 512})
	before := look(t, pc)
	said := untilStopped(t, pc, s, true, "the image has sectors of 512 bytes", "the disk is unchanged")
	if after := look(t, pc); after != before {
		t.Errorf("the disk was %s, and is %s:\n%s", before, after, said)
	}
}

// A PC that a BIOS started: it is told to be switched to UEFI, and no disk is written to, prepared
// or empty.
func TestBIOS(t *testing.T) {
	pc, server := start(t, "bios", "provision: {allow: true, wipe: true}, reinstall: true, merge: now")
	before := look(t, pc)
	said := untilStopped(t, pc, server, false, "Windows 11 needs UEFI", "switch the firmware to UEFI")
	if after := look(t, pc); after != before {
		t.Errorf("the disk was %s, and is %s:\n%s", before, after, said)
	}
	if !soak() {
		return
	}
	bare, err := room.NewBarePC("bios-bare")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(bare.Disk)
	before = look(t, bare)
	said = untilStopped(t, bare, server, false, "Windows 11 needs UEFI", "switch the firmware to UEFI")
	if after := look(t, bare); after != before {
		t.Errorf("the empty disk was %s, and is %s:\n%s", before, after, said)
	}
}

// untilStopped is untilItStops of the PC as it is, started by UEFI or by a BIOS.
func untilStopped(t *testing.T, pc *testlab.PC, s *testlab.Server, uefi bool, want ...string) (serial string) {
	t.Helper()
	c, err := pc.KernelConfig("troy.server=" + testlab.ServerURL)
	if err != nil {
		t.Fatal(err)
	}
	if !uefi {
		c.Firmware = nil
	}
	return untilItStops(t, c, s, want...)
}

// untilItStops starts a machine, waits for a line that says why the agent stopped and for the
// report, and cuts the power.
func untilItStops(t *testing.T, c *vm.Config, s *testlab.Server, want ...string) (serial string) {
	t.Helper()
	before, err := s.Reports()
	if err != nil {
		t.Fatal(err)
	}
	m, err := vm.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	line, err := m.Expect(t.Context(), `deploy: stopped: .*\n`)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range want {
		if !strings.Contains(line, text) {
			t.Errorf("the line does not say %q: %s", text, line)
		}
	}
	var all []protocol.Report
	for end := time.Now().Add(time.Minute); len(all) == len(before); time.Sleep(100 * time.Millisecond) {
		if all, err = s.Reports(); err != nil || time.Now().After(end) {
			t.Fatalf("no report: %v\n%s", err, m.Log())
		}
	}
	// Exit code 3, or 5 because there is no Windows to start either.
	if r := all[len(all)-1]; r.Outcome != protocol.OutcomeFailed || r.ExitCode != 3 && r.ExitCode != 5 || slices.ContainsFunc(r.Steps, func(s protocol.Step) bool { return s.Written > 0 }) {
		t.Errorf("report: %+v", r)
	}
	time.Sleep(time.Second) // what it would do after that
	m.Kill()
	return m.Log()
}

// look says what a disk image holds, where it holds anything, and when it was last written to.
func look(t *testing.T, pc *testlab.PC) string {
	t.Helper()
	f, err := os.Open(pc.Disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	for at := int64(0); ; {
		from, err := f.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // there are only holes
		}
		if err == nil {
			at, err = f.Seek(from, unix.SEEK_HOLE)
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(h, "from %d to %d", from, at)
		if _, err := io.Copy(h, io.NewSectionReader(f, from, at-from)); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf("%d bytes, written to at %v, SHA-256 %x", info.Size(), info.ModTime(), h.Sum(nil))
}
