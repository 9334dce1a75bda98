package export

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troy/image"
	"troy/internal/testing/smallstore"
	"troy/vhdx"
)

func open(t *testing.T, version int) *image.VersionReader {
	t.Helper()
	store, err := image.OpenStore(smallstore.Make(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	v, err := image.OpenVersion(t.Context(), store, smallstore.Image, version)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestWrite: the file is the version, byte by byte and by its identity, and replaces another only
// when told to.
func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.vhdx")
	for _, c := range []struct {
		version int
		o       *Options
		want    error
	}{{1, nil, nil}, {2, nil, fs.ErrExist}, {2, &Options{Replace: true}, nil}} {
		v := open(t, c.version)
		if err := Write(t.Context(), path, v, c.o); !errors.Is(err, c.want) {
			t.Fatalf("version %d: %v, want %v", c.version, err, c.want)
		}
		if c.want != nil {
			v = open(t, 1) // what is still there
		}
		f, err := vhdx.Open(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if id := f.Header().DataWriteGUID.String(); id != v.Manifest().DataWriteGUID {
			t.Errorf("version %d: DataWriteGuid %s, want %s", c.version, id, v.Manifest().DataWriteGUID)
		}
		chain, err := vhdx.NewChain(f)
		if err != nil {
			t.Fatal(err)
		}
		got, err1 := io.ReadAll(io.NewSectionReader(chain, 0, chain.Size()))
		want, err2 := io.ReadAll(io.NewSectionReader(v, 0, v.Size()))
		if err := errors.Join(err1, err2, chain.Close()); err != nil || !bytes.Equal(got, want) {
			t.Errorf("version %d: other content (%d bytes, want %d), %v", c.version, len(got), len(want), err)
		}
		noParts(t, path)
	}
}

// noParts fails if something lies beside the file.
func noParts(t *testing.T, path string) {
	t.Helper()
	list, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if strings.HasSuffix(e.Name(), ".part") {
			t.Errorf("%s was left behind", e.Name())
		}
	}
}

// TestWriteStopped: an export that does not come to its end leaves nothing.
func TestWriteStopped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.vhdx")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Write(ctx, path, open(t, 2), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file is there: %v", err)
	}
	noParts(t, path)
}

// TestExtents: what is asked for is covered without gaps, from any place on.
func TestExtents(t *testing.T) {
	d := disk{open(t, 2)}
	for _, c := range [][2]int64{{0, d.Size()}, {1, 4096}, {4095, 2}, {d.Size() - 4096, 4096}, {100 << 10, 700 << 10}} {
		at := c[0]
		for e, err := range d.Extents(c[0], c[1]) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Offset != at || e.Length <= 0 {
				t.Fatalf("range %v: extent %+v at %d", c, e, at)
			}
			got := make([]byte, e.Length)
			if _, err := d.ReadAt(got, e.Offset); err != nil && err != io.EOF {
				t.Fatal(err)
			}
			if e.Kind == vhdx.Zero && len(bytes.Trim(got, "\x00")) > 0 {
				t.Errorf("range %v: %+v is not zero", c, e)
			}
			at += e.Length
		}
		if at != c[0]+c[1] {
			t.Errorf("range %v ends at %d", c, at)
		}
	}
}
