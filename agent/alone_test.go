package agent

import (
	"strings"
	"testing"

	"troy/chainload"
	"troy/diskwriter/pcdisk"
	"troy/server/protocol"
)

// windowsRuns writes to the boot child, as each start of Windows does.
func (b *bench) windowsRuns() {
	b.t.Helper()
	b.withTarget(func(tg *pcdisk.Target) {
		_, _, err := tg.Open()
		b.must(err)
		b.must(writeSession(tg.Files()))
	})
}

// A start that is cut off after it judged the last hand-off, and Windows comes up without the
// agent: the next start knows it and tells the server; the one after has nothing to tell.
func TestWindowsRanAlone(t *testing.T) {
	b := newBench(t, protocol.MergeNow)
	start := func() (in *protocol.CheckIn, out string) {
		t.Helper()
		a := b.agent()
		a.win.left = func() chainload.Left { return chainload.Left{Firmware: true} }
		b.out.Reset()
		if code := a.run(t.Context()); code != ExitDone {
			t.Fatalf("exit code %d\n%s", code, b.out.String())
		}
		return a.describe(), b.out.String()
	}
	start()
	b.windowsRuns()
	if in, out := start(); in.Without != "" {
		t.Fatalf("after an ordinary start: %q\n%s", in.Without, out)
	}
	b.windowsRuns()
	b.cutAt("nothing to do")
	b.windowsRuns()
	in, out := start()
	if !strings.Contains(in.Without, "without the agent: no hand-off was made") || !strings.Contains(in.LastStart, in.Without) || !strings.Contains(out, in.Without) {
		t.Errorf("without %q, last start %q\n%s", in.Without, in.LastStart, out)
	}
	b.windowsRuns()
	if in, _ := start(); in.Without != "" {
		t.Errorf("the start after: %q", in.Without)
	}
}

// That a PC leaves Troy is in its report.
func TestLeavesIsReported(t *testing.T) {
	a := newBenchIn(t, t.TempDir()).agent()
	a.win.leaves = "from now on this PC starts Windows without Troy\x1b"
	if r := a.describeEnd(); r.Leaves != "from now on this PC starts Windows without Troy" {
		t.Errorf("%q", r.Leaves)
	}
}
