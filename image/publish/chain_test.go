package publish_test

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"os/exec"
	"path/filepath"
	"testing"

	"troy/image"
	"troy/image/publish"
	"troy/internal/testing/imagetest"
	"troy/internal/testing/vhdxfile"
	"troy/vhdx"
)

func openChain(t *testing.T, path string) *vhdx.Chain {
	t.Helper()
	c, err := vhdx.OpenChain(path, &vhdx.ChainOptions{Parents: &vhdx.Parents{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestWindowsPair publishes a pair as Windows makes it: the differencing disk over version 1 is
// version 2.
func TestWindowsPair(t *testing.T) { vhdxfile.Both(t, publishPair) }

func publishPair(t *testing.T, src vhdxfile.Source) {
	const parent, child = "fat-parent.vhdx", "fat-differential.vhdx"
	dir := t.TempDir()
	parentPath, childPath := src.Put(t, dir, parent), src.Put(t, dir, child)
	s := imagetest.NewStore(t)
	if _, err := publish.Import(t.Context(), s, "pc", publish.ChainDisk(openChain(t, parentPath)), nil); err != nil {
		t.Fatal(err)
	}
	m, err := publish.Add(t.Context(), s, "pc", publish.ChainDisk(openChain(t, childPath)), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("figures %+v", m.Figures)
	disk := imagetest.NewSink(make([]byte, m.VirtualSize)).Data
	for i, sum := range []string{src.MD5(t, parent), src.MD5(t, child)} {
		disk = imagetest.Update(t, s, disk, i, i+1)
		if got := md5.Sum(disk); hex.EncodeToString(got[:]) != sum {
			t.Errorf("version %d has md5 %x, want %s", i+1, got, sum)
		}
	}
	if m.Figures.Changed > 18*image.PageSize || m.Figures.Shipped == 0 {
		t.Errorf("18 sectors differ, figures are %+v", m.Figures)
	}
}

// makeChild makes a differencing disk over path and writes pieces of random bytes into it.
func makeChild(t *testing.T, path, child string, write func(c *vhdx.Chain)) {
	t.Helper()
	p := openChain(t, path)
	f, err := vhdx.Create(child, &vhdx.CreateOptions{Kind: vhdx.Differencing, Parent: p.Files()[0], ParentPath: `.\` + filepath.Base(path), BlockSize: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := vhdx.OpenChain(child, &vhdx.ChainOptions{Writable: true, Parents: &vhdx.Parents{}})
	if err != nil {
		t.Fatal(err)
	}
	write(c)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestChains publishes chains of files and compares what a machine gets with what 7zz reads from
// the same files.
func TestChains(t *testing.T) {
	const size = 24 << 20
	for seed := range uint64(imagetest.Soak(3)) {
		r, dir := imagetest.Seeded(t, seed), t.TempDir()
		base := filepath.Join(dir, "v1.vhdx")
		f, err := vhdx.Create(base, &vhdx.CreateOptions{Size: size, BlockSize: 2 << 20})
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		scribble := func(c *vhdx.Chain) {
			for range 12 {
				b := make([]byte, 512*(1+r.IntN(900)))
				off := r.Int64N((size-int64(len(b)))/512) * 512
				if r.IntN(3) > 0 {
					imagetest.Fill(r, b)
				}
				if _, err := c.WriteAt(b, off); err != nil {
					t.Fatal(err)
				}
			}
		}
		w, err := vhdx.OpenChain(base, &vhdx.ChainOptions{Writable: true})
		if err != nil {
			t.Fatal(err)
		}
		scribble(w)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		s := imagetest.NewStore(t)
		if _, err := publish.Import(t.Context(), s, "pc", publish.ChainDisk(openChain(t, base)), nil); err != nil {
			t.Fatal(err)
		}
		below, disk := base, imagetest.Update(t, s, make([]byte, size), 0, 1)
		compare7zz(t, base, disk)
		for v := 2; v <= 3; v++ {
			// Two files lie between versions 2 and 3: the one in the middle was never published.
			leaf := filepath.Join(dir, imagetest.PairName(v, 0)+".vhdx")
			makeChild(t, below, leaf, scribble)
			if v == 3 {
				makeChild(t, leaf, filepath.Join(dir, "top.vhdx"), scribble)
				leaf = filepath.Join(dir, "top.vhdx")
			}
			if _, err := publish.Add(t.Context(), s, "pc", publish.ChainDisk(openChain(t, leaf)), nil); err != nil {
				t.Fatal(err)
			}
			disk = imagetest.Update(t, s, disk, v-1, v)
			compare7zz(t, leaf, disk)
			below = leaf
		}
		_, err = publish.Add(t.Context(), s, "pc", publish.ChainDisk(openChain(t, filepath.Join(dir, imagetest.PairName(2, 0)+".vhdx"))), nil)
		var pe *publish.ParentError
		if !errors.As(err, &pe) || pe.Version != 3 || len(pe.Have) != 1 {
			t.Fatalf("adding an old file = %v, want a publish.ParentError", err)
		}
	}
}

// TestExport puts a version together in a new VHDX file, by a plan from nothing: 7zz must read the
// version from it.
func TestExport(t *testing.T) {
	r := imagetest.Seeded(t, 1)
	s := imagetest.NewStore(t)
	states := imagetest.History(t, r, s, 3, 2560, false)
	path := filepath.Join(t.TempDir(), "export.vhdx")
	f, err := vhdx.Create(path, &vhdx.CreateOptions{Size: int64(len(states[3].Data)), BlockSize: 2 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := vhdx.OpenChain(path, &vhdx.ChainOptions{Writable: true})
	if err != nil {
		t.Fatal(err)
	}
	p, err := image.LoadPlan(t.Context(), s, "pc", 0, 3)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Fetch(t.Context(), s, c, &image.FetchOptions{SkipZeros: true}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Sync(), c.Close()); err != nil {
		t.Fatal(err)
	}
	compare7zz(t, path, states[3].Data)
}

func compare7zz(t *testing.T, path string, disk []byte) {
	t.Helper()
	cmd := exec.Command("7zz", "x", "-so", "-tvhdx", filepath.Base(path))
	cmd.Dir = filepath.Dir(path)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("7zz: %v", err)
	}
	if !bytes.Equal(out, disk) {
		t.Fatalf("7zz reads %s otherwise than the machine holds it", filepath.Base(path))
	}
}
