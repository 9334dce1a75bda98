package machine

import (
	"context"
	"testing"
)

var ctx = context.Background()

// The whole life of a machine, each state read by package vhdx and by 7zz.
func TestLife(t *testing.T) {
	for _, sector := range []uint32{512, 4096} {
		r := newRig(t, 8*mib, sector, 8*mib)
		shows(t, r.disk, r.now, "fresh")
		m := open(t, r.disk)
		v2 := r.randomUpdate(2, 20, 12)
		must(t, v2.stage(m))
		shows(t, r.disk, r.now, "staged")
		wantState(t, m, State{Image: image, Version: 1, BaseVersion: 1, Staged: 2, StagedImage: image, SlotFree: true})
		must(t, m.Commit(ctx))
		shows(t, r.disk, v2.data, "committed")
		wantState(t, m, State{Image: image, Version: 2, BaseVersion: 1, Previous: 1, Layers: 1, SlotFree: true})

		r.now = v2.data
		v3 := r.randomUpdate(3, 30, 12)
		must(t, v3.stage(m))
		must(t, m.Commit(ctx))
		shows(t, r.disk, v3.data, "second committed")
		wantState(t, m, State{Image: image, Version: 3, BaseVersion: 1, Previous: 2, Layers: 2})
		must(t, m.Rollback(ctx))
		shows(t, r.disk, v2.data, "rolled back")
		must(t, v3.stage(m))
		must(t, m.Commit(ctx))

		done, err := m.Merge(ctx, &MergeOptions{Policy: Now, MaxBytes: 1, sliceBytes: mib})
		if done || err != nil {
			t.Fatal("a slice:", done, err)
		}
		shows(t, r.disk, v3.data, "half merged")
		done, err = m.Merge(ctx, nil)
		if !done || err != nil {
			t.Fatal("merge:", done, err)
		}
		shows(t, r.disk, v3.data, "merged")
		wantState(t, m, State{Image: image, Version: 3, BaseVersion: 3, Layers: 2, Merging: true, Merged: true, MergeOffset: r.virtual})
		must(t, m.Relink(ctx))
		shows(t, r.disk, v3.data, "relinked")
		wantState(t, m, State{Image: image, Version: 3, BaseVersion: 3, SlotFree: true})
		must(t, m.Reset(ctx))
		shows(t, r.disk, v3.data, "reset")
	}
}

func wantState(t *testing.T, m *Machine, want State) {
	t.Helper()
	got := m.State()
	want.VirtualSize, want.LogicalSectorSize = got.VirtualSize, got.LogicalSectorSize
	if got != want {
		t.Fatalf("state\n%+v, want\n%+v", got, want)
	}
	again, err := Open(m.files)
	must(t, err)
	if s := again.State(); s != want {
		t.Fatalf("state after opening again\n%+v, want\n%+v", s, want)
	}
}
