package blockdev

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"troy/internal/block"
	"troy/internal/guid"
)

// media opens the same content in every way a device can be opened.
func media(t *testing.T, size int) map[string]*Device {
	t.Helper()
	m := map[string]*Device{}
	for name, o := range map[string]*Options{"direct": nil, "buffered": {buffered: true}, "direct 4Kn": {SectorSize: 4096}} {
		path, _ := newFile(t, size, 1)
		m[name] = open(t, path, o)
	}
	for name, sector := range map[string]int{"loop 512": 512, "loop 4096": 4096} {
		path, _ := newFile(t, size, 1)
		m[name] = open(t, loop(t, path, sector), &Options{Exclusive: true})
		if got := m[name].SectorSize(); got != sector || !m[name].block {
			t.Errorf("%s: sectors of %d bytes, block %v", name, got, m[name].block)
		}
	}
	return m
}

func TestReadWrite(t *testing.T) {
	const size = 6 * mib
	_, content := newFile(t, size, 1)
	for name, d := range media(t, size) {
		t.Run(name, func(t *testing.T) {
			want := bytes.Clone(content)
			t.Logf("direct: %v", d.Direct())
			if d.Size() != size {
				t.Fatalf("size %d", d.Size())
			}
			const seed = 11
			rng := rand.New(rand.NewPCG(seed, 0))
			s := int64(d.SectorSize())
			for range 60 {
				off := rng.Int64N(size/s) * s
				n := min(size-off, rng.Int64N(2*mib/s)*s)
				buf := block.Aligned(int(n) + 8)
				p := buf[rng.IntN(8):][:n] // mostly not aligned in memory
				for i := range p {
					p[i] = byte(rng.Uint32())
				}
				if k, err := d.WriteAt(p, off); err != nil || int64(k) != n {
					t.Fatalf("write %d at %d: %d, %v (seed %d)", n, off, k, err, seed)
				}
				copy(want[off:], p)
			}
			if err := d.Sync(); err != nil {
				t.Fatal(err)
			}
			for range 300 {
				off, n := rng.Int64N(size+1), rng.Int64N(3*mib)
				p := make([]byte, n)
				k, err := d.ReadAt(p, off)
				end := min(size, off+n)
				if int64(k) != end-off || !bytes.Equal(p[:k], want[off:end]) || (err == io.EOF) != (end-off < n) {
					t.Fatalf("read %d at %d: %d, %v (seed %d)", n, off, k, err, seed)
				}
			}
			other, err := os.ReadFile(d.Path()) // through the page cache
			if err != nil || !bytes.Equal(other, want) {
				t.Fatalf("the file holds something else (%v)", err)
			}
		})
	}
}

// TestConcurrent: many callers at once, each on its own pages.
func TestConcurrent(t *testing.T) {
	const workers, pages = 16, 64
	for name, d := range media(t, workers*pages*4096) {
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				p, q := make([]byte, 4096), make([]byte, 4096)
				for i := range pages {
					off := int64(i*workers+w) * 4096
					for j := range p {
						p[j] = byte(w + i + j)
					}
					if _, err := d.WriteAt(p, off); err != nil {
						t.Errorf("%s: %v", name, err)
					}
					if _, err := d.ReadAt(q, off); err != nil || !bytes.Equal(p, q) {
						t.Errorf("%s: page %d differs (%v)", name, i, err)
					}
				}
			})
		}
		wg.Wait()
	}
}

