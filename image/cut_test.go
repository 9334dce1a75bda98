package image_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"troy/image"
	"troy/internal/testing/imagetest"
)

// cutting gives the first half of each range of a pack and then fails, as often as it may.
type cutting struct {
	*image.Store
	left int
}

func (c *cutting) ReadRange(ctx context.Context, name string, off, n int64) ([]byte, error) {
	b, err := c.Store.ReadRange(ctx, name, off, n)
	if err == nil && strings.HasSuffix(name, ".pack") && c.left > 0 {
		c.left--
		return b[:n/2], io.ErrUnexpectedEOF
	}
	return b, err
}

// TestCutKeepsWhatCame: what came of a request before it was cut is not asked for again, be it whole
// chunks or a part of one.
func TestCutKeepsWhatCame(t *testing.T) {
	r := imagetest.Seeded(t, 5)
	s := imagetest.NewStore(t)
	states := imagetest.History(t, r, s, 1, 3000, false)
	for name, requestBytes := range map[string]int64{"many chunks a request": 8 << 20, "a chunk a request": 1} {
		src := &cutting{s, 10}
		p, err := image.LoadPlan(t.Context(), s, "pc", 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		k := imagetest.NewSink(make([]byte, len(states[1].Data)))
		st, err := p.Fetch(t.Context(), src, k, image.FetchOptions{Workers: 1, RequestBytes: requestBytes}.WithAttempts(20))
		if err != nil || src.left == 10 {
			t.Fatalf("%s: %+v, %v after %d cuts", name, st, err, 10-src.left)
		}
		if st.FetchedBytes != p.FetchBytes {
			t.Errorf("%s: %d bytes came for %d, after %d cuts", name, st.FetchedBytes, p.FetchBytes, 10-src.left)
		}
		imagetest.CheckDefined(t, k.Data, states[1], nil)
	}
}
