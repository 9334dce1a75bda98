package publish_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"

	"troy/image"
	"troy/image/publish"
	"troy/internal/testing/imagetest"
)

// cutState is a disk of 14 MiB for imports that are cut.
func cutState() *imagetest.State {
	r := rand.New(rand.NewPCG(9, 9))
	s := &imagetest.State{Data: make([]byte, 14<<20), ID: imagetest.GUID(1)}
	imagetest.Fill(r, s.Data[:8<<20])
	imagetest.Text(r, s.Data[9<<20:13<<20])
	return s
}

// cutOptions keep few chunks under way, so that most of a cut import is in the pack.
func cutOptions() *publish.Options { return &publish.Options{Level: 1, Workers: 1} }

// dying calls do at the n-th read of a disk.
type dying struct {
	io.ReaderAt
	left atomic.Int64
	do   func()
}

func (d *dying) ReadAt(p []byte, off int64) (int, error) {
	if d.left.Add(-1) == 0 {
		d.do()
	}
	return d.ReaderAt.ReadAt(p, off)
}

func dyingDisk(s *imagetest.State, at int64, do func()) *publish.Disk {
	disk := s.Disk(nil)
	d := &dying{ReaderAt: disk.Reader, do: do}
	d.left.Store(at)
	disk.Reader = d
	return disk
}