func TestRefusedWrites(t *testing.T) {
	path, content := newFile(t, mib, 2)
	d := open(t, path, nil)
	for _, c := range []struct {
		off, n int64
		want   error
	}{
		{1, 512, ErrUnaligned}, {0, 100, ErrUnaligned}, {-512, 512, ErrBounds}, {mib, 512, ErrBounds},
		{mib - 512, 1024, ErrBounds}, {1 << 62, 512, ErrBounds},
	} {
		n, err := d.WriteAt(make([]byte, c.n), c.off)
		var place *RangeError
		if n != 0 || !errors.Is(err, c.want) || !errors.As(err, &place) || place.Offset != c.off {
			t.Errorf("write %d at %d: %d, %v", c.n, c.off, n, err)
		}
	}
	r := open(t, path, &Options{ReadOnly: true})
	if _, err := r.WriteAt(make([]byte, 512), 0); !errors.Is(err, ErrReadOnly) {
		t.Errorf("read only: %v", err)
	}
	if _, err := r.ReadAt(make([]byte, 1), -1); !errors.Is(err, ErrBounds) {
		t.Errorf("read at -1: %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
		t.Fatalf("a refused write wrote (%v)", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "missing"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	for _, path := range []string{t.TempDir(), "/dev/null"} {
		if _, err := Open(path, nil); err == nil {
			t.Errorf("%s was opened", path)
		}
	}
	path, _ := newFile(t, mib, 1)
	if _, err := Open(path, &Options{SectorSize: 2048}); err == nil {
		t.Error("sectors of 2048 bytes were taken")
	}
}

// TestExclusive: a second holder is refused, a second user is not.
func TestExclusive(t *testing.T) {
	path, _ := newFile(t, mib, 1)
	dev := loop(t, path, 512)
	open(t, dev, &Options{Exclusive: true})
	if d, err := Open(dev, &Options{Exclusive: true}); err == nil {
		d.Close()
		t.Error("two hold the device")
	}
	open(t, dev, nil)
}

func TestPartitionBounds(t *testing.T) {
	path, content := newFile(t, mib, 3)
	d := open(t, path, nil)
	for _, e := range []Entry{
		{Start: -512, Size: 1024}, {Start: 0, Size: 0}, {Start: 512, Size: mib}, {Start: 100, Size: 512},
		{Start: 512, Size: 100}, {Start: 1 << 62, Size: 1 << 62}, {Start: 512, Size: 1<<63 - 1},
	} {
		if _, err := d.Partition(e); !errors.Is(err, ErrBounds) {
			t.Errorf("%d+%d: %v", e.Start, e.Size, err)
		}
	}
	p, err := d.Partition(Entry{Start: 4096, Size: 8192})
	if err != nil {
		t.Fatal(err)
	}
	all := make([]byte, 10000)
	if n, err := p.ReadAt(all, 0); n != 8192 || err != io.EOF || !bytes.Equal(all[:n], content[4096:4096+8192]) {
		t.Errorf("read all: %d, %v", n, err)
	}
	for _, c := range []struct{ off, n int64 }{{-512, 512}, {8192, 512}, {7680, 1024}, {0, 16384}, {1 << 62, 512}} {
		if n, err := p.WriteAt(make([]byte, c.n), c.off); n != 0 || !errors.Is(err, ErrBounds) {
			t.Errorf("write %d at %d: %d, %v", c.n, c.off, n, err)
		}
	}
	if _, err := p.ReadAt(make([]byte, 1), -1); !errors.Is(err, ErrBounds) {
		t.Errorf("read before the partition: %v", err)
	}
	page := bytes.Repeat([]byte{7}, 4096)
	if _, err := p.WriteAt(page, 4096); err != nil {
		t.Fatal(err)
	}
	copy(content[8192:], page)
	if err := p.Sync(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
		t.Fatalf("something else was written (%v)", err)
	}
}

func TestGUID(t *testing.T) {
	for _, s := range []string{"c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "{C12A7328-F81F-11D2-BA4B-00A0C93EC93B}"} {
		g, err := guid.Parse(s)
		if err != nil || g != TypeESP || g.String() != "c12a7328-f81f-11d2-ba4b-00a0c93ec93b" {
			t.Errorf("%s: %v, %v", s, g, err)
		}
	}
	if TypeESP[0] != 0x28 || TypeESP[15] != 0x3b {
		t.Errorf("byte order: % x", TypeESP[:])
	}
	for _, g := range []guid.GUID{TypeESP, TypeMSR, TypeBasicData, TypeWinRecovery} {
		var back guid.GUID
		b, err := g.MarshalText()
		if err == nil {
			err = back.UnmarshalText(b)
		}
		if g.IsZero() || err != nil || back != g {
			t.Errorf("%s: %v", b, err)
		}
	}
	for _, s := range []string{"", "c12a7328", "c12a7328-f81f-11d2-ba4b-00a0c93ec93", "c12a7328_f81f_11d2_ba4b_00a0c93ec93b", "g12a7328-f81f-11d2-ba4b-00a0c93ec93b"} {
		if _, err := guid.Parse(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}
