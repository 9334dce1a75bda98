// Package samples finds files that other programs made. They are not in this tree: TROY_SAMPLES
// names the folder that has them. Where there is none, a test that reads them is skipped, with a
// reason that begins with "no samples: "; where there is one, a file that it lacks makes the test
// fail.
package samples

import (
	"bufio"
	"compress/bzip2"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"

	"troy/internal/block"
)

// Dir returns the folder of the samples.
func Dir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("TROY_SAMPLES")
	if dir == "" {
		t.Skip("no samples: TROY_SAMPLES is not set")
	}
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		t.Skipf("no samples: TROY_SAMPLES=%s is no folder", dir)
	}
	return dir
}

// File returns the path of a sample, named by its path below Dir. A compressed sample may be named
// without the last part of its name.
func File(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(Dir(t), filepath.FromSlash(name))
	for _, ext := range []string{"", ".gz", ".bz2", ".xz"} {
		if info, err := os.Stat(path + ext); err == nil && info.Mode().IsRegular() {
			return path + ext
		}
	}
	t.Fatalf("TROY_SAMPLES=%s has no %s", Dir(t), name)
	return ""
}

// Unpack writes a sample that is compressed by gzip, bzip2 or xz into dir, under its own name, and
// returns its path. Zeros become holes: much of the samples is empty.
func Unpack(t testing.TB, dir, name string) string {
	t.Helper()
	packed := File(t, name)
	in, err := os.Open(packed)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var r io.Reader = in
	ext := filepath.Ext(packed)
	switch ext {
	case ".gz":
		r, err = gzip.NewReader(in)
	case ".bz2":
		r = bzip2.NewReader(in)
	case ".xz":
		r, err = xz.NewReader(bufio.NewReader(in)) // it asks for single bytes
	default:
		t.Fatalf("%s is not compressed by gzip, bzip2 or xz", packed)
	}
	path := filepath.Join(dir, strings.TrimSuffix(filepath.Base(packed), ext))
	if err == nil {
		err = writeSparse(path, r)
	}
	if err != nil {
		t.Fatalf("%s: %v", packed, err)
	}
	return path
}

// writeSparse writes r to path and leaves holes for zeros.
func writeSparse(path string, r io.Reader) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 64<<10)
	for at := int64(0); ; {
		n, end, err := fill(r, buf)
		if err != nil {
			return err
		}
		if !block.IsZero(buf[:n]) {
			if _, err := f.WriteAt(buf[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
		if end {
			return f.Truncate(at)
		}
	}
}

// fill reads until buf is full or r ends. io.ReadFull has one error for an end inside of buf and
// for compressed content that is cut off.
func fill(r io.Reader, buf []byte) (n int, end bool, err error) {
	for n < len(buf) && err == nil {
		var k int
		k, err = r.Read(buf[n:])
		n += k
	}
	if err == io.EOF {
		return n, true, nil
	}
	return n, false, err
}
