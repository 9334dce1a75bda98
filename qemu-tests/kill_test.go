package qemutests

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"troy/diskwriter/machine"
	"troy/diskwriter/pcdisk"
	"troy/internal/testing/testlab"
	"troy/trial/vm"
)

// moments are when the power goes: some time after a line of the agent.
var moments = []struct {
	line string
	most time.Duration
}{
	{`deploy: .* version 1 → 2`, 2500 * time.Millisecond},  // while pages are fetched into the slot
	{`deploy: fetch: .* in .* s,`, 500 * time.Millisecond}, // while the slot is finished, and committed
	{`version 2 is committed`, 180 * time.Millisecond},     // during the merge
	{`deploy: merge: .* in .* s,`, 600 * time.Millisecond}, // during the hand-off
	{`deploy: disk: `, 1500 * time.Millisecond},            // while an earlier run is resumed
}

// killing is a campaign on PCs of a small lab.
type killing struct {
	t      *testing.T
	lab    *testlab.Lab
	want   *versions
	r      *rand.Rand
	pc     *testlab.PC
	made   int
	spent  bool // the PC is to be replaced before the next round
	counts map[string]int
}

// The power is cut at random moments of a deployment with policy now. After each cut the disk shows
// one whole version, the one it says, and a start by firmware alone ends in the stand-in. At the
// end an undisturbed run brings version 2.
func TestKilled(t *testing.T) {
	kills := 3
	if soak() {
		kills = 300
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	k := &killing{t: t, lab: small(t), r: rand.New(rand.NewPCG(seed, 4)), counts: map[string]int{}}
	var err error
	if k.want, err = readVersions(k.lab.Windows.V1, k.lab.Windows.V2); err != nil {
		t.Fatal(err)
	}
	server, err := k.lab.Serve(t.Context(), testlab.Room{Version: 2, Keys: "merge: now"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	k.fresh()
	for i, tries := 0, 0; i < kills; tries++ {
		if tries > 3*kills+3 {
			t.Fatalf("only %d of %d kills hit", i, kills)
		}
		if k.kill(i) {
			i++
		}
	}
	t.Logf("%d kills: %v", kills, k.counts)
	k.finish()
}

func soak() bool { return os.Getenv("TROY_SOAK") != "" }

// small makes the small lab for one test.
func small(t *testing.T) *testlab.Lab {
	t.Helper()
	return labOf(t, room.Small)
}

// smallLab makes one with an NTFS volume on each disk; an empty bootManager is the stand-in.
func smallLab(t *testing.T, bootManager string) *testlab.Lab {
	t.Helper()
	return labOf(t, func(ctx context.Context, dir string, seed uint64) (*testlab.Lab, error) {
		return room.SmallNTFS(ctx, dir, bootManager, seed)
	})
}

// labOf makes a lab in a folder that the test removes, from a seed that it prints.
func labOf(t *testing.T, build func(ctx context.Context, dir string, seed uint64) (*testlab.Lab, error)) *testlab.Lab {
	t.Helper()
	dir, err := os.MkdirTemp(os.Getenv("TROY_CACHE"), "small-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	seed := rand.Uint64()
	t.Logf("seed of the disks %d", seed)
	l, err := build(t.Context(), dir, seed)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// fresh takes a new PC that holds version 1.
func (k *killing) fresh() {
	k.t.Helper()
	if k.pc != nil {
		os.Remove(k.pc.Disk)
	}
	k.made++
	k.spent = false
	var err error
	if k.pc, err = k.lab.NewPC(k.t.Context(), fmt.Sprintf("kill%d", k.made)); err != nil {
		k.t.Fatal(err)
	}
}

// kill does one round. It returns false when the machine was through before the power was cut: a
// new PC is next.
func (k *killing) kill(i int) bool {
	k.t.Helper()
	if k.spent {
		k.fresh()
	}
	n := i % 3 // the first rounds see the main steps
	if i >= 3 {
		n = k.r.IntN(len(moments))
	}
	moment := moments[n]
	after := time.Duration(k.r.Int64N(int64(moment.most)))
	said, killed := k.start(moment.line, after)
	if !killed {
		k.spent = true
		return false
	}
	version, state := k.check()
	k.t.Logf("kill %d: %v after %q, last line %q: version %d, layers %d, merging %t, log pending %t", i, after.Round(time.Millisecond),
		moment.line, lastLine(said), version, state.Layers, state.Merging, state.LogPending)
	k.counts[fmt.Sprintf("version %d, layers %d, merging %t", version, state.Layers, state.Merging)]++
	if serial, err := k.pc.FromDisk(k.t.Context()); err != nil {
		k.t.Fatalf("kill %d: the start after it: %v\n%s", i, err, serial)
	}
	k.spent = version == 2 && (i < 3 || k.r.IntN(2) == 0)
	return true
}

// start starts the agent and cuts the power some time after a line. killed is false when it ended
// by itself.
func (k *killing) start(line string, after time.Duration) (said string, killed bool) {
	k.t.Helper()
	c, err := k.pc.KernelConfig("troy.server=" + testlab.ServerURL)
	if err != nil {
		k.t.Fatal(err)
	}
	machine, err := vm.Start(k.t.Context(), c)
	if err != nil {
		k.t.Fatal(err)
	}
	defer machine.Close()
	if _, err := machine.Expect(k.t.Context(), line); err != nil {
		if errors.Is(err, vm.ErrEnded) {
			return machine.Log(), false
		}
		k.t.Fatal(err)
	}
	time.Sleep(after)
	machine.Kill()
	return machine.Log(), errors.Is(machine.Wait(context.Background()), vm.ErrKilled)
}

// check reads the disk as it is, a log replayed in memory, and checks the NTFS volume.
func (k *killing) check() (int, machine.State) {
	k.t.Helper()
	volume := k.pc.Disk + ".volume"
	defer os.Remove(volume)
	if err := testlab.CutVolume(k.t.Context(), k.pc.Disk, volume); err != nil {
		k.t.Fatal(err)
	}
	if out, err := exec.Command("ntfsresize", "-i", "-f", volume).CombinedOutput(); err != nil {
		k.t.Errorf("ntfsresize: %v\n%s", err, out)
	}
	t, err := pcdisk.Find([]string{k.pc.Disk})
	if err != nil {
		k.t.Fatal(err)
	}
	defer t.Close()
	m, _, err := t.Open()
	if err != nil {
		k.t.Fatal(err)
	}
	chain, err := pcdisk.Chain(t.Files())
	if err != nil {
		k.t.Fatal(err)
	}
	version, err := k.want.of(chain)
	if err != nil {
		k.t.Fatal(err)
	}
	if s := m.State(); s.Version != version {
		k.t.Errorf("the disk shows version %d and says %d", version, s.Version)
	}
	return version, m.State()
}

// finish lets the last PC come to version 2.
func (k *killing) finish() {
	k.t.Helper()
	if serial, err := k.pc.FromKernel(k.t.Context(), "troy.server="+testlab.ServerURL); err != nil {
		k.t.Fatalf("%v\n%s", err, serial)
	}
	if version, _ := k.check(); version != 2 {
		k.t.Errorf("the undisturbed run left version %d", version)
	}
	if chain, err := k.pc.Holds(k.t.Context(), k.lab.Windows.V2); err != nil || chain[0] != machine.BootName {
		k.t.Errorf("read by 7zz over %v: %v", chain, err)
	}
	if !soak() {
		return // TestKernelNow starts such a disk
	}
	if serial, err := k.pc.FromDisk(k.t.Context()); err != nil {
		k.t.Fatalf("%v\n%s", err, serial)
	}
}

// lastLine is the last thing that the agent said.
func lastLine(serial string) string {
	lines := strings.Split(strings.TrimSpace(serial), "\n")
	return lines[len(lines)-1]
}
