package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/vhdx"
)

// result is what one run of the command gave.
type result struct {
	code        int
	out, errOut string
}

// troyVHDX runs "troy vhdx" with args.
func troyVHDX(args ...string) result {
	return troyVHDXContext(context.Background(), args...)
}

func troyVHDXContext(ctx context.Context, args ...string) result {
	var out, errOut bytes.Buffer
	code := run(ctx, append([]string{"vhdx"}, args...), &out, &errOut)
	return result{code, out.String(), errOut.String()}
}

// wantVHDX runs a command that has to end with code, and returns its standard output.
func wantVHDX(t *testing.T, code int, args ...string) string {
	t.Helper()
	r := troyVHDX(args...)
	if r.code != code {
		t.Fatalf("troy vhdx %q: exit code %d, want %d\n%s%s", args, r.code, code, r.out, r.errOut)
	}
	return r.out
}

// refuseVHDX runs a command that has to fail with code 1, in one line that holds all of words.
func refuseVHDX(t *testing.T, args []string, words ...string) {
	t.Helper()
	r := troyVHDX(args...)
	if r.code != exitFailed {
		t.Errorf("troy vhdx %q: exit code %d, want %d\n%s%s", args, r.code, exitFailed, r.out, r.errOut)
		return
	}
	lines := strings.Split(strings.TrimSuffix(r.errOut, "\n"), "\n")
	last := lines[len(lines)-1]
	for _, w := range append(words, "troy: ") {
		if !strings.Contains(last, w) {
			t.Errorf("troy vhdx %q says %q, want it to hold %q", args, last, w)
		}
	}
}

// fromJSON runs a command with --json and decodes what it prints.
func fromJSON[T any](t *testing.T, code int, args ...string) T {
	t.Helper()
	var v T
	out := wantVHDX(t, code, append([]string{args[0], "--json"}, args[1:]...)...)
	d := json.NewDecoder(strings.NewReader(out))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("troy vhdx %q --json: %v\n%s", args, err, out)
	}
	return v
}

// writeSparse makes a file whose zeros take no space: much of the samples is empty, and disks are
// slow.
func writeSparse(t *testing.T, path string, r io.Reader) {
	t.Helper()
	out, err := os.Create(path)
	must(t, err)
	buf, zero, at := make([]byte, 64<<10), make([]byte, 64<<10), int64(0)
	for err == nil {
		var n int
		n, err = io.ReadFull(r, buf)
		if !bytes.Equal(buf[:n], zero[:n]) {
			_, werr := out.WriteAt(buf[:n], at)
			must(t, werr)
		}
		at += int64(n)
	}
	if err != io.EOF && err != io.ErrUnexpectedEOF {
		t.Fatal(err)
	}
	must(t, out.Truncate(at))
	must(t, out.Close())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tool runs a program that this project did not write; if it is missing the test fails.
func tool(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		t.Fatalf("%q: %v\n%.500s%s", args, err, out.Bytes(), errOut.Bytes())
	}
	return out.Bytes()
}

func sum(b []byte) string {
	s := md5.Sum(b)
	return hex.EncodeToString(s[:])
}

// fileSum returns the md5 of a file. Holes are not read: they are most of what a disk has.
func fileSum(t *testing.T, path string) string {
	t.Helper()
	f, err := vhdx.OpenRaw(path)
	must(t, err)
	defer f.Close()
	h, zero := md5.New(), make([]byte, 64<<10)
	for e, err := range f.Extents(0, f.Size()) {
		must(t, err)
		if e.Kind == vhdx.Data {
			_, err := io.Copy(h, io.NewSectionReader(f, e.Offset, e.Length))
			must(t, err)
			continue
		}
		for n := e.Length; n > 0; n -= int64(len(zero)) {
			h.Write(zero[:min(n, int64(len(zero)))])
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// sameRaw fails unless two images show the same. Only what is not zero in one of them is read.
func sameRaw(t *testing.T, a, b string) {
	t.Helper()
	sums := [2]string{}
	for i, path := range []string{a, b} {
		f, err := vhdx.OpenRaw(path)
		must(t, err)
		h, buf, zero := md5.New(), make([]byte, 64<<10), make([]byte, 64<<10)
		step := int64(len(buf))
		next := int64(0)
		for e, err := range f.Extents(0, f.Size()) {
			must(t, err)
			for at := max(e.Offset/step*step, next); e.Kind == vhdx.Data && at < e.Offset+e.Length; at += step {
				n, err := f.ReadAt(buf, at)
				if err != io.EOF {
					must(t, err)
				}
				if next = at + step; !bytes.Equal(buf[:n], zero[:n]) {
					fmt.Fprintf(h, "%d %d ", at, n)
					h.Write(buf[:n])
				}
			}
		}
		sums[i] = fmt.Sprintf("%x, %d bytes", h.Sum(nil), f.Size())
		must(t, f.Close())
	}
	if sums[0] != sums[1] {
		t.Errorf("%s and %s differ: %v", a, b, sums)
	}
}

func copyFile(t *testing.T, from, to string) string {
	t.Helper()
	f, err := os.Open(from)
	must(t, err)
	defer f.Close()
	writeSparse(t, to, f)
	return to
}

// diskSum returns the md5 of what a disk shows, by way of convert --to raw.
func diskSum(t *testing.T, args ...string) string {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "disk.raw")
	wantVHDX(t, 0, append(append([]string{"convert", "--to", "raw"}, args...), raw)...)
	return fileSum(t, raw)
}

// seeded returns a source of randomness whose seed is in the log.
func seeded(t *testing.T) *rand.Rand {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewSource(seed))
}

// scribble writes n runs of random length and content at random places of a disk of len(model)
// bytes, and to model.
func scribble(t *testing.T, r *rand.Rand, w io.WriterAt, model []byte, n int) {
	t.Helper()
	for range n {
		off := r.Intn(len(model))
		b := make([]byte, min(1+r.Intn(300<<10), len(model)-off))
		r.Read(b)
		copy(model[off:], b)
		_, err := w.WriteAt(b, int64(off))
		must(t, err)
	}
}

// randomRaw makes a raw image with holes and returns its content.
func randomRaw(t *testing.T, r *rand.Rand, path string, size int) []byte {
	t.Helper()
	model := make([]byte, size)
	f, err := os.Create(path)
	must(t, err)
	must(t, f.Truncate(int64(size)))
	scribble(t, r, f, model, 20)
	must(t, f.Close())
	return model
}

// scribbleChild writes into a child, over the parents given.
func scribbleChild(t *testing.T, r *rand.Rand, path string, model []byte, n int, parents ...string) {
	t.Helper()
	c, err := vhdx.OpenChain(path, &vhdx.ChainOptions{Writable: true, Parents: &vhdx.Parents{Named: parents}})
	must(t, err)
	scribble(t, r, c, model, n)
	must(t, c.Sync())
	must(t, c.Close())
}

// onlyFiles fails unless dir holds exactly these names.
func onlyFiles(t *testing.T, dir string, names ...string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	must(t, err)
	var have []string
	for _, e := range list {
		have = append(have, e.Name())
	}
	if strings.Join(have, " ") != strings.Join(names, " ") {
		t.Errorf("%s holds %q, want %q", dir, have, names)
	}
}
