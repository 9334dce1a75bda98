package machine

import (
	"context"
	"errors"
	"syscall"
	"testing"

	"troy/internal/testing/crashdisk"
)

// The newest copy of the record rots right after the merge has begun: the one before it must not
// allow a rollback.
func TestRecordRotsDuringMerge(t *testing.T) {
	r, _ := prepared(t, 82, nil)
	m := open(t, r.disk)
	must(t, m.Commit(ctx))
	full := r.disk.File(BaseName)
	r.disk.SetHook(func(c crashdisk.Call) (int, error) {
		if c.Kind == crashdisk.Write && c.File == full.Name() {
			return 0, syscall.EIO
		}
		return 0, nil
	})
	if err := mergeAll(m); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	r.disk.SetHook(nil)
	for slot := range 2 {
		d := r.disk.Fork()
		write(t, d.File(JournalName), slotOffset(RecordMachine, slot), noise(pageSize, 6))
		m := open(t, d)
		if err := m.Rollback(ctx); !errors.Is(err, ErrMergeStarted) {
			t.Errorf("slot %d: %v", slot, err)
		}
	}
}

// Base is half merged, and the slot that masks it is not in the chain: another program did this,
// and Troy does not boot it without a word.
func TestHalfMergedBaseWithoutItsSlot(t *testing.T) {
	r, u := prepared(t, 73, nil)
	_ = u
	m := open(t, r.disk)
	must(t, m.Commit(ctx))
	_, err := m.Merge(ctx, &MergeOptions{Policy: Now, sliceBytes: mib, MaxBytes: 1})
	must(t, err)
	makeBoot(t, r, m.base.guid())
	refused(t, r.disk, ErrChain, "half merged")
}

func TestMergePolicies(t *testing.T) {
	r, u := prepared(t, 76, nil)
	m := open(t, r.disk)
	if done, err := m.Merge(ctx, nil); !done || err != nil {
		t.Errorf("nothing to merge: %v %v", done, err)
	}
	must(t, m.Relink(ctx))
	must(t, m.Commit(ctx))
	r.disk.Start()
	if _, err := m.Merge(ctx, nil); !errors.Is(err, ErrNotHealthy) {
		t.Errorf("lazy: %v", err)
	}
	if err := m.Relink(ctx); !errors.Is(err, ErrNotMerged) {
		t.Errorf("relink: %v", err)
	}
	if r.disk.Written() != 0 {
		t.Error("something was written")
	}
	done, err := m.Merge(ctx, &MergeOptions{Healthy: true, sliceBytes: 64 << 10, MaxBytes: 64 << 10})
	if done || err != nil {
		t.Fatal(done, err)
	}
	if err := m.Rollback(ctx); !errors.Is(err, ErrMergeStarted) {
		t.Errorf("rollback: %v", err)
	}
	if s := m.State(); !s.Merging || s.Merged || s.MergeOffset == 0 || s.BaseVersion != 0 || s.Version != 2 {
		t.Errorf("%+v", s)
	}
	for n := 0; !done; n++ { // in bites, opened again each time; health is not asked again
		if n > 200 {
			t.Fatal("no end")
		}
		done, err = open(t, r.disk).Merge(ctx, &MergeOptions{sliceBytes: 64 << 10, MaxBytes: 64 << 10})
		must(t, err)
	}
	m = open(t, r.disk)
	must(t, m.Relink(ctx))
	shows(t, r.disk, u.data, "merged in bites")
	if err := m.Rollback(ctx); !errors.Is(err, ErrNoRollback) {
		t.Errorf("rollback: %v", err)
	}
}

// A version is half merged when the next one is committed on top of it; that one is rolled back,
// committed again, and both are merged.
func TestStageOnAHalfMergedVersion(t *testing.T) {
	r, u := prepared(t, 81, nil)
	m := open(t, r.disk)
	must(t, m.Commit(ctx))
	some := &MergeOptions{Policy: Now, sliceBytes: 256 << 10, MaxBytes: 256 << 10}
	_, err := m.Merge(ctx, some)
	must(t, err)
	r.now = u.data
	v3 := r.randomUpdate(3, 81, 10)
	must(t, v3.stage(m))
	must(t, m.Commit(ctx))
	shows(t, r.disk, v3.data, "on top of a half merged version")
	must(t, open(t, r.disk).Rollback(ctx))
	shows(t, r.disk, u.data, "rolled back to the half merged version")
	m = open(t, r.disk)
	if s := m.State(); !s.Merging || s.Version != 2 || s.BaseVersion != 0 {
		t.Errorf("%+v", s)
	}
	must(t, v3.stage(m))
	must(t, m.Commit(ctx))
	_, err = m.Merge(ctx, some)
	must(t, err)
	shows(t, r.disk, v3.data, "both half merged")
	m = open(t, r.disk)
	if err := m.Rollback(ctx); !errors.Is(err, ErrMergeStarted) {
		t.Errorf("rollback: %v", err)
	}
	must(t, mergeAll(m))
	must(t, m.Relink(ctx))
	shows(t, r.disk, v3.data, "both merged")
	if s := m.State(); s.Layers != 0 || s.BaseVersion != 3 {
		t.Errorf("%+v", s)
	}
}

// cancelling stops a merge after some bytes.
type cancelling struct {
	cancel context.CancelFunc
	left   int64
}

func (c *cancelling) Add(n int64) {
	if c.left -= n; c.left < 0 {
		c.cancel()
	}
}

func TestMergeCancelled(t *testing.T) {
	r, u := prepared(t, 77, nil)
	m := open(t, r.disk)
	must(t, m.Commit(ctx))
	stop, cancel := context.WithCancel(ctx)
	_, err := m.Merge(stop, &MergeOptions{Policy: Now, depth: 1, Progress: &cancelling{cancel, 200 << 10}})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	shows(t, r.disk, u.data, "cancelled")
	must(t, mergeAll(m))
	must(t, m.Relink(ctx))
	shows(t, r.disk, u.data, "gone on")
}
