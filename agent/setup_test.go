package agent

import (
	"bytes"
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"troy/chainload/regf"
	"troy/diskwriter/machine"
	"troy/diskwriter/pcdisk"
	"troy/server/protocol"
)

const inProgress = "OOBEInProgress"

// setupHive is a hive SYSTEM that says that setup has still to ask its questions.
func setupHive(t *testing.T) []byte {
	t.Helper()
	root := &regf.Key{Name: "ROOT", Flags: 4}
	k := root.Make("Setup")
	k.Set("SystemSetupInProgress", regf.DWORD, regf.EncodeDWORD(0))
	k.Set(inProgress, regf.DWORD, regf.EncodeDWORD(1))
	b, err := (&regf.Hive{Root: root}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// setsProgress lets Windows write the value into its hive, in the session.
func (b *bench) setsProgress(value uint32) {
	b.t.Helper()
	disk, err := os.ReadFile(b.v2)
	b.must(err)
	at := bytes.Index(disk, []byte(inProgress))
	if at < 0 {
		b.t.Fatal("the hive is not on the disk")
	}
	// The name of a value follows its cell, whose data stands 12 bytes before.
	binary.LittleEndian.PutUint32(disk[at-12:], value)
	page := int64(at-12) &^ 4095
	b.withTarget(func(tg *pcdisk.Target) {
		_, _, err := tg.Open()
		b.must(err)
		chain, err := bootChain(tg.Files())
		b.must(err)
		_, err = chain.WriteAt(disk[page:page+4096], page)
		b.must(err)
		b.must(chain.Close())
	})
}

// state is what the disk holds.
func (b *bench) state() (s machine.State) {
	b.t.Helper()
	b.withTarget(func(tg *pcdisk.Target) {
		m, _, err := tg.Open()
		b.must(err)
		s = m.State()
	})
	return s
}

// TestSetupPending: a version whose Windows has to be set up is neither merged nor reset, whatever
// the rules say and whether a server answers or not, until its own hive says that setup is over.
// Then it may be merged and replaced, but a reset would undo the setup.
func TestSetupPending(t *testing.T) {
	b := newLayoutBench(t, protocol.MergeNow, layout{hive: setupHive(t)})
	b.orders.Rules.Reset = protocol.ResetBoot
	good := b.url
	start := func(url, says string) {
		t.Helper()
		b.url = url
		want := ExitDone
		if url != good {
			want = ExitUntouched
		}
		if code := b.run(); code != want || !b.handed || !strings.Contains(b.out.String(), says) {
			t.Fatalf("exit code %d, handed over %t, want %q", code, b.handed, says)
		}
	}
	keeps := func(what string, layers int) {
		t.Helper()
		if s := b.state(); s.Version != 2 || s.Layers != layers || !s.SessionWritten {
			t.Fatalf("%s: %+v", what, s)
		}
	}
	start(good, "version 2 is committed")
	if s := b.state(); s.Version != 2 || s.Layers != 1 {
		t.Fatalf("it was merged before it was set up: %+v", s)
	}
	b.windows() // a restart on the way
	start(good, "still being set up")
	keeps("a restart", 1)
	b.windows()
	start("https://127.0.0.1:1", "still being set up")
	keeps("no server", 1)
	b.setsProgress(0)
	start(good, "Windows has been set up")
	keeps("set up", 0)
	b.windows()
	start(good, "")
	keeps("later", 0)
}

// TestEndSetup: by the admin's order setup counts as over, or what it has done is discarded and
// another version comes; each order is carried out once, and reported as long as it comes.
func TestEndSetup(t *testing.T) {
	b := newLayoutBench(t, protocol.MergeLazy, layout{hive: setupHive(t)})
	start := func(says string) protocol.Report {
		t.Helper()
		if b.run(); !b.handed || !strings.Contains(b.out.String(), says) {
			t.Fatalf("handed over %t, want %q", b.handed, says)
		}
		return b.reports[len(b.reports)-1]
	}
	start("version 2 is committed")
	b.windows()
	b.orders.End = &protocol.EndSetup{ID: "1", Of: protocol.Want{Image: testImage, Version: 1, Manifest: b.manifestOf(testImage, 1)}}
	if r := start("still being set up"); r.EndSetup != "" || b.checkIn.Setup != protocol.SetupPending {
		t.Errorf("an order about another version: %+v, check-in %q", r, b.checkIn.Setup)
	}
	b.windows()
	b.orders.End = &protocol.EndSetup{ID: "2", Leave: true, Of: protocol.Want{Image: testImage, Version: 2, Manifest: b.manifestOf(testImage, 2)}}
	for range 2 { // the second time it was done
		if r := start(""); r.EndSetup != "2" || b.checkIn.Setup != protocol.SetupPending {
			t.Errorf("left: %+v, check-in %q", r, b.checkIn.Setup)
		}
		if s := b.state(); s.Version != 2 || s.SessionWritten {
			t.Errorf("left: %+v", s)
		}
	}
	b.windows()
	if start(""); !b.state().SessionWritten {
		t.Error("setup that began again was discarded")
	}
	b.orders.End = &protocol.EndSetup{ID: "3", Of: b.orders.End.Of}
	if r := start("the admin says that it is over"); r.EndSetup != "3" || !b.state().SessionWritten {
		t.Errorf("over: %+v", r)
	}
	if start(""); b.checkIn.Setup != protocol.SetupOver {
		t.Errorf("check-in %q", b.checkIn.Setup)
	}
}
