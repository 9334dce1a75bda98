// Package qemutests starts whole machines: black-box tests, in QEMU with real firmware, of what
// package initramfs made.
package qemutests

import (
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"troy/diskwriter/machine"
	"troy/diskwriter/ntfs"
	"troy/diskwriter/pcdisk"
	"troy/internal/testing/diskfile"
	"troy/internal/testing/standin"
	"troy/internal/testing/testlab"
	"troy/server/protocol"
	"troy/trial/vm"
	"troy/vhdx"
)

// room is shared by all tests: building it takes longer than most of them.
var room *testlab.Lab

func TestMain(m *testing.M) {
	os.Exit(testlab.With(testlab.New, func(l *testlab.Lab) int {
		room = l
		return m.Run()
	}))
}

// start makes a PC that holds version 1, and a server whose room has version 2 and the given keys.
func start(t *testing.T, name, keys string) (*testlab.PC, *testlab.Server) {
	t.Helper()
	server, err := room.Serve(t.Context(), testlab.Room{Version: 2, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	pc, err := room.NewPC(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(pc.Disk) })
	return pc, server
}

// holds fails unless the PC holds the raw image, in a chain of these files.
func holds(t *testing.T, pc *testlab.PC, raw string, chain ...string) {
	t.Helper()
	have, err := pc.Holds(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(have, chain) {
		t.Errorf("the chain is %v, want %v", have, chain)
	}
}

// reported returns the last report; it fails unless there are n of them.
func reported(t *testing.T, s *testlab.Server, n int) protocol.Report {
	t.Helper()
	reports, err := s.Reports()
	if err != nil {
		t.Fatal(err)
	}
	if len(reports) != n {
		t.Fatalf("%d reports, want %d: %+v", len(reports), n, reports)
	}
	return reports[n-1]
}

// From the stick with policy lazy: version 2 boots from its slot, and is merged at the first start
// after Windows has run.
func TestStickLazy(t *testing.T) {
	pc, server := start(t, "lazy", "merge: lazy")
	if serial, err := pc.FromUSB(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, serial)
	}
	if r := reported(t, server, 1); r.Outcome != protocol.OutcomeDone || r.Version != 2 {
		t.Fatalf("report: %+v", r)
	}
	holds(t, pc, room.Windows.V2, machine.BootName, machine.LayerAName, machine.BaseName)

	want := filepath.Join(t.TempDir(), "want.raw")
	runWindows(t, pc, want)
	if serial, err := again(t, pc); err != nil {
		t.Fatalf("%v\n%s", err, serial)
	}
	if r := reported(t, server, 2); !wrote(r, "merge") || r.ExitCode != 0 {
		t.Errorf("the second start did not merge: %+v", r)
	}
	holds(t, pc, want, machine.BootName, machine.BaseName)
}

// again starts the PC once more: in the short run without firmware and stick.
func again(t *testing.T, pc *testlab.PC) (serial string, err error) {
	t.Helper()
	if soak() {
		return pc.FromUSB(t.Context())
	}
	return pc.FromKernel(t.Context(), "troy.server="+testlab.ServerURL)
}

func wrote(r protocol.Report, kind string) bool {
	return slices.ContainsFunc(r.Steps, func(s protocol.Step) bool { return s.Kind == kind && s.Written > 0 && s.Error == "" })
}

// runWindows does to the boot child what a session of Windows does: some pages are written through
// the chain. It writes what the disk reads as then to want.
func runWindows(t *testing.T, pc *testlab.PC, want string) {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	copyFile(t, room.Windows.V2, want)
	raw, err := os.OpenFile(want, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	session(t, pc, func(c *vhdx.Chain) {
		page := make([]byte, 4096)
		for range 20 {
			for i := range page {
				page[i] = byte(r.Uint32())
			}
			off := 600<<20 + r.Int64N(50<<20)&^4095 // among the DLLs, far from the structures of NTFS
			for _, w := range []io.WriterAt{c, raw} {
				if _, err := w.WriteAt(page, off); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// session opens the chain on the PC's disk for writing, as Windows has it.
func session(t *testing.T, pc *testlab.PC, f func(*vhdx.Chain)) {
	t.Helper()
	disk, err := pcdisk.Find([]string{pc.Disk})
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	files, err := disk.MapFiles()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := vhdx.OpenStorage(files.Boot.Storage, files.Boot.Size, &vhdx.OpenOptions{Writable: true})
	if err != nil {
		t.Fatal(err)
	}
	chain, err := vhdx.ResolveChain(leaf, func(child *vhdx.File) (*vhdx.File, error) {
		_, f, err := pcdisk.Parent(files, child)
		if err != nil {
			return nil, err
		}
		return vhdx.NewFile(f.Storage, f.Size)
	})
	if err != nil {
		t.Fatal(err)
	}
	f(chain)
	if err := chain.Close(); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// As PXE starts it (kernel and initramfs, no stick), on other hardware, with policy now: the agent
// deploys, merges and sets BootNext; the next start of the firmware is that of Windows. The first
// network card is in a network whose DHCP server answers, at once, and where no server is.
func TestKernelNow(t *testing.T) {
	pc, server := start(t, "now", "merge: now")
	pc.Bus, pc.NIC, pc.Others = vm.NVMe, "e1000e", []vm.NIC{{User: "restrict=on", MAC: "52:54:00:99:00:01"}}
	serial, err := pc.FromKernel(t.Context(), "troy.server="+testlab.ServerURL)
	if err != nil {
		t.Fatalf("%v\n%s", err, serial)
	}
	r := reported(t, server, 1)
	if r.Outcome != protocol.OutcomeDone || r.Version != 2 || !wrote(r, "merge") {
		t.Fatalf("report: %+v", r)
	}
	if strings.Contains(serial, standin.Started) {
		t.Error("the stand-in started before the machine was reset")
	}
	if !strings.Contains(serial, "network: eth1 has 10.77.") {
		t.Errorf("it is not in the second network:\n%s", serial)
	}
	holds(t, pc, room.Windows.V2, machine.BootName, machine.BaseName)
	after, err := pc.FromDisk(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, after)
	}
	if !strings.Contains(after, "STANDIN: BootNext not set") {
		t.Errorf("BootNext outlived the start:\n%s", after)
	}
}

// Without a server the machine says so, leaves its disk alone and starts the version it has.
func TestMissingServer(t *testing.T) {
	pc, server := start(t, "alone", "")
	if _, err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	before := withoutJournal(t, pc)
	serial, err := again(t, pc)
	if err != nil {
		t.Fatalf("%v\n%s", err, serial)
	}
	if !strings.Contains(serial, "connection refused") || !strings.Contains(serial, "the disk is unchanged, its current version starts") {
		t.Errorf("the line that says why is missing:\n%s", serial)
	}
	if withoutJournal(t, pc) != before {
		t.Error("the disk was written to")
	}
}

// withoutJournal hashes the PC's disk without what journal and mailbox hold (each start is counted
// in the one, and leaves a message in the other) and without the ESP, which is kept right.
func withoutJournal(t *testing.T, pc *testlab.PC) uint64 {
	t.Helper()
	found, err := pcdisk.Find([]string{pc.Disk})
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	part, err := found.Device.Partition(found.Data)
	if err != nil {
		t.Fatal(err)
	}
	volume, err := ntfs.Open(part, part.Size())
	if err != nil {
		t.Fatal(err)
	}
	without := []diskfile.Range{{Offset: found.ESP.Start, Length: found.ESP.Size}}
	for _, name := range []string{pcdisk.Journal, pcdisk.Mailbox} {
		f, err := volume.Map(part, pcdisk.Folder+name)
		if err != nil {
			t.Fatal(err)
		}
		m := f.Mapping()
		for _, r := range m.Runs {
			without = append(without, diskfile.Range{Offset: part.Start() + r.LCN*int64(m.ClusterSize), Length: r.Length * int64(m.ClusterSize)})
		}
	}
	sum, err := diskfile.Sum(pc.Disk, without...)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}
