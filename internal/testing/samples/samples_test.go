package samples

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"
)

// recorder is a test that notes what would end it.
type recorder struct {
	testing.TB
	skipped, failed string
}

// end is what a recorder panics with in place of ending a test.
type end struct{}

func (r *recorder) Helper()                   {}
func (r *recorder) Skip(a ...any)             { r.skipped = fmt.Sprint(a...); panic(end{}) }
func (r *recorder) Skipf(f string, a ...any)  { r.Skip(fmt.Sprintf(f, a...)) }
func (r *recorder) Fatal(a ...any)            { r.failed = fmt.Sprint(a...); panic(end{}) }
func (r *recorder) Fatalf(f string, a ...any) { r.Fatal(fmt.Sprintf(f, a...)) }

// record runs f as a test and returns what became of it.
func record(f func(t testing.TB)) (r *recorder) {
	r = &recorder{}
	defer func() {
		if p := recover(); p != nil && p != any(end{}) {
			panic(p)
		}
	}()
	f(r)
	return r
}

func TestNoSamples(t *testing.T) {
	for name, dir := range map[string]string{"not set": "", "not there": filepath.Join(t.TempDir(), "nowhere"), "a file": file(t, t.TempDir(), "x", nil)} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TROY_SAMPLES", dir)
			for what, f := range map[string]func(testing.TB){
				"Dir":    func(t testing.TB) { Dir(t) },
				"File":   func(t testing.TB) { File(t, "x") },
				"Unpack": func(t testing.TB) { Unpack(t, "", "x") },
			} {
				if r := record(f); !strings.HasPrefix(r.skipped, "no samples: TROY_SAMPLES") || r.failed != "" {
					t.Errorf("%s: skipped %q, failed %q", what, r.skipped, r.failed)
				}
			}
		})
	}
}

func TestFile(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	t.Setenv("TROY_SAMPLES", dir)
	content := append(bytes.Repeat([]byte("content"), 20000), make([]byte, 300000)...)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(content)
	z.Close()
	plain := file(t, dir, "plain", content)
	whole := file(t, dir, "whole.gz", packed.Bytes())
	file(t, dir, "cut.gz", packed.Bytes()[:packed.Len()/2])

	if got := File(t, "plain"); got != plain {
		t.Errorf("File = %s, want %s", got, plain)
	}
	wholeXZ := file(t, dir, "other.xz", packXZ(t, content))
	for name, want := range map[string]string{"whole": whole, "whole.gz": whole, "other": wholeXZ, "other.xz": wholeXZ} {
		if got := File(t, name); got != want {
			t.Errorf("File(%s) = %s, want %s", name, got, want)
		}
		path := Unpack(t, out, name)
		base := strings.TrimSuffix(filepath.Base(want), filepath.Ext(want))
		if b, err := os.ReadFile(path); err != nil || path != filepath.Join(out, base) || !bytes.Equal(b, content) {
			t.Errorf("Unpack(%s) = %s, %d bytes, %v", name, path, len(b), err)
		}
	}
	for name, f := range map[string]func(t testing.TB){
		"missing":      func(t testing.TB) { File(t, "missing") },
		"a folder":     func(t testing.TB) { File(t, ".") },
		"not packed":   func(t testing.TB) { Unpack(t, out, "plain") },
		"cut off":      func(t testing.TB) { Unpack(t, out, "cut") },
		"to a nowhere": func(t testing.TB) { Unpack(t, filepath.Join(out, "no", "where"), "whole") },
	} {
		if r := record(f); r.failed == "" || r.skipped != "" {
			t.Errorf("%s: skipped %q, failed %q", name, r.skipped, r.failed)
		}
	}
}

func packXZ(t *testing.T, b []byte) []byte {
	t.Helper()
	var packed bytes.Buffer
	w, err := xz.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

func file(t *testing.T, dir, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
