package image_test

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

	"troy/image"
	"troy/image/internal/layer"
	"troy/internal/testing/imagetest"
)

// tryUpdate plans and fetches, and returns the first error and the sink.
func tryUpdate(ctx context.Context, src image.Source, have, want int, size int) (*imagetest.Sink, error) {
	k := imagetest.NewSink(make([]byte, size))
	p, err := image.LoadPlan(ctx, src, "pc", have, want)
	if err != nil {
		return k, err
	}
	_, err = p.Fetch(ctx, src, k, nil)
	return k, err
}

// TestBitFlips flips bits of every file of a store, one at a time: a flip in anything that an
// update needs is found, named, and nothing of the file reaches the sink. With one chunk per pack
// nothing at all does.
func TestBitFlips(t *testing.T) {
	r := imagetest.Seeded(t, 1)
	s := imagetest.NewStore(t)
	states := imagetest.History(t, r, s, 2, 200, true)
	size := len(states[1].Data)
	for _, name := range slices.Concat(imagetest.Files(t, s, ".table"), imagetest.Files(t, s, ".pack"), imagetest.Files(t, s, "1.json"), imagetest.Files(t, s, "2.json"), imagetest.Files(t, s, "versions.json")) {
		path := filepath.Join(s.String(), name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bits := []int{0, 7, len(good)*8 - 1}
		for range imagetest.Soak(40) {
			bits = append(bits, r.IntN(len(good)*8))
		}
		for _, bit := range bits {
			bad := slices.Clone(good)
			bad[bit/8] ^= 1 << (bit % 8)
			if err := os.WriteFile(path, bad, 0o644); err != nil {
				t.Fatal(err)
			}
			k, err := tryUpdate(t.Context(), s, 0, 2, size)
			if strings.HasSuffix(name, ".pack") && bit < layer.PackHeaderSize*8 {
				continue // the header of a pack is for people, no client reads it
			}
			if err == nil && k.Calls == 0 {
				t.Fatal("an update did nothing and said nothing")
			}
			if err == nil {
				if strings.HasSuffix(name, ".pack") && !slices.Contains(packsOf(t, s, 0, 2), name) {
					continue
				}
				t.Fatalf("%s bit %d: not found", name, bit)
			}
			var oe *image.ObjectError
			if !errors.As(err, &oe) || oe.Source != s.String() || !strings.Contains(err.Error(), filepath.Base(name)) {
				t.Fatalf("%s bit %d: error does not name the file: %v", name, bit, err)
			}
			if !errors.Is(err, image.ErrCorrupt) && !errors.Is(err, image.ErrUnsupported) && !errors.Is(err, image.ErrNotFound) {
				t.Fatalf("%s bit %d: %v", name, bit, err)
			}
			if !strings.HasSuffix(name, ".pack") && k.Calls != 0 {
				t.Fatalf("%s bit %d: the sink was written %d times", name, bit, k.Calls)
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

func packsOf(t *testing.T, s *image.Store, have, want int) []string {
	t.Helper()
	p, err := image.LoadPlan(t.Context(), s, "pc", have, want)
	if err != nil {
		t.Fatal(err)
	}
	return p.Packs()
}

// TestBadChunkWritesNothing spoils every chunk: the sink must stay untouched and the error must
// name pack, range and source.
func TestBadChunkWritesNothing(t *testing.T) {
	r := imagetest.Seeded(t, 2)
	s := imagetest.NewStore(t)
	states := imagetest.History(t, r, s, 3, 2000, false)
	for _, attempts := range []int{1, 2, 5} {
		asked := map[int64]int{}
		src := &imagetest.Flaky{Store: s, Spoil: func(name string, off int64, b []byte) ([]byte, error) {
			if strings.HasSuffix(name, ".pack") {
				asked[off]++
				for i := 0; i < len(b); i += 512 { // every chunk of the request
					b[i] ^= 0x40
				}
			}
			return b, nil
		}}
		p, err := image.LoadPlan(t.Context(), src, "pc", 0, 3)
		if err != nil {
			t.Fatal(err)
		}
		k := imagetest.NewSink(make([]byte, len(states[1].Data)))
		_, err = p.Fetch(t.Context(), src, k, image.FetchOptions{Workers: 1, SkipZeros: true}.WithAttempts(attempts))
		var oe *image.ObjectError
		if !errors.As(err, &oe) || !errors.Is(err, image.ErrCorrupt) || oe.Source != "flaky" || !strings.HasSuffix(oe.Object, ".pack") || oe.Length == 0 || oe.Attempts != attempts {
			t.Fatalf("Fetch = %v", err)
		}
		if k.Calls != 0 || asked[oe.Offset] != attempts {
			t.Fatalf("sink got %d writes, the chunk at %d was asked for %d times, want %d", k.Calls, oe.Offset, asked[oe.Offset], attempts)
		}
	}
}

// TestRetries lets every chunk fail a few times, in every way a source can.
func TestRetries(t *testing.T) {
	r := imagetest.Seeded(t, 3)
	s := imagetest.NewStore(t)
	states := imagetest.History(t, r, s, 3, 2000, false)
	faults := 0
	src := &imagetest.Flaky{Store: s, Spoil: func(name string, off int64, b []byte) ([]byte, error) {
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
	p, err := image.LoadPlan(t.Context(), src, "pc", 0, 3)
	if err != nil {
		t.Fatal(err)
	}
	k := imagetest.NewSink(make([]byte, len(states[1].Data)))
	st, err := p.Fetch(t.Context(), src, k, image.FetchOptions{Workers: 1, RequestBytes: 1}.WithAttempts(100))
	if err != nil || st.Retries == 0 || st.Retries != int64(faults) {
		t.Fatalf("Fetch = %+v, %v after %d faults", st, err, faults)
	}
	k.CheckRuns(t, p)
	imagetest.CheckDefined(t, k.Data, states[3], nil)
}

// TestTruncatedPack cuts packs at and around their boundaries.
func TestTruncatedPack(t *testing.T) {
	r := imagetest.Seeded(t, 4)
	s := imagetest.NewStore(t)
	states := imagetest.History(t, r, s, 1, 900, false)
	name := packsOf(t, s, 0, 1)[0]
	path := filepath.Join(s.String(), name)
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int64{st.Size() - 1, st.Size() / 2, layer.PackHeaderSize, 0} {
		if err := os.Truncate(path, n); err != nil {
			t.Fatal(err)
		}
		_, err := tryUpdate(t.Context(), s, 0, 1, len(states[1].Data))
		if !errors.Is(err, image.ErrCorrupt) || !strings.Contains(err.Error(), name) {
			t.Fatalf("pack cut to %d bytes: %v", n, err)
		}
	}
}

// TestSinkFails stops at the first error of the sink and hands it on.
func TestSinkFails(t *testing.T) {
	r := imagetest.Seeded(t, 8)
	s := imagetest.NewStore(t)
	imagetest.History(t, r, s, 1, 900, false)
	p, err := image.LoadPlan(t.Context(), s, "pc", 0, 1)
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
