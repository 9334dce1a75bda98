package machine

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"troy/internal/guid"
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
