package image

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// files returns the files of a store with an ending.
func files(t *testing.T, s *Store, ending string) []string {
	var l []string
	for name := range tree(t, s.dir) {
		if strings.HasSuffix(name, ending) {
			l = append(l, name)
		}
	}
	if len(l) == 0 {
		t.Fatalf("store has no %s", ending)
	}
	slices.Sort(l)
	return l
}

// tryUpdate plans and fetches, and returns the first error and the sink.
func tryUpdate(ctx context.Context, src Source, have, want int, size int) (*sink, error) {
	k := newSink(make([]byte, size))
	p, err := LoadPlan(ctx, src, "pc", have, want)
	if err != nil {
		return k, err
	}
	_, err = p.Fetch(ctx, src, k, nil)
	return k, err
}

// TestBitFlips flips bits of every file of a store, one at a time: a flip in anything that an update needs is found, named, and nothing of the
// file reaches the sink. With one chunk per pack nothing at all does.
func TestBitFlips(t *testing.T) {
	r := seeded(t, 1)
	s := newStore(t)
	states := history(t, r, s, 2, 200, true)
	size := len(states[1].data)
	for _, name := range slices.Concat(files(t, s, ".table"), files(t, s, ".pack"), files(t, s, "1.json"), files(t, s, "2.json"), files(t, s, "versions.json")) {
		path := filepath.Join(s.dir, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bits := []int{0, 7, len(good)*8 - 1}
		for range soak(40) {
			bits = append(bits, r.IntN(len(good)*8))
		}
		for _, bit := range bits {
			bad := slices.Clone(good)
			bad[bit/8] ^= 1 << (bit % 8)
			if err := os.WriteFile(path, bad, 0o644); err != nil {
				t.Fatal(err)
			}
			k, err := tryUpdate(t.Context(), s, 0, 2, size)
			if strings.HasSuffix(name, ".pack") && bit < packHeaderSize*8 {
				continue // the header of a pack is for people, no client reads it
			}
			if err == nil && k.calls == 0 {
				t.Fatal("an update did nothing and said nothing")
			}
			if err == nil {
				if strings.HasSuffix(name, ".pack") && !slices.Contains(packsOf(t, s, 0, 2), name) {
					continue
				}
				t.Fatalf("%s bit %d: not found", name, bit)
			}
			var oe *ObjectError
			if !errors.As(err, &oe) || oe.Source != s.dir || !strings.Contains(err.Error(), filepath.Base(name)) {
				t.Fatalf("%s bit %d: error does not name the file: %v", name, bit, err)
			}
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrNotFound) {
				t.Fatalf("%s bit %d: %v", name, bit, err)
			}
			if !strings.HasSuffix(name, ".pack") && k.calls != 0 {
				t.Fatalf("%s bit %d: the sink was written %d times", name, bit, k.calls)
			}
		}
		if err := os.WriteFile(path, good, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tryUpdate(t.Context(), s, 0, 2, size); err != nil {
		t.Fatalf("the restored store: %v", err)
	}
}

func packsOf(t *testing.T, s *Store, have, want int) []string {
	p, err := LoadPlan(t.Context(), s, "pc", have, want)
	if err != nil {
		t.Fatal(err)
	}
	var l []string
	for _, o := range p.packs {
		l = append(l, o.Name)
	}
	return l
}

// TestBadChunkWritesNothing spoils every chunk: the sink must stay untouched and the error must name pack, range and source.
func TestBadChunkWritesNothing(t *testing.T) {
	r := seeded(t, 2)
	s := newStore(t)
	states := history(t, r, s, 3, 2000, false)
	for _, attempts := range []int{1, 2, 5} {
		asked := map[int64]int{}
		src := &flaky{Store: s, spoil: func(name string, off int64, b []byte) ([]byte, error) {
			if strings.HasSuffix(name, ".pack") {
				asked[off]++
				for i := 0; i < len(b); i += 512 { // every chunk of the request
					b[i] ^= 0x40
				}
			}
			return b, nil
		}}
		p, err := LoadPlan(t.Context(), src, "pc", 0, 3)
		if err != nil {
			t.Fatal(err)
		}
		k := newSink(make([]byte, len(states[1].data)))
		_, err = p.Fetch(t.Context(), src, k, &FetchOptions{Workers: 1, Attempts: attempts, SkipZeros: true})
		var oe *ObjectError
		if !errors.As(err, &oe) || !errors.Is(err, ErrCorrupt) || oe.Source != "flaky" || !strings.HasSuffix(oe.Object, ".pack") || oe.Length == 0 || oe.Attempts != attempts {
			t.Fatalf("Fetch = %v", err)
		}
		if k.calls != 0 || asked[oe.Offset] != attempts {
			t.Fatalf("sink got %d writes, the chunk at %d was asked for %d times, want %d", k.calls, oe.Offset, asked[oe.Offset], attempts)
		}
	}
}

// TestRetries lets every chunk fail a few times, in every way a source can.
func TestRetries(t *testing.T) {
	r := seeded(t, 3)
	s := newStore(t)
	states := history(t, r, s, 3, 2000, false)
	faults := 0
	src := &flaky{Store: s, spoil: func(name string, off int64, b []byte) ([]byte, error) {
		if !strings.HasSuffix(name, ".pack") || r.IntN(2) == 0 {
			return b, nil
		}
		faults++
		switch faults % 4 {
		case 0:
			return nil, io.ErrUnexpectedEOF
		case 1:
			return b[:len(b)-1], nil
		case 2:
			return append(b, 0), nil
		}
		b[r.IntN(len(b))] ^= 1
		return b, nil
	}}
	p, err := LoadPlan(t.Context(), src, "pc", 0, 3)
	if err != nil {
		t.Fatal(err)
	}
	k := newSink(make([]byte, len(states[1].data)))
	st, err := p.Fetch(t.Context(), src, k, &FetchOptions{Workers: 1, Attempts: 100, RequestBytes: 1})
	if err != nil || st.Retries == 0 || st.Retries != int64(faults) {
		t.Fatalf("Fetch = %+v, %v after %d faults", st, err, faults)
	}
	k.checkRuns(t, p)
	checkDefined(t, k.data, states[3], nil)
}

// TestTruncatedPack cuts packs at and around their boundaries.
func TestTruncatedPack(t *testing.T) {
	r := seeded(t, 4)
	s := newStore(t)
	states := history(t, r, s, 1, 900, false)
	name := packsOf(t, s, 0, 1)[0]
	path := filepath.Join(s.dir, name)
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int64{st.Size() - 1, st.Size() / 2, packHeaderSize, 0} {
		if err := os.Truncate(path, n); err != nil {
			t.Fatal(err)
		}
		_, err := tryUpdate(t.Context(), s, 0, 1, len(states[1].data))
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), name) {
			t.Fatalf("pack cut to %d bytes: %v", n, err)
		}
	}
}

