package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"troy/image"
	"troy/image/publish"
	"troy/image/trust/sign"
	"troy/internal/testing/smallstore"
	"troy/server/rooms"
)

func open(t *testing.T) (*Catalog, *image.Store) {
	t.Helper()
	dir := smallstore.Make(t, t.TempDir())
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	store, err := image.OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c, store
}

// TestSize: the sizes are those of the plan that the agent makes, with copies where it knows its
// disk.
func TestSize(t *testing.T) {
	c, store := open(t)
	for name, x := range map[string]struct {
		have, want int
		plan       func(context.Context, *image.Store) (*image.Plan, error)
	}{
		"from nothing": {0, 2, func(ctx context.Context, s *image.Store) (*image.Plan, error) {
			return image.LoadPlan(ctx, s, smallstore.Image, 0, 2)
		}},
		"from version 1": {1, 2, func(ctx context.Context, s *image.Store) (*image.Plan, error) {
			return image.LoadLocalPlan(ctx, s, smallstore.Image, 1, 2)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			plan, err := x.plan(t.Context(), store)
			if err != nil {
				t.Fatal(err)
			}
			if (plan.CopyBytes > 0) != (x.have > 0) {
				t.Errorf("%d bytes are copied", plan.CopyBytes)
			}
			index, err := image.LoadIndex(t.Context(), store, smallstore.Image)
			if err != nil {
				t.Fatal(err)
			}
			manifest := index.Versions[len(index.Versions)-1].Manifest.SHA256.String()
			for range 2 { // the second time it is remembered
				got, err := c.Size(t.Context(), smallstore.Image, x.have, x.want)
				want := rooms.Size{Fetch: plan.FetchBytes, Write: plan.WriteBytes, Manifest: manifest, Virtual: plan.VirtualSize}
				if x.have == 0 {
					want.Taken = 1 << 20 // version 2 changes a disk of one block
				}
				if !reflect.DeepEqual(got, want) || err != nil {
					t.Errorf("got %+v, %v, want %+v", got, err, want)
				}
			}
		})
	}
	for _, x := range [][2]int{{1, 3}, {3, 2}, {0, 3}} {
		if _, err := c.Size(t.Context(), smallstore.Image, x[0], x[1]); !errors.Is(err, rooms.ErrNotFound) || !errors.Is(err, image.ErrNotFound) {
			t.Errorf("a version that is not there: %v", err)
		}
	}
}

// TestSizeGrown: a machine that was made for a smaller disk fetches all of the version.
func TestSizeGrown(t *testing.T) {
	dir := smallstore.Make(t, t.TempDir())
	c, err := Open(dir)
	must(t, err)
	store, err := image.OpenStore(dir)
	must(t, err)
	below, err := image.OpenVersion(t.Context(), store, smallstore.Image, 0)
	must(t, err)
	disk := make([]byte, below.Size()+1<<20)
	_, err = below.ReadAt(disk[:below.Size()], 0)
	must(t, err)
	d := &publish.Disk{Reader: bytes.NewReader(disk), Size: int64(len(disk)), SectorSize: 512, DataWriteGUID: "33333333-0000-4000-8000-000000000000"}
	_, err = publish.Add(t.Context(), store, smallstore.Image, publish.CompareDisk(d, publish.VersionDisk(below)), nil)
	must(t, err)
	repo, err := sign.Open(dir, nil)
	must(t, err)
	_, err = repo.SignAll(t.Context(), store, time.Now())
	must(t, err)
	whole, err := c.Size(t.Context(), smallstore.Image, 0, 3)
	must(t, err)
	if got, err := c.Size(t.Context(), smallstore.Image, 2, 3); err != nil || !reflect.DeepEqual(got, whole) || got.Virtual != int64(len(disk)) {
		t.Errorf("got %+v, %v, want %+v", got, err, whole)
	}
}

