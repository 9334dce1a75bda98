package machine

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"troy/internal/guid"
	"troy/internal/testing/crashdisk"
	"troy/vhdx"
)

// adopt makes a machine of a parent that Troy did not make, which holds zeros.
func adopt(t *testing.T, o *vhdx.CreateOptions) *rig {
	t.Helper()
	r := newRig(t, 8*mib, 512, 8*mib)
	path := filepath.Join(t.TempDir(), BaseName)
	v, err := vhdx.Create(path, o)
	must(t, err)
	must(t, v.Close())
	content, err := os.ReadFile(path)
	must(t, err)
	write(t, r.disk.Create(BaseName, int64(len(content))+8*mib, nil), 0, content)
	base, err := ReadBase(filesOf(r.disk).Base)
	must(t, err)
	must(t, FormatChildren(filesOf(r.disk), base, image, 1))
	r.now = make([]byte, r.virtual)
	return r
}

// A parent that Troy did not make: fixed with other blocks is merged into, healed and reinstalled
// like its own. Into a dynamic one no byte is written, but a reinstall makes it a fixed one.
func TestAdoptedParents(t *testing.T) {
	for _, o := range []vhdx.CreateOptions{
		{Size: 8 * mib, Kind: vhdx.Fixed, BlockSize: mib},
		{Size: 8 * mib, Kind: vhdx.Fixed, BlockSize: 32 * mib},
		{Size: 8 * mib, Kind: vhdx.Dynamic, BlockSize: 2 * mib},
	} {
		r := adopt(t, &o)
		changed := r.disk.Fork()
		m := open(t, r.disk)
		u := r.randomUpdate(2, 79, 6)
		must(t, u.stage(m))
		must(t, m.Commit(ctx))
		r.disk.Start()
		merged := mergeAll(m)
		h, slot, err := vhdx.ReadHeaders(changed.File(BaseName)) // as after a write by another program
		must(t, err)
		h.SequenceNumber, h.DataWriteGUID = h.SequenceNumber+1, guid.New()
		write(t, changed.File(BaseName), headerOffset(1-slot), h.Marshal())
		changed.Start()
		healed := healTo(noise(8*mib, 5))(filesOf(changed))
		if o.Kind == vhdx.Dynamic {
			for what, err := range map[string]error{"merge": merged, "heal": healed} {
				if !errors.Is(err, ErrChain) || r.disk.Written()+changed.Written() != 0 {
					t.Errorf("dynamic: %s: %v, %d bytes written", what, err, r.disk.Written()+changed.Written())
				}
			}
		} else {
			must(t, merged)
			must(t, m.Relink(ctx))
			shows(t, r.disk, u.data, "merged")
			must(t, healed)
			shows(t, changed, noise(8*mib, 5), "healed")
		}
		must(t, reinstallTo(9, noise(8*mib, 6))(filesOf(changed)))
		shows(t, changed, noise(8*mib, 6), "reinstalled")
	}
}

// An adoption that is cut off leaves no machine, or one that knows its version.
func TestCrashAdopt(t *testing.T) {
	const seed = 80
	t.Logf("seed %d", seed)
	r := adopt(t, &vhdx.CreateOptions{Size: 8 * mib, Kind: vhdx.Fixed, BlockSize: mib})
	for _, name := range names[1:] {
		r.disk.Create(name, r.disk.File(name).Size(), nil)
	}
	base, err := ReadBase(filesOf(r.disk).Base)
	must(t, err)
	r.disk.Start()
	must(t, FormatChildren(filesOf(r.disk), base, image, 1))
	opened := 0
	for s := range r.disk.States(crashdisk.Options{Seed: seed, Tears: 4, Subsets: 8 * soak(), Lone: true}) {
		if m, err := Open(filesOf(s.Disk)); err == nil {
			opened++
			wantState(t, m, State{Image: image, Version: 1, BaseVersion: 1, SlotFree: true})
		}
		must(t, FormatChildren(filesOf(s.Disk), base, image, 1))
	}
	if opened == 0 {
		t.Error("no state is a machine")
	}
}

// A parent that a merge or a reinstall left half written is no version, and one that the journal
// knows is no other.
func TestAdoptRefuses(t *testing.T) {
	merging, _ := twoSlots(t, 81, session{})
	_, err := open(t, merging.disk).Merge(ctx, &MergeOptions{Policy: Now, MaxBytes: mib, sliceBytes: mib})
	must(t, err)
	merged, _ := twoSlots(t, 81, session{})
	must(t, mergeAll(open(t, merged.disk)))
	half, _ := reinstallCase(t, 8*mib, 81)
	in, err := Reinstall(ctx, filesOf(half.disk), &ReinstallRequest{Image: image, Version: 9})
	must(t, err)
	must(t, writeHalves(in, noise(8*mib, 1), 4*mib))
	for name, c := range map[string]struct {
		r       *rig
		version int
		refused bool
	}{
		"half merged":             {merging, 1, true},
		"half merged, as the new": {merging, 3, true},
		"half reinstalled":        {half, 9, true},
		"merged, as the old":      {merged, 1, true},
		"merged":                  {merged, 3, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := c.r.disk.Fork()
			base, err := ReadBase(filesOf(d).Base)
			must(t, err)
			d.Start()
			err = FormatChildren(filesOf(d), base, image, c.version)
			if errors.Is(err, ErrChain) != c.refused || c.refused && d.Written() != 0 {
				t.Errorf("%v, refused %v wanted; %d bytes written", err, c.refused, d.Written())
			}
		})
	}
}