// TestWrongParent adds children that do not stand on the newest version, by GUID and by content.
func TestWrongParent(t *testing.T) {
	r := seeded(t, 5)
	s := newStore(t)
	states := history(t, r, s, 2, 600, false)
	before := tree(t, s.dir)
	check := func(err error, text string) {
		t.Helper()
		var pe *ParentError
		if !errors.Is(err, ErrWrongParent) || !errors.As(err, &pe) || pe.Image != "pc" || pe.Version != 2 || !strings.Contains(err.Error(), text) {
			t.Fatalf("Add = %v", err)
		}
		sameTree(t, before, tree(t, s.dir))
	}
	child := mutate(r, states[1], 3, false)
	_, err := s.Add(t.Context(), "pc", child.disk(states[1]), nil)
	check(err, guid(1))
	_, err = s.Add(t.Context(), "pc", child.disk(nil), nil)
	check(err, "no parent")

	forged := &state{data: slices.Clone(states[2].data), id: states[2].id}
	forged.data[300*PageSize+77] ^= 1
	child = &state{data: slices.Clone(forged.data), id: guid(3), diff: []Range{{290 * PageSize, 512}}}
	_, err = s.Add(t.Context(), "pc", child.disk(forged), nil)
	check(err, "other content")
}

func sameTree(t *testing.T, a, b map[string]string) {
	t.Helper()
	for name := range b {
		if _, ok := a[name]; !ok && !strings.HasPrefix(name, "objects/") {
			t.Fatalf("%s is new", name)
		}
	}
	for name, content := range a {
		if b[name] != content {
			t.Fatalf("%s was changed", name)
		}
	}
}

