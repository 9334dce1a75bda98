package publish_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"troy/image"
	"troy/image/publish"
	"troy/internal/testing/imagetest"
)

func versions(t *testing.T, s *image.Store) int {
	t.Helper()
	l, err := s.List(t.Context(), "pc")
	if err != nil {
		t.Fatal(err)
	}
	return len(l)
}

// TestInterruptedAdd cancels an Add at every read: the store lists the old state, holds nothing new
// but what the next Add goes on with, and the last one works.
func TestInterruptedAdd(t *testing.T) {
	r := imagetest.Seeded(t, 1)
	s := imagetest.NewStore(t)
	states := imagetest.History(t, r, s, 2, 2000, false)
	child := imagetest.Mutate(r, states[2], 3, false)
	before := imagetest.Tree(t, s)
	for n := int64(1); ; n++ {
		d := child.Disk(states[2])
		tr := &dying{ReaderAt: d.Reader}
		tr.left.Store(n)
		d.Reader = tr
		var err error
		synctest.Test(t, func(t *testing.T) { // it waits for all goroutines to end
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			tr.do = cancel
			_, err = publish.Add(ctx, s, "pc", d, nil)
		})
		if tr.left.Load() > 0 { // the last read was before
			if err != nil || n < 5 || versions(t, s) != 3 {
				t.Fatalf("Add after %d cancelled ones = %v", n-1, err)
			}
			break
		}
		if err == nil {
			t.Fatalf("Add cancelled at read %d went through", n)
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("Add cancelled at read %d: %v", n, err)
		}
		if versions(t, s) != 2 {
			t.Fatalf("Add cancelled at read %d left %d versions", n, versions(t, s))
		}
		after := imagetest.Tree(t, s)
		for _, name := range []string{"tmp/pack", "tmp/chunks"} { // with which the next one goes on
			delete(after, name)
		}
		imagetest.SameTree(t, before, after)
	}
	nothingLeft(t, s)
	disk := imagetest.Update(t, s, states[1].Data, 1, 3)
	imagetest.CheckDefined(t, disk, child, nil)
}

// TestEveryWriteFails lets each single operation on the store fail once, half-written writes
// included: the store shows the old state or, if only the last sync failed, the new one, always
// whole, and takes the next version.
func TestEveryWriteFails(t *testing.T) {
	r := imagetest.Seeded(t, 2)
	v1 := imagetest.First(r, 400)
	v2 := imagetest.Mutate(r, v1, 2, false)
	ended := false
	for n := 1; !ended; n++ {
		s := imagetest.NewStore(t)
		imagetest.Publish(t, s, v1, nil, &publish.Options{}, false)
		f := &publish.Failing{Left: n}
		err := f.Add(t.Context(), s, "pc", v2.Disk(v1))
		if ended = f.Left > 0; ended {
			if err != nil || n < 20 {
				t.Fatalf("%d operations, Add = %v", n-1, err)
			}
			continue
		}
		if !errors.Is(err, publish.ErrFull) {
			t.Fatalf("operation %d failed, Add = %v", n, err)
		}
		left, err := os.ReadDir(filepath.Join(s.String(), publish.TmpName))
		if err != nil || len(left) > 0 {
			t.Fatalf("operation %d failed, %d files are left in %s, %v", n, len(left), publish.TmpName, err)
		}
		if versions(t, s) == 1 {
			imagetest.Publish(t, s, v2, v1, &publish.Options{}, false)
		}
		imagetest.CheckDefined(t, imagetest.Update(t, s, v1.Data, 1, 2), v2, nil)
	}
}

// TestFullDevice publishes onto a device without space: the error is the system's own.
func TestFullDevice(t *testing.T) {
	r := imagetest.Seeded(t, 3)
	s := imagetest.NewStore(t)
	v1 := imagetest.First(r, 3000)
	if err := publish.ImportFull(t.Context(), s, "pc", v1.Disk(nil)); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("Import = %v, want ENOSPC", err)
	}
	if names, err := s.Images(); err != nil || len(names) != 0 {
		t.Fatalf("Images = %v, %v", names, err)
	}
	imagetest.Publish(t, s, v1, nil, &publish.Options{}, false)
}

// TestKilledPublisher leaves what a killed process leaves: files in tmp and objects that no version
// names.
func TestKilledPublisher(t *testing.T) {
	r := imagetest.Seeded(t, 4)
	s := imagetest.NewStore(t)
	v1 := imagetest.First(r, 300)
	for _, name := range []string{"tmp/pack", "tmp/document", "images/pc/1.json"} {
		p := filepath.Join(s.String(), name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Show(t.Context(), "pc", 0); !errors.Is(err, image.ErrNotFound) {
		t.Fatalf("Show = %v", err)
	}
	imagetest.Publish(t, s, v1, nil, &publish.Options{}, false)
	imagetest.CheckDefined(t, imagetest.Update(t, s, make([]byte, len(v1.Data)), 0, 1), v1, nil)
	for name := range imagetest.Tree(t, s) {
		if strings.HasPrefix(name, "tmp/") {
			t.Errorf("%s is left", name)
		}
	}
}

// TestBusy publishes while another publisher holds the store.
func TestBusy(t *testing.T) {
	r := imagetest.Seeded(t, 5)
	s := imagetest.NewStore(t)
	other, err := image.OpenStore(s.String())
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := publish.Lock(other)
	if err != nil {
		t.Fatal(err)
	}
	v1 := imagetest.First(r, 300)
	if _, err := publish.Import(t.Context(), s, "pc", v1.Disk(nil), nil); !errors.Is(err, publish.ErrBusy) {
		t.Fatalf("Import = %v, want ErrBusy", err)
	}
	unlock()
	imagetest.Publish(t, s, v1, nil, &publish.Options{}, false)
}
