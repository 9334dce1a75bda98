// Package goldenpc makes the disk of a PC on which a Windows has changed something: a VHDX with a
// version, and a boot child over it.
package goldenpc

import (
	"math/rand/v2"
	"path/filepath"
	"testing"

	"troy/image"
	"troy/image/capture"
	"troy/image/publish"
	"troy/internal/testing/imagetest"
	"troy/vhdx"
)

// Base writes a VHDX with that content into a folder and returns its path and DataWriteGuid.
func Base(t testing.TB, dir string, content []byte) (path, id string) {
	t.Helper()
	path = filepath.Join(dir, "base.vhdx")
	f, err := vhdx.Create(path, &vhdx.CreateOptions{Size: int64(len(content)), BlockSize: 2 << 20})
	must(t, err)
	must(t, f.Close())
	write(t, path, func(c *vhdx.Chain) { put(t, c, content, 0) })
	c := Open(t, path)
	return path, c.Files()[0].Header().DataWriteGUID.String()
}

// Child makes a boot child over a VHDX, into which ranges of a content are written. It returns its
// path; the parent is beside it.
func Child(t testing.TB, parent, name string, content []byte, ranges []image.Range) string {
	t.Helper()
	p := Open(t, parent)
	path := filepath.Join(filepath.Dir(parent), name)
	f, err := vhdx.Create(path, &vhdx.CreateOptions{Kind: vhdx.Differencing, Parent: p.Files()[0], ParentPath: `.\` + filepath.Base(parent), BlockSize: 1 << 20})
	must(t, err)
	must(t, f.Close())
	write(t, path, func(c *vhdx.Chain) {
		for _, r := range ranges {
			put(t, c, content[r.Offset:r.Offset+r.Length], r.Offset)
		}
	})
	return path
}

// Open opens a chain until the test ends.
func Open(t testing.TB, path string) *vhdx.Chain {
	t.Helper()
	c, err := vhdx.OpenChain(path, &vhdx.ChainOptions{Parents: &vhdx.Parents{}})
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func write(t testing.TB, path string, f func(c *vhdx.Chain)) {
	t.Helper()
	c, err := vhdx.OpenChain(path, &vhdx.ChainOptions{Parents: &vhdx.Parents{}, Writable: true})
	must(t, err)
	f(c)
	must(t, c.Close())
}

func put(t testing.TB, c *vhdx.Chain, b []byte, off int64) {
	t.Helper()
	_, err := c.WriteAt(b, off)
	must(t, err)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// PC is a golden PC and the version 1 of the image pc that it stands on.
type PC struct {
	V1, Now *imagetest.State // as published, and as the session changed it
	Disk    []byte           // what the machine shows now
	Chain   *vhdx.Chain
	Version capture.Version
	Filter  imagetest.Filter
}

// Random publishes a random version 1 in each of the stores, and makes a PC with a random session
// on it: where the version is undefined, the machine holds noise.
func Random(t testing.TB, r *rand.Rand, pages int64, stores ...*image.Store) *PC {
	t.Helper()
	pc := &PC{V1: imagetest.First(r, pages)}
	pc.V1.Free = imagetest.Mutate(r, pc.V1, 2, true).Free
	held, dir := noisy(r, pc.V1), t.TempDir()
	base, id := Base(t, dir, held)
	pc.V1.ID = id
	for _, s := range stores {
		m, err := publish.Import(t.Context(), s, "pc", pc.V1.Disk(nil), &publish.Options{Filter: imagetest.Filter{Free: pc.V1.Free}})
		must(t, err)
		pc.Version = VersionOf(t, s, m)
	}
	pc.Now = imagetest.Mutate(r, &imagetest.State{Data: held, Free: pc.V1.Free}, 2, true)
	pc.Filter = imagetest.Filter{Free: pc.Now.Free}
	pc.Chain = Open(t, Child(t, base, "boot.vhdx", pc.Now.Data, pc.Now.Diff))
	pc.Disk = make([]byte, len(held))
	_, err := pc.Chain.ReadAt(pc.Disk, 0)
	must(t, err)
	return pc
}

// noisy is a state with noise in all that nothing uses.
func noisy(r *rand.Rand, s *imagetest.State) []byte {
	b := append([]byte(nil), s.Data...)
	for _, f := range s.Free {
		imagetest.Fill(r, b[f.Offset:f.Offset+f.Length])
	}
	return b
}

// VersionOf reads a version as a machine does.
func VersionOf(t testing.TB, s *image.Store, m *image.Manifest) capture.Version {
	t.Helper()
	below, err := image.LoadManifest(t.Context(), s, m.Image, m.Version)
	must(t, err)
	on, err := image.LoadMap(t.Context(), s, m.Image, m.Version)
	must(t, err)
	return capture.Version{Manifest: below, Map: on}
}

// Session opens what the PC's Windows changed.
func (pc *PC) Session(t testing.TB) *capture.Session {
	t.Helper()
	s, err := capture.Open(t.Context(), pc.Chain, &pc.Version, pc.Filter)
	must(t, err)
	return s
}
