package publish_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"troy/image"
	"troy/image/publish"
	"troy/internal/testing/imagetest"
)

// TestStages: each stage knows its bytes before it begins, and ends there.
func TestStages(t *testing.T) {
	r := imagetest.Seeded(t, 8)
	s := imagetest.NewStore(t)
	states := []*imagetest.State{nil, imagetest.First(r, 3000)}
	for v := 1; v <= 6; v++ {
		if v > 1 {
			states = append(states, imagetest.Mutate(r, states[v-1], v, true))
		}
		w := &imagetest.Stages{}
		m := imagetest.Publish(t, s, states[v], states[v-1], &publish.Options{Progress: w.Begin}, true)
		want := []string{"reading"}
		if v > 1 && m.Figures.Shipped+m.Figures.Copied > 0 {
			want = []string{"comparing", "looking for what has moved", "reading"}
		}
		if m.Figures.Copied > 0 {
			want = slices.Insert(want, 2, "checking what has moved")
		}
		w.Check(t, want...)
		if w.Last() != m.Figures.Scanned {
			t.Errorf("version %d: %d bytes were read, told were %d", v, m.Figures.Scanned, w.Last())
		}
	}
}

// unread fails where nothing is to be read.
type unread struct {
	*strings.Reader
	from, to int64
}

func (u unread) ReadAt(p []byte, off int64) (int, error) {
	if off < u.to && off+int64(len(p)) > u.from {
		return 0, fmt.Errorf("bytes %d+%d are read", off, len(p))
	}
	return u.Reader.ReadAt(p, off)
}

// TestUnusedIsNotRead: neither holes nor regions of which nothing is in use are read or counted.
func TestUnusedIsNotRead(t *testing.T) {
	const mib = 1 << 20
	s := imagetest.NewStore(t)
	content := strings.Repeat("in use. ", 8*mib/8)
	disk := &publish.Disk{
		Reader: unread{strings.NewReader(content), 2 * mib, 6 * mib}, Size: 8 * mib, SectorSize: 512, DataWriteGUID: imagetest.GUID(1),
		Data: imagetest.RangeSeq([]image.Range{{Offset: 0, Length: 4 * mib}, {Offset: 6 * mib, Length: 2 * mib}}),
	}
	w := &imagetest.Stages{}
	free := imagetest.Filter{Free: []image.Range{{Offset: 2 * mib, Length: 3 * mib}, {Offset: 7*mib + 4096, Length: 4096}}}
	m, err := publish.Import(t.Context(), s, "pc", disk, &publish.Options{Filter: free, Progress: w.Begin})
	if err != nil {
		t.Fatal(err)
	}
	w.Check(t, "reading")
	f := m.Figures
	if f.Scanned != 4*mib || f.Shipped != 4*mib-4096 || f.Undefined != 3*mib+4096 || f.Zero != mib {
		t.Errorf("figures: %+v", f)
	}
}
