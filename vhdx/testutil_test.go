package vhdx

import (
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"troy/internal/block"
)

// memFile is a sparse file in memory.
type memFile struct {
	mu    sync.RWMutex
	pages map[int64]*[pageSize]byte
	size  int64
	under *memFile // what pages not held here come from; must not change meanwhile
}

// page returns the page to be read, nil for zeros.
func (m *memFile) page(i int64) *[pageSize]byte {
	for ; m != nil; m = m.under {
		if pg := m.pages[i]; pg != nil {
			return pg
		}
	}
	return nil
}

// own returns the page to be written.
func (m *memFile) own(i int64) *[pageSize]byte {
	pg := m.pages[i]
	if pg == nil {
		pg = new([pageSize]byte)
		if old := m.page(i); old != nil {
			*pg = *old
		}
		m.pages[i] = pg
	}
	return pg
}

// over returns a file that starts as m, for as long as m does not change.
func (m *memFile) over() *memFile {
	return &memFile{pages: map[int64]*[pageSize]byte{}, size: m.size, under: m}
}

func newMemFile() *memFile { return &memFile{pages: map[int64]*[pageSize]byte{}} }

func (m *memFile) ReadAt(p []byte, off int64) (n int, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if off >= m.size {
		return 0, io.EOF
	}
	if int64(len(p)) > m.size-off {
		p, err = p[:m.size-off], io.EOF
	}
	for n < len(p) {
		at := off + int64(n)
		k := min(len(p)-n, int(pageSize-at%pageSize))
		if pg := m.page(at / pageSize); pg != nil {
			copy(p[n:n+k], pg[at%pageSize:])
		} else {
			clear(p[n : n+k])
		}
		n += k
	}
	return n, err
}

func (m *memFile) WriteAt(p []byte, off int64) (n int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n < len(p) {
		at := off + int64(n)
		k := min(len(p)-n, int(pageSize-at%pageSize))
		if m.page(at/pageSize) != nil || !block.IsZero(p[n:n+k]) {
			copy(m.own(at / pageSize)[at%pageSize:], p[n:n+k])
		}
		n += k
	}
	m.size = max(m.size, off+int64(len(p)))
	return n, nil
}

func (m *memFile) Sync() error { return nil }

func (m *memFile) Truncate(size int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for f := m; f != nil && size < m.size; f = f.under {
		for i := range f.pages {
			switch {
			case i*pageSize >= size && m.under == nil:
				delete(m.pages, i)
			case (i+1)*pageSize > size:
				clear(m.own(i)[max(size-i*pageSize, 0):])
			}
		}
	}
	m.size = size
	return nil
}

func (m *memFile) clone() *memFile {
	c := newMemFile()
	c.size = m.size
	for i, pg := range m.pages {
		d := *pg
		c.pages[i] = &d
	}
	return c
}

// save writes the file to path, sparse.
func (m *memFile) save(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	must(t, f.Truncate(m.size))
	var idx []int64
	for i := range m.pages {
		idx = append(idx, i)
	}
	sort.Slice(idx, func(i, j int) bool { return idx[i] < idx[j] })
	for _, i := range idx {
		_, err := f.WriteAt(m.pages[i][:min(pageSize, m.size-i*pageSize)], i*pageSize)
		must(t, err)
	}
	must(t, f.Close())
	return path
}

// fixedStorage is a storage that cannot grow, full of old content.
type fixedStorage struct {
	m     *memFile
	limit int64
}

func (s fixedStorage) ReadAt(p []byte, off int64) (int, error) { return s.m.ReadAt(p, off) }
func (s fixedStorage) Sync() error                             { return nil }
func (s fixedStorage) WriteAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > s.limit {
		return 0, fmt.Errorf("write of %d bytes at %#x past the end of the device", len(p), off)
	}
	return s.m.WriteAt(p, off)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// seeded returns a random source whose seed is printed; VHDX_SEED repeats a run.
func seeded(t testing.TB) *rand.Rand {
	seed := time.Now().UnixNano()
	if s := os.Getenv("VHDX_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseInt(s, 10, 64)
		must(t, err)
	}
	t.Logf("VHDX_SEED=%d", seed)
	return rand.New(rand.NewSource(seed))
}