// TestSizeRemembered: what was planned once is not planned again while the store has the versions,
// and memory stays bounded. An image whose folder is not mounted was not removed.
func TestSizeRemembered(t *testing.T) {
	c, store := open(t)
	want, err := c.Size(t.Context(), smallstore.Image, 1, 2)
	must(t, err)
	for key := range c.sizes {
		want.Fetch = 7
		c.sizes[key] = want
	}
	if got, err := c.Size(t.Context(), smallstore.Image, 1, 2); !reflect.DeepEqual(got, want) || err != nil {
		t.Errorf("planned again: %+v, %v", got, err)
	}
	for i := range sizesMost {
		c.sizes[step{image: fmt.Sprint(i)}] = rooms.Size{}
	}
	if _, err := c.Size(t.Context(), smallstore.Image, 0, 2); err != nil || len(c.sizes) != 1 {
		t.Errorf("%d steps are left, %v", len(c.sizes), err)
	}
	must(t, os.Rename(filepath.Join(store.String(), "images"), filepath.Join(t.TempDir(), "elsewhere")))
	if _, err := c.Size(t.Context(), smallstore.Image, 0, 2); err == nil || errors.Is(err, rooms.ErrNotFound) {
		t.Errorf("without the folder: %v", err)
	}
}

// TestSigned: what is offered is what is signed. A version is there from its signature on, whatever
// was published since; one that was removed is gone, though its size was known.
func TestSigned(t *testing.T) {
	c, store := open(t)
	repo, err := sign.Open(store.String(), nil)
	must(t, err)
	below, err := image.OpenVersion(t.Context(), store, smallstore.Image, 2)
	must(t, err)
	disk := *publish.VersionDisk(below)
	disk.DataWriteGUID = "33333333-3333-4333-8333-333333333333"
	_, err = publish.Add(t.Context(), store, smallstore.Image, publish.CompareDisk(&disk, publish.VersionDisk(below)), nil)
	must(t, err)
	if n, err := c.Newest(t.Context(), smallstore.Image); n != 2 || err != nil {
		t.Errorf("the newest is %d, %v", n, err)
	}
	if _, err := c.Size(t.Context(), smallstore.Image, 1, 3); !errors.Is(err, image.ErrNotFound) || !strings.Contains(err.Error(), "run 'troy key sign'") {
		t.Errorf("a version that is not signed: %v", err)
	}
	sign := func() {
		t.Helper()
		_, err := repo.SignAll(t.Context(), store, time.Now())
		must(t, err)
	}
	sign()
	if n, err := c.Newest(t.Context(), smallstore.Image); n != 3 || err != nil {
		t.Errorf("the newest is %d, %v", n, err)
	}
	_, err = c.Size(t.Context(), smallstore.Image, 1, 3)
	must(t, err)
	must(t, publish.Remove(t.Context(), store, smallstore.Image, 3))
	for range 2 { // before and after that is signed
		for _, have := range []int{0, 1} {
			if _, err := c.Size(t.Context(), smallstore.Image, have, 3); !errors.Is(err, rooms.ErrNotFound) || !strings.Contains(err.Error(), "has no version 3") {
				t.Errorf("a version that was removed: %v", err)
			}
		}
		sign()
	}
	if _, err := c.Size(t.Context(), smallstore.Image, 3, 2); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("from a version that was removed: %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestImages(t *testing.T) {
	c, store := open(t)
	if names := c.Images(); !slices.Equal(names, []string{smallstore.Image}) {
		t.Errorf("images: %q", names)
	}
	if n, err := c.Newest(t.Context(), smallstore.Image); n != 2 || err != nil {
		t.Errorf("newest: %d, %v", n, err)
	}
	if _, err := c.Newest(t.Context(), "nothing"); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("an image that is not there: %v", err)
	}
	if missing, err := c.Missing([]string{"other", smallstore.Image, "third"}); err != nil || !slices.Equal(missing, []string{"other", "third"}) {
		t.Errorf("missing: %q, %v", missing, err)
	}
	must(t, os.Rename(store.String(), store.String()+".not-mounted"))
	if names := c.Images(); !slices.Equal(names, []string{smallstore.Image}) {
		t.Errorf("images of a store that cannot be read for a moment: %q", names)
	}
}

func TestAgent(t *testing.T) {
	c, store := open(t)
	if got, err := c.Agent(); got != "" || err != nil {
		t.Errorf("before there is one: %q, %v", got, err)
	}
	dir := t.TempDir()
	for _, name := range []string{"vmlinuz", "initramfs.cpio.zst", "shimx64.efi", "grubx64.efi"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, err := sign.PublishAgent(t.Context(), store, "1.2", dir)
	must(t, err)
	if got, err := c.Agent(); got != "" || err != nil {
		t.Errorf("before it is signed: %q, %v", got, err)
	}
	repo, err := sign.Open(store.String(), nil)
	must(t, err)
	_, err = repo.SignAll(t.Context(), store, time.Now())
	must(t, err)
	if got, err := c.Agent(); got != "1.2" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}
