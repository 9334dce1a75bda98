package publish_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"troy/image"
	"troy/image/publish"
	"troy/internal/testing/imagetest"
)

// TestWrongParent adds children that do not stand on the newest version, by GUID and by content.
func TestWrongParent(t *testing.T) {
	r := imagetest.Seeded(t, 5)
	s := imagetest.NewStore(t)
	states := imagetest.History(t, r, s, 2, 600, false)
	before := imagetest.Tree(t, s)
	check := func(err error, text string) {
		t.Helper()
		var pe *publish.ParentError
		if !errors.Is(err, publish.ErrWrongParent) || !errors.As(err, &pe) || pe.Image != "pc" || pe.Version != 2 || !strings.Contains(err.Error(), text) {
			t.Fatalf("Add = %v", err)
		}
		imagetest.SameTree(t, before, imagetest.Tree(t, s))
	}
	child := imagetest.Mutate(r, states[1], 3, false)
	_, err := publish.Add(t.Context(), s, "pc", child.Disk(states[1]), nil)
	check(err, imagetest.GUID(1))
	_, err = publish.Add(t.Context(), s, "pc", child.Disk(nil), nil)
	check(err, "no parent")

	forged := &imagetest.State{Data: slices.Clone(states[2].Data), ID: states[2].ID}
	forged.Data[300*image.PageSize+77] ^= 1
	child = &imagetest.State{Data: slices.Clone(forged.Data), ID: imagetest.GUID(3), Diff: []image.Range{{Offset: 290 * image.PageSize, Length: 512}}}
	_, err = publish.Add(t.Context(), s, "pc", child.Disk(forged), nil)
	check(err, "other content")
}

// TestRefused gives what can never be right; each gets its class of error and leaves the store as
// it was.
func TestRefused(t *testing.T) {
	r := imagetest.Seeded(t, 6)
	s := imagetest.NewStore(t)
	states := imagetest.History(t, r, s, 1, 300, false)
	before := imagetest.Tree(t, s)
	odd := states[1].Disk(nil)
	odd.Size -= 512
	small := states[1].Disk(states[1])
	small.Size -= image.PageSize
	sectors := states[1].Disk(nil)
	sectors.SectorSize = 520
	outside := imagetest.Mutate(r, states[1], 2, false)
	outside.Diff = []image.Range{{Offset: int64(len(outside.Data)), Length: 512}}
	for _, c := range []struct {
		name string
		do   func() (*image.Manifest, error)
		want error
	}{
		{"import of an image that is there", func() (*image.Manifest, error) { return publish.Import(t.Context(), s, "pc", states[1].Disk(nil), nil) }, image.ErrExists},
		{"add to no image", func() (*image.Manifest, error) {
			return publish.Add(t.Context(), s, "nobody", states[1].Disk(nil), nil)
		}, image.ErrNotFound},
		{"name with a slash", func() (*image.Manifest, error) {
			return publish.Import(t.Context(), s, "a/b", states[1].Disk(nil), nil)
		}, image.ErrInvalid},
		{"name of dots", func() (*image.Manifest, error) { return publish.Import(t.Context(), s, "..", states[1].Disk(nil), nil) }, image.ErrInvalid},
		{"empty name", func() (*image.Manifest, error) { return publish.Import(t.Context(), s, "", states[1].Disk(nil), nil) }, image.ErrInvalid},
		{"odd size", func() (*image.Manifest, error) { return publish.Import(t.Context(), s, "new", odd, nil) }, image.ErrInvalid},
		{"sectors of 520", func() (*image.Manifest, error) { return publish.Import(t.Context(), s, "new", sectors, nil) }, image.ErrInvalid},
		{"another size", func() (*image.Manifest, error) { return publish.Add(t.Context(), s, "pc", small, nil) }, image.ErrInvalid},
		{"level 23", func() (*image.Manifest, error) {
			return publish.Import(t.Context(), s, "new", states[1].Disk(nil), &publish.Options{Level: 23})
		}, image.ErrInvalid},
		{"range past the end", func() (*image.Manifest, error) {
			return publish.Add(t.Context(), s, "pc", outside.Disk(states[1]), nil)
		}, image.ErrCorrupt},
	} {
		if _, err := c.do(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		imagetest.SameTree(t, before, imagetest.Tree(t, s))
	}
	if _, err := image.LoadPlan(t.Context(), s, "pc", 0, 2); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("plan to a version that is not there: %v", err)
	}
	if _, err := image.LoadPlan(t.Context(), s, "pc", 7, 1); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("plan from a version that is not there: %v", err)
	}
	if _, err := image.LoadPlan(t.Context(), struct{ image.Source }{s}, "pc", 0, 1); !errors.Is(err, image.ErrUnsupported) {
		t.Errorf("plan from a source without documents: %v", err)
	}
	if _, err := publish.Init(s.String()); !errors.Is(err, image.ErrExists) {
		t.Errorf("Init over a store: %v", err)
	}
	if _, err := image.OpenStore(t.TempDir()); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("OpenStore of an empty folder: %v", err)
	}
}

// TestPlantedParent: a version that somebody put into the store is no parent where the versions
// before are read from a source that does not show it; and what is not approved does not exist.
func TestPlantedParent(t *testing.T) {
	r := imagetest.Seeded(t, 7)
	s := imagetest.NewStore(t)
	states := imagetest.History(t, r, s, 2, 600, false)
	dir := filepath.Join(t.TempDir(), "signed")
	if err := os.CopyFS(dir, os.DirFS(s.String())); err != nil {
		t.Fatal(err)
	}
	signed, err := image.OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	planted := imagetest.Mutate(r, states[2], 3, false)
	if _, err := publish.Add(t.Context(), s, "pc", planted.Disk(states[2]), nil); err != nil {
		t.Fatal(err)
	}
	mine := imagetest.Mutate(r, states[2], 4, false)
	no := errors.New("no")
	asked := 0
	o := &publish.Options{Before: signed, Approve: func(m *image.Manifest) error {
		if asked++; m.Version != 3 || m.Parent != 2 || m.DataWriteGUID != mine.ID {
			t.Errorf("asked about %+v", m)
		}
		return no
	}}
	index := func() *image.Index {
		x, err := image.LoadIndex(t.Context(), s, "pc")
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	before := index().Versions[2]
	if _, err := publish.Add(t.Context(), s, "pc", mine.Disk(states[2]), o); !errors.Is(err, no) || !reflect.DeepEqual(index().Versions[2], before) {
		t.Errorf("not approved: %v", err)
	}
	o.Approve = nil
	m, err := publish.Add(t.Context(), s, "pc", mine.Disk(states[2]), o)
	if err != nil {
		t.Fatal(err)
	}
	if _, e, err := m.Encode(); err != nil || !reflect.DeepEqual(index().Versions[2], e) || asked != 1 {
		t.Errorf("the store has %+v, %v", index().Versions[2], err)
	}
	if _, err := publish.Add(t.Context(), s, "pc", planted.Disk(states[2]), &publish.Options{Before: signed}); err != nil {
		t.Errorf("the signed source was written to: %v", err)
	}
}