// TestRefused gives what can never be right; each gets its class of error and leaves the store as it was.
func TestRefused(t *testing.T) {
	r := seeded(t, 6)
	s := newStore(t)
	states := history(t, r, s, 1, 300, false)
	before := tree(t, s.dir)
	odd := states[1].disk(nil)
	odd.Size -= 512
	small := states[1].disk(states[1])
	small.Size -= PageSize
	sectors := states[1].disk(nil)
	sectors.SectorSize = 520
	outside := mutate(r, states[1], 2, false)
	outside.diff = []Range{{int64(len(outside.data)), 512}}
	for _, c := range []struct {
		name string
		do   func() (*Manifest, error)
		want error
	}{
		{"import of an image that is there", func() (*Manifest, error) { return s.Import(t.Context(), "pc", states[1].disk(nil), nil) }, ErrExists},
		{"add to no image", func() (*Manifest, error) { return s.Add(t.Context(), "nobody", states[1].disk(nil), nil) }, ErrNotFound},
		{"name with a slash", func() (*Manifest, error) { return s.Import(t.Context(), "a/b", states[1].disk(nil), nil) }, ErrInvalid},
		{"name of dots", func() (*Manifest, error) { return s.Import(t.Context(), "..", states[1].disk(nil), nil) }, ErrInvalid},
		{"empty name", func() (*Manifest, error) { return s.Import(t.Context(), "", states[1].disk(nil), nil) }, ErrInvalid},
		{"odd size", func() (*Manifest, error) { return s.Import(t.Context(), "new", odd, nil) }, ErrInvalid},
		{"sectors of 520", func() (*Manifest, error) { return s.Import(t.Context(), "new", sectors, nil) }, ErrInvalid},
		{"another size", func() (*Manifest, error) { return s.Add(t.Context(), "pc", small, nil) }, ErrInvalid},
		{"level 23", func() (*Manifest, error) {
			return s.Import(t.Context(), "new", states[1].disk(nil), &PublishOptions{Level: 23})
		}, ErrInvalid},
		{"range past the end", func() (*Manifest, error) { return s.Add(t.Context(), "pc", outside.disk(states[1]), nil) }, ErrCorrupt},
	} {
		if _, err := c.do(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		sameTree(t, before, tree(t, s.dir))
	}
	if _, err := LoadPlan(t.Context(), s, "pc", 0, 2); !errors.Is(err, ErrNotFound) {
		t.Errorf("plan to a version that is not there: %v", err)
	}
	if _, err := LoadPlan(t.Context(), s, "pc", 7, 1); !errors.Is(err, ErrNotFound) {
		t.Errorf("plan from a version that is not there: %v", err)
	}
	if _, err := LoadPlan(t.Context(), struct{ Source }{s}, "pc", 0, 1); !errors.Is(err, ErrUnsupported) {
		t.Errorf("plan from a source without documents: %v", err)
	}
	if _, err := Init(s.dir); !errors.Is(err, ErrExists) {
		t.Errorf("Init over a store: %v", err)
	}
	if _, err := OpenStore(t.TempDir()); !errors.Is(err, ErrNotFound) {
		t.Errorf("OpenStore of an empty folder: %v", err)
	}
}

// TestSinkFails stops at the first error of the sink and hands it on.
func TestSinkFails(t *testing.T) {
	r := seeded(t, 8)
	s := newStore(t)
	history(t, r, s, 1, 900, false)
	p, err := LoadPlan(t.Context(), s, "pc", 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	if _, err := p.Fetch(t.Context(), s, full, nil); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("Fetch = %v, want ENOSPC", err)
	}
}
