package machine

import (
	"errors"
	"testing"

	"troy/internal/testing/crashdisk"
)

// loseJournal is what a damaged journal file looks like.
func loseJournal(t *testing.T, d *crashdisk.Disk) {
	t.Helper()
	write(t, d.File(JournalName), 0, noise(JournalSize, 9))
}

// Without the journal the versions have no names, but the disk shows what it showed, and can still
// be merged and reset.
func TestJournalLost(t *testing.T) {
	r, clean := twoSlots(t, 71, session{dirty: true})
	loseJournal(t, r.disk)
	m := open(t, r.disk)
	if s := m.State(); s.Version != 0 || s.Image != "" || s.Layers != 2 || s.Staged != 0 || s.SessionWritten {
		t.Errorf("%+v", s)
	}
	if err := m.Rollback(ctx); !errors.Is(err, ErrMergeStarted) {
		t.Errorf("rollback: %v", err)
	}
	if err := m.Commit(ctx); !errors.Is(err, ErrNothingStaged) {
		t.Errorf("commit: %v", err)
	}
	done, err := m.Merge(ctx, &MergeOptions{Policy: Now, sliceBytes: mib, MaxBytes: mib})
	if done || err != nil {
		t.Fatal(done, err)
	}
	loseJournal(t, r.disk) // once more, in the middle of the merge
	m = open(t, r.disk)
	if err := m.Rollback(ctx); !errors.Is(err, ErrMergeStarted) {
		t.Errorf("rollback: %v", err)
	}
	must(t, mergeAll(m))
	must(t, m.Relink(ctx))
	shows(t, r.disk, r.now, "merged without a journal")
	must(t, m.Reset(ctx))
	shows(t, r.disk, clean, "reset without a journal")
	r.now = clean
	u := r.randomUpdate(3, 71, 4)
	must(t, u.stage(m))
	must(t, m.Commit(ctx))
	shows(t, r.disk, u.data, "the next version")
	if s := open(t, r.disk).State(); s.Version != 3 || s.Image != image || s.BaseVersion != 0 {
		t.Errorf("%+v", s)
	}
}

// A staged slot whose content is unknown is not committed.
func TestJournalLostWithAStagedSlot(t *testing.T) {
	r, _ := prepared(t, 72, nil)
	loseJournal(t, r.disk)
	if err := open(t, r.disk).Commit(ctx); !errors.Is(err, ErrNothingStaged) {
		t.Errorf("%v", err)
	}
	shows(t, r.disk, r.now, "as before")
}
