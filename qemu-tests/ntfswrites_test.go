package qemutests

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/diskwriter/machine"
	"troy/diskwriter/ntfs"
	"troy/diskwriter/pcdisk"
	"troy/internal/testing/fixture"
	"troy/internal/testing/guest"
	"troy/internal/testing/testlab"
	"troy/trial/vm"
	"troy/vhdx"
)

// Every write of a deployment with its merge, of a reset and of a rollback is logged by QEMU. None
// on the NTFS partition is outside of the clusters of the \Troy\ files, none is in the structures
// of the parent, nothing is discarded; and in every prefix of the log the volume passes ntfsresize
// and the chain reads as one whole version.
func TestNTFSWrites(t *testing.T) {
	l := small(t)
	t.Run("deploy and merge", func(t *testing.T) { logDeployment(t, l) })
	t.Run("reset and rollback", func(t *testing.T) { logResetAndRollback(t, l) })
}

func logDeployment(t *testing.T, l *testlab.Lab) {
	server, err := l.Serve(t.Context(), testlab.Room{Version: 2, Keys: "merge: now"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	pc, err := l.NewPC(t.Context(), "logged")
	if err != nil {
		t.Fatal(err)
	}
	r := newReplay(t, pc, l.Windows.V1, l.Windows.V2)
	if serial, err := pc.FromKernel(t.Context(), "troy.server="+testlab.ServerURL); err != nil {
		t.Fatalf("%v\n%s", err, serial)
	}
	if rep := reported(t, server, 1); rep.Version != 2 || !wrote(rep, "merge") {
		t.Fatalf("report: %+v", rep)
	}
	r.check(pc, pcdisk.LayerA, pcdisk.Boot, pcdisk.Base, pcdisk.Journal, pcdisk.Mailbox)
}

// logResetAndRollback is about a PC that has a slot in its chain and a session in its boot child: a
// program in the place of the agent does what troy disk does. It shows the session, then version 2,
// then version 1, and nothing is written to the parent.
func logResetAndRollback(t *testing.T, l *testlab.Lab) {
	pc, err := l.NewPC(t.Context(), "operated")
	if err != nil {
		t.Fatal(err)
	}
	used := filepath.Join(t.TempDir(), "session.raw")
	commitAndUse(t, pc, l.Windows, used)
	initrd := filepath.Join(t.TempDir(), "initrd")
	packOperate(t, initrd)
	r := newReplay(t, pc, used, l.Windows.V2, l.Windows.V1)
	c, err := pc.KernelConfig("panic=-1 operate=reset,rollback")
	if err != nil {
		t.Fatal(err)
	}
	c.Initrd, c.Firmware, c.NICs = initrd, nil, nil
	machine, err := vm.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer machine.Close()
	if err := machine.Wait(t.Context()); err != nil || !strings.Contains(machine.Log(), "OPERATE: done") {
		t.Fatalf("%v\n%s", err, machine.Log())
	}
	r.check(pc, pcdisk.LayerA, pcdisk.Boot, pcdisk.Journal)
}

// commitAndUse puts version 2 into the slot of a PC, makes it what boots, and lets a session write
// to it. It writes what the disk shows then to used.
func commitAndUse(t *testing.T, pc *testlab.PC, w *fixture.Windows, used string) {
	t.Helper()
	v, err := readVersions(w.V1, w.V2)
	if err != nil {
		t.Fatal(err)
	}
	disk, err := pcdisk.Find([]string{pc.Disk})
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	m, _, err := disk.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := stageVersion(t.Context(), m, v); err != nil {
		t.Fatal(err)
	}
	if err := m.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed of the session %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 6))
	session(t, pc, func(c *vhdx.Chain) {
		page := make([]byte, 4096)
		for range 40 {
			for i := range page {
				page[i] = byte(rnd.Uint32())
			}
			off := rnd.Int64N(int64(len(v.v2))) &^ 4095
			copy(v.v2[off:], page)
			if _, err := c.WriteAt(page, off); err != nil {
				t.Fatal(err)
			}
		}
	})
	if err := os.WriteFile(used, v.v2, 0o600); err != nil {
		t.Fatal(err)
	}
}

// stageVersion fills the slot with every page that differs.
func stageVersion(ctx context.Context, m *machine.Machine, v *versions) error {
	q := &machine.StageRequest{Image: testlab.Image, Version: 2}
	for at := 0; at < len(v.v1); at += ntfs.PageSize {
		if bytes.Equal(v.v1[at:at+ntfs.PageSize], v.v2[at:at+ntfs.PageSize]) {
			continue
		}
		if n := len(q.Runs) - 1; n >= 0 && q.Runs[n].Offset+q.Runs[n].Length == int64(at) {
			q.Runs[n].Length += ntfs.PageSize
			continue
		}
		q.Runs = append(q.Runs, machine.Run{Offset: int64(at), Length: ntfs.PageSize})
	}
	s, err := m.Stage(ctx, q)
	if err != nil {
		return err
	}
	for _, r := range q.Runs {
		if _, err := s.WriteAt(v.v2[r.Offset:r.Offset+r.Length], r.Offset); err != nil {
			return err
		}
	}
	return s.Finish(ctx)
}

// packOperate makes an initramfs of the program operate and the drivers of a virtio disk.
func packOperate(t *testing.T, out string) {
	t.Helper()
	if err := guest.Build(t.Context(), &guest.Options{Program: "troy/qemu-tests/operate", Modules: os.Getenv("MODULES"),
		Drivers: []string{"virtio_pci", "virtio_blk"}, Out: out}); err != nil {
		t.Fatal(err)
	}
}
