package machine

import (
	"bytes"
	"errors"
	"testing"

	"troy/internal/testing/crashdisk"
	"troy/vhdx"
)

// mendTo compares by regions, as the caller does with the map of a version.
func mendTo(want []byte) func(m *Machine) error {
	return func(m *Machine) error {
		d, err := m.Mender()
		if err != nil {
			return err
		}
		have := make([]byte, len(want))
		if n, err := d.ReadAt(have, 0); n < len(have) {
			return err
		}
		const region = 64 << 10
		for at := 0; at < len(want); at += region {
			if !bytes.Equal(have[at:at+region], want[at:at+region]) {
				if _, err := d.WriteAt(want[at:at+region], int64(at)); err != nil {
					return err
				}
			}
		}
		return d.Finish(ctx)
	}
}

// damage changes a page of each file of the chain that holds data of the version, and names one.
func damage(t *testing.T, r *rig) (name string, off int64) {
	t.Helper()
	m := open(t, r.disk)
	c, err := m.Content()
	must(t, err)
	done := map[int]bool{}
	for e, err := range c.Extents(0, c.Size()) {
		must(t, err)
		if e.Kind == vhdx.Data && !done[e.Layer] {
			done[e.Layer], name, off = true, m.chain[e.Layer].name, e.FileOffset
			write(t, r.disk.File(name), off, noise(pageSize, uint64(e.Layer)))
		}
	}
	if len(done) != len(m.chain) {
		t.Fatalf("%d of %d files were damaged", len(done), len(m.chain))
	}
	return name, off
}

// Pages that are wrong, or cannot be read, are brought back wherever they lie, and nothing else is
// written.
func TestMend(t *testing.T) {
	for name, merging := range map[string]bool{"two slots": false, "half merged": true} {
		t.Run(name, func(t *testing.T) {
			r, want := twoSlots(t, 500, session{})
			must(t, open(t, r.disk).Reset(ctx))
			if merging {
				_, err := open(t, r.disk).Merge(ctx, &MergeOptions{Policy: Now, MaxBytes: mib, sliceBytes: mib})
				must(t, err)
			}
			file, off := damage(t, r)
			r.disk.Spoil(file, off)
			m := open(t, r.disk)
			r.disk.Start()
			must(t, mendTo(want)(m))
			if n := r.disk.Written(); r.disk.Spoiled() != 0 || n != 3*pageSize {
				t.Errorf("%d bytes written, %d unreadable pages are left", n, r.disk.Spoiled())
			}
			shows(t, r.disk, want, "mended")
			must(t, mergeAll(m))
			must(t, m.Relink(ctx))
			shows(t, r.disk, want, "merged")
		})
	}
}

func TestMendRefuses(t *testing.T) {
	r, u := prepared(t, 501, nil)
	m := open(t, r.disk)
	must(t, m.Commit(ctx))
	d, err := m.Mender()
	must(t, err)
	zero := int64(-1)
	for _, run := range u.runs {
		if run.Zero && run.Length == SlotBlockSize {
			zero = run.Offset
		}
	}
	for name, c := range map[string]struct {
		n, off int64
		want   error
	}{
		"part of a page": {100, 0, ErrRuns},
		"inside a page":  {pageSize, 512, ErrRuns},
		"past the end":   {2 * pageSize, r.virtual - pageSize, ErrRuns},
		"negative":       {pageSize, -pageSize, ErrRuns},
	} {
		if _, err := d.WriteAt(noise(int(c.n), 1), c.off); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := d.WriteAt(noise(pageSize, 1), zero); !errors.Is(err, ErrChain) {
		t.Errorf("data for zeros: %v", err)
	}
	if err := d.Finish(ctx); !errors.Is(err, ErrReopen) {
		t.Errorf("Finish after an error: %v", err)
	}
}

// Every state on the way shows the damage or the version, page by page; the next run completes.
func TestCrashMend(t *testing.T) {
	const seed = 502
	r, want := twoSlots(t, seed, session{})
	must(t, open(t, r.disk).Reset(ctx))
	damage(t, r)
	r.now = want
	r.disk.Start()
	must(t, mendTo(want)(open(t, r.disk)))
	n := 0
	for s := range r.disk.States(crashdisk.Options{Seed: seed, Tears: 4, Subsets: 16 * soak(), Lone: true}) {
		n++
		must(t, mendTo(want)(open(t, s.Disk)))
		if seen, err := newChecker(s.Disk, want).match(s.Disk); err != nil || seen == 0 {
			t.Fatalf("%v: versions %b, %v", s, seen, err)
		}
	}
	t.Logf("seed %d: %d states", seed, n)
}