// soak scales the counts of random campaigns.
func soak(n int) int {
	if os.Getenv("TROY_SOAK") == "1" {
		return 20 * n
	}
	return n
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	r.Read(b)
	return b
}

// openMem opens a file in memory, writable or not.
func openMem(t testing.TB, m *memFile, writable bool) *File {
	t.Helper()
	f, err := OpenStorage(m, m.size, &OpenOptions{Writable: writable})
	must(t, err)
	return f
}

// createMem makes a disk in memory and closes it.
func createMem(t testing.TB, o *CreateOptions) *memFile {
	t.Helper()
	m := newMemFile()
	f, err := CreateStorage(m, o)
	must(t, err)
	must(t, f.Close())
	return m
}

func chainOf(t testing.TB, leafFirst ...*File) *Chain {
	t.Helper()
	c, err := NewChain(leafFirst...)
	must(t, err)
	return c
}

func readAll(t testing.TB, c *Chain) []byte {
	t.Helper()
	b := make([]byte, c.Size())
	if n, err := c.ReadAt(b, 0); n != len(b) {
		t.Fatalf("reading the disk: %d bytes, %v", n, err)
	}
	return b
}

func md5Of(t testing.TB, r io.ReaderAt, size int64) string {
	t.Helper()
	h := md5.New()
	_, err := io.CopyBuffer(h, io.NewSectionReader(r, 0, size), make([]byte, mib))
	must(t, err)
	return fmt.Sprintf("%x", h.Sum(nil))
}

// sameBytes fails with the first difference.
func sameBytes(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d bytes, want %d", what, len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s: byte %#x is %#02x, want %#02x", what, i, got[i], want[i])
		}
	}
}

// run runs a program that the tests need; a missing one fails.
func run(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	var out, errb bytes.Buffer
	c := exec.Command(name, args...)
	c.Stdout, c.Stderr = &out, &errb
	if err := c.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out.Bytes()[:min(out.Len(), 500)], errb.Bytes())
	}
	return out.Bytes()
}

// sevenZip returns the virtual disk as 7-Zip reads it, parents included when
// they are in the same folder.
func sevenZip(t testing.TB, path string) []byte {
	t.Helper()
	return run(t, "7zz", "x", "-so", "-tvhdx", path)
}

// qemuCheck is qemu-img check on a disk without parent.
func qemuCheck(t testing.TB, path string) {
	t.Helper()
	run(t, "qemu-img", "check", "-f", "vhdx", path)
}

// qemuRaw returns the virtual disk as QEMU reads it.
func qemuRaw(t testing.TB, path string) []byte {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "disk.raw")
	run(t, "qemu-img", "convert", "-f", "vhdx", "-O", "raw", path, raw)
	b, err := os.ReadFile(raw)
	must(t, err)
	return b
}

// checkClean is Check without any finding at or above Warning.
func checkClean(t testing.TB, r io.ReaderAt, size int64) {
	t.Helper()
	rep, err := Check(r, size, nil)
	must(t, err)
	if !rep.OK() {
		t.Fatalf("Check: %v", rep.Findings)
	}
}

// stream compares what 7-Zip reads with c, without holding either.
func stream(t testing.TB, path string, c *Chain) {
	t.Helper()
	cmd := exec.Command("7zz", "x", "-so", "-tvhdx", path)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	a, b := make([]byte, mib), make([]byte, mib)
	for off := int64(0); off < c.Size(); off += int64(len(a)) {
		n := min(int64(len(a)), c.Size()-off)
		_, err := io.ReadFull(out, a[:n])
		must(t, err)
		_, err = c.ReadAt(b[:n], off)
		must(t, err)
		if !bytes.Equal(a[:n], b[:n]) {
			t.Fatalf("7-Zip reads something else between %#x and %#x", off, off+n)
		}
	}
	must(t, cmd.Wait())
}

func isNoSpace(err error) bool { return errors.Is(err, ErrNoSpace) }

// memoryOf returns by how much the heap grew at most while f ran.
func memoryOf(f func()) int64 {
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak := int64(0)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			runtime.ReadMemStats(&now)
			peak = max(peak, int64(now.HeapInuse)-int64(before.HeapInuse))
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	f()
	close(stop)
	<-done
	return peak
}