// whole is what an import gives that nothing cuts.
func whole(t *testing.T) *image.Manifest {
	t.Helper()
	m, err := publish.Import(t.Context(), imagetest.NewStore(t), "pc", cutState().Disk(nil), cutOptions())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// goesOn imports into a store in which an import was cut, and returns how many bytes of the pack
// were written. The version is that of an import that was not cut, and nothing is left.
func goesOn(t *testing.T, s *image.Store, want *image.Manifest) int64 {
	t.Helper()
	c := &publish.Counting{}
	m, err := c.Import(t.Context(), s, "pc", cutState().Disk(nil), cutOptions())
	if err != nil {
		t.Fatal(err)
	}
	if m.Pack != want.Pack || m.Table != want.Table || m.Map != want.Map {
		t.Errorf("the version is %+v, want %+v", m, want)
	}
	if err := s.Verify(t.Context(), "pc", 1, nil); err != nil {
		t.Error(err)
	}
	nothingLeft(t, s)
	return c.Packed
}

func nothingLeft(t *testing.T, s *image.Store) {
	t.Helper()
	left, err := os.ReadDir(filepath.Join(s.String(), publish.TmpName))
	if err != nil || len(left) > 0 {
		t.Errorf("%d files are left, %v", len(left), err)
	}
}

// cutImport imports until the n-th read is cancelled.
func cutImport(t *testing.T, s *image.Store, at int64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := publish.Import(ctx, s, "pc", dyingDisk(cutState(), at, cancel), cutOptions()); !errors.Is(err, context.Canceled) {
		t.Fatalf("Import = %v, want it cancelled", err)
	}
}

// TestCutImportGoesOn: what an import had packed when it was cut is not packed or written again,
// unless something is wrong with it; the version is the same in any case.
func TestCutImportGoesOn(t *testing.T) {
	want := whole(t)
	file := func(s *image.Store, name string) string { return filepath.Join(s.String(), publish.TmpName, name) }
	bend := func(t *testing.T, path string, at int64) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 1
		if _, err := f.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
	cut := func(t *testing.T, path string, n int64) {
		t.Helper()
		if err := os.Truncate(path, n); err != nil {
			t.Fatal(err)
		}
	}
	const chunk = 1 << 20 // of the random part, which does not pack
	for name, c := range map[string]struct {
		spoil func(t *testing.T, s *image.Store)
		again int64 // so much at least is written again; less than nothing if of the rest, too, not all is
		most  int64
	}{
		"as it was":           {func(*testing.T, *image.Store) {}, -8 * chunk, 4 * chunk},
		"a bent chunk":        {func(t *testing.T, s *image.Store) { bend(t, file(s, "pack"), 2*chunk+100) }, 2 * chunk, 8 * chunk},
		"a bent head":         {func(t *testing.T, s *image.Store) { bend(t, file(s, "pack"), 3) }, 4 * chunk, 8 * chunk},
		"a pack cut short":    {func(t *testing.T, s *image.Store) { cut(t, file(s, "pack"), chunk+chunk/2) }, 3 * chunk, 8 * chunk},
		"a journal cut short": {func(t *testing.T, s *image.Store) { cut(t, file(s, "chunks"), 9+96+50) }, 3 * chunk, 8 * chunk},
		"a bent journal":      {func(t *testing.T, s *image.Store) { bend(t, file(s, "chunks"), 9+96+70) }, 3 * chunk, 8 * chunk},
		"no journal": {func(t *testing.T, s *image.Store) {
			if err := os.Remove(file(s, "chunks")); err != nil {
				t.Fatal(err)
			}
		}, 4 * chunk, 8 * chunk},
		"removed": {func(t *testing.T, s *image.Store) {
			st, err := publish.GC(t.Context(), s)
			if err != nil || st.Removed != 2 || st.Bytes < 4*chunk {
				t.Fatalf("GC = %+v, %v", st, err)
			}
			nothingLeft(t, s)
		}, 4 * chunk, 8 * chunk},
	} {
		t.Run(name, func(t *testing.T) {
			s := imagetest.NewStore(t)
			cutImport(t, s, 12)
			c.spoil(t, s)
			got := goesOn(t, s, want) - (want.Pack.Size - 8*chunk)
			if got < c.again || got > c.most {
				t.Errorf("%d bytes of the random part were written again, want %d to %d", got, c.again, c.most)
			}
		})
	}
}

// TestKilledImport kills the process of an import again and again.
func TestKilledImport(t *testing.T) {
	r := imagetest.Seeded(t, 10)
	want := whole(t)
	for range imagetest.Soak(1) {
		s := imagetest.NewStore(t)
		for range 4 {
			cmd := exec.Command(os.Args[0], "-test.run", "^TestKilledImportChild$")
			cmd.Env = append(os.Environ(), "TROY_CUT_STORE="+s.String(), "TROY_CUT_AT="+strconv.Itoa(1+r.IntN(12)))
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("the child was not killed: %v\n%s", err, out)
			}
			if names, err := s.Images(); len(names) > 0 || err != nil {
				t.Fatalf("images %q, %v", names, err)
			}
		}
		t.Logf("%d of %d bytes were written at last", goesOn(t, s, want), want.Pack.Size)
	}
}

// TestKilledImportChild is the process that TestKilledImport starts; by itself it has nothing to
// do.
func TestKilledImportChild(t *testing.T) {
	dir := os.Getenv("TROY_CUT_STORE")
	if dir == "" {
		return
	}
	at, _ := strconv.ParseInt(os.Getenv("TROY_CUT_AT"), 10, 64)
	s, err := image.OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	kill := func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) }
	_, err = publish.Import(t.Context(), s, "pc", dyingDisk(cutState(), at, kill), cutOptions())
	t.Fatalf("Import = %v", err)
}

// TestRoom: a store without room for the pack is told before anything is written; what packs well
// passes.
func TestRoom(t *testing.T) {
	state := cutState()
	for _, c := range []struct {
		free int64
		fits bool
	}{{14 << 20, true}, {10 << 20, true}, {4 << 20, false}} {
		s := imagetest.NewStore(t)
		m, err := publish.ImportInto(t.Context(), s, "pc", state.Disk(nil), c.free)
		if c.fits != (err == nil) || err != nil && !errors.Is(err, publish.ErrNoSpace) {
			t.Errorf("%d bytes free: %+v, %v", c.free, m, err)
		}
		if err != nil {
			nothingLeft(t, s)
		}
	}
}
