package install

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"troy/diskwriter/machine"
	"troy/image"
	"troy/internal/progress"
)

// Difference is what Compare found: the regions of 1 MiB that are not as the version says.
type Difference struct {
	Regions []int64
	Bytes   int64
}

// Compare reads all that a machine boots, what Windows wrote since left out, and compares it with
// the version. Nothing is written. read is told the bytes compared. Errors: machine.ErrOtherSize,
// those of machine.Mender, LoadMap and of the disk.
func (v *Version) Compare(ctx context.Context, m *machine.Machine, read progress.Adder) (d Difference, err error) {
	disk, err := m.Mender()
	if err != nil {
		return d, err
	}
	if disk.Size() != v.Size() {
		return d, fmt.Errorf("%w: %s version %d has %d bytes, the disk %d", machine.ErrOtherSize, v.plan.Image, v.plan.Want, v.Size(), disk.Size())
	}
	want, err := image.LoadMap(ctx, v.docs, v.plan.Image, v.plan.Want)
	if err != nil {
		return d, err
	}
	if d.Regions, err = want.Verify(ctx, disk, read); err != nil {
		return d, cmp.Or(context.Cause(ctx), err)
	}
	for _, r := range d.Regions {
		d.Bytes += min(image.RegionSize, v.Size()-r*image.RegionSize)
	}
	return d, nil
}

// whereMost is how many stretches String names.
const whereMost = 6

// String names the first stretches of regions: "at 4 MiB (3 MiB), 9 MiB (1 MiB), …"; "" = none.
func (d *Difference) String() string {
	var parts []string
	for i := 0; i < len(d.Regions); {
		first, n := d.Regions[i], int64(0)
		for i < len(d.Regions) && d.Regions[i] == first+n {
			i, n = i+1, n+1
		}
		if len(parts) == whereMost {
			parts = append(parts, "…")
			break
		}
		parts = append(parts, fmt.Sprintf("%d MiB (%d MiB)", first, n))
	}
	if len(parts) == 0 {
		return ""
	}
	return "at " + strings.Join(parts, ", ")
}

// Bring plans to make what was compared equal, in the regions that differ.
func (v *Version) Bring(ctx context.Context, d *Difference) (*image.Plan, error) {
	return image.LoadHeal(ctx, v.docs, v.plan.Image, v.plan.Want, d.Regions)
}
