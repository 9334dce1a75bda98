package pcdisk

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/internal/testing/needs"
	"troy/vhdx"
)

const virtual = 24 << 20

// memory is a disk in memory: random content with gaps, of which some are told as holes.
type memory struct {
	data  []byte
	fail  int64 // reading at or behind it fails; 0: never
	holes []vhdx.Extent
}

var errRead = errors.New("the base cannot be read")

func newMemory(t *testing.T) *memory {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	m := &memory{data: make([]byte, virtual)}
	for i := range m.data {
		m.data[i] = byte(r.Uint32() | 1)
	}
	for off := int64(0); off < virtual; {
		e := vhdx.Extent{Offset: off, Length: min(virtual-off, (1+r.Int64N(600))*512)}
		switch r.IntN(4) {
		case 0:
			e.Kind = vhdx.Absent
		case 1: // zeros that are not told
			clear(m.data[off : off+e.Length])
		}
		if e.Kind != vhdx.Data {
			clear(m.data[off : off+e.Length])
		}
		m.holes = append(m.holes, e)
		off += e.Length
	}
	return m
}

func (m *memory) Size() int64 { return int64(len(m.data)) }

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	if m.fail > 0 && off+int64(len(p)) > m.fail {
		return 0, errRead
	}
	return copy(p, m.data[off:]), nil
}

func (m *memory) Extents(int64, int64) iter.Seq2[vhdx.Extent, error] {
	return func(yield func(vhdx.Extent, error) bool) {
		for _, e := range m.holes {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// oldDisk is an image file full of old bytes.
func oldDisk(t *testing.T, size int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, bytes.Repeat([]byte("old"), size/3+1)[:size], 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func options(base vhdx.Source) *ProvisionOptions {
	return &ProvisionOptions{Image: "lab", Version: 4, Base: base, ESPSize: 40 << 20, Wipe: true}
}

// shown reads what the machine shows.
func shown(t *testing.T, path string) ([]byte, machine.State) {
	t.Helper()
	d, err := Look(path, &blockdev.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	m, note, err := d.Open()
	if err != nil || note != "" {
		t.Fatalf("%v, %q", err, note)
	}
	c, err := Chain(d.Files())
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, c.Size())
	if _, err := c.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if d.Written() != 0 {
		t.Errorf("reading wrote %d bytes", d.Written())
	}
	return b, m.State()
}

// Whatever the disk held before, the machine shows the base, zeros where the base has none.
func TestProvision(t *testing.T) {
	needs.Root(t)
	base := newMemory(t)
	path := oldDisk(t, int(DiskSize(options(base))))
	refused := options(base)
	refused.Wipe = false
	if err := Provision(t.Context(), path, refused); !errors.Is(err, ErrOccupied) || errors.Is(err, ErrUnfinished) {
		t.Fatalf("an occupied disk: %v", err)
	}
	var done counter
	o := options(base)
	o.Progress = &done
	if err := Provision(t.Context(), path, o); err != nil {
		t.Fatal(err)
	}
	have, s := shown(t, path)
	if !bytes.Equal(have, base.data) {
		t.Error("the machine does not show the base")
	}
	if s.Image != "lab" || s.Version != 4 || s.Layers != 0 || !s.SlotFree || int64(done) != virtual {
		t.Errorf("state %+v, progress %d", s, done)
	}
	empty := options(nil)
	empty.Size = virtual
	if err := Provision(t.Context(), path, empty); err != nil {
		t.Fatal(err)
	}
	if have, _ := shown(t, path); len(bytes.TrimLeft(have, "\x00")) != 0 || len(have) != virtual {
		t.Error("an empty disk does not read zero")
	}
}

type counter int64

func (c *counter) Add(n int64) { atomic.AddInt64((*int64)(c), n) }

// Provisioning again, cut off at random places, never leaves a disk that is taken for a machine.
func TestProvisionCutOff(t *testing.T) {
	needs.Root(t)
	base := newMemory(t)
	path := oldDisk(t, int(DiskSize(options(base))))
	if err := Provision(t.Context(), path, options(base)); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{1, 1 + rand.Int64N(virtual-4<<20), virtual - 4<<20} {
		base.fail = at
		if err := Provision(t.Context(), path, options(base)); !errors.Is(err, errRead) || !errors.Is(err, ErrUnfinished) {
			t.Fatalf("base that fails at %d: %v", at, err)
		}
		d, err := Look(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		m, _, err := d.Open()
		if err != nil || !m.State().Reinstalling || m.State().Version != 0 {
			t.Errorf("base that fails at %d: the disk is taken for a machine (%v)", at, err)
		}
		if c, err := Chain(d.Files()); err == nil {
			t.Errorf("base that fails at %d: the disk shows a chain of %d files", at, len(c.Files()))
		}
		d.Close()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Provision(ctx, path, options(base)); err == nil {
		t.Error("a cancelled call succeeded")
	}
	base.fail = 0
	if err := Provision(t.Context(), path, options(base)); err != nil {
		t.Fatal(err)
	}
	if have, _ := shown(t, path); !bytes.Equal(have, base.data) {
		t.Error("the machine does not show the base")
	}
}

// A copy that was given new GUIDs is not the recorded disk.
func TestForeign(t *testing.T) {
	needs.Root(t)
	o := options(nil)
	o.Size = virtual
	path := oldDisk(t, int(DiskSize(o)))
	if err := Provision(t.Context(), path, o); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("sgdisk", "-U", "R", path).CombinedOutput(); err != nil {
		t.Fatalf("sgdisk: %v: %s", err, out)
	}
	d, err := Look(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, _, err := d.Open(); !errors.Is(err, ErrForeign) || d.Written() != 0 {
		t.Errorf("%v after %d bytes, want %v", err, d.Written(), ErrForeign)
	}
}

func TestProvisionRefused(t *testing.T) {
	path := oldDisk(t, 64<<20)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	odd, nameless, big := options(nil), options(nil), options(nil)
	odd.Size, nameless.Size, big.Size = virtual+512, virtual, 1<<40
	nameless.Image = ""
	for want, o := range map[error]*ProvisionOptions{ErrVirtualSize: odd, ErrName: nameless, ErrNoSpace: big} {
		if err := Provision(t.Context(), path, o); !errors.Is(err, want) || errors.Is(err, ErrUnfinished) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		t.Error("a refusal changed the disk")
	}
}
