package corpus

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troy/image"
	"troy/image/publish"
	"troy/image/unused"
	"troy/internal/testing/needs"
	"troy/vhdx"
)

const page = image.PageSize

// goals of publishing, see doc.go.
const (
	overNew   = 1.05 // shipped bytes over the compressed truly new pages, at most
	underVHDX = 5.0  // bytes of the compressed differencing file over the shipped ones, at least
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func tool(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	var errs bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, errs.Bytes())
	}
	return out
}

func size(t testing.TB, path string) int64 {
	t.Helper()
	st, err := os.Stat(path)
	must(t, err)
	return st.Size()
}

// zstd returns the size of a file as the zstd program packs it, at the level of publishing.
func zstd(t testing.TB, path string) int64 {
	t.Helper()
	out := path + ".zst"
	tool(t, "zstd", "-q", "-f", "-T2", fmt.Sprintf("-%d", publish.DefaultLevel), "-o", out, path)
	defer os.Remove(out)
	return size(t, out)
}

// makePair makes the corpus once for all tests of a run.
func makePair(t testing.TB, o *Options) (*Pair, string) {
	t.Helper()
	dir := t.TempDir()
	programs := filepath.Join(os.Getenv("TROY_CACHE"), "programs")
	if _, err := os.Stat(filepath.Join(programs, "done")); err != nil {
		t.Fatalf("no Windows programs in TROY_CACHE, run make deps: %v", err)
	}
	p, err := Make(t.Context(), dir, programs, o)
	must(t, err)
	return p, dir
}

// zeroDisk is an endless disk of zeros.
type zeroDisk struct{}

func (zeroDisk) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }

// writeChanges writes each page of now that differs from before, but those that skip names, and
// returns how many bytes that were.
func writeChanges(t testing.TB, now string, before io.ReaderAt, w io.WriterAt, skip func(p int64) bool) (n int64) {
	t.Helper()
	f, err := os.Open(now)
	must(t, err)
	defer f.Close()
	a, b := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); off < size(t, now); off += int64(len(a)) {
		k, err := f.ReadAt(a, off)
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if _, err := before.ReadAt(b[:k], off); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		for i := 0; i < k; i += page {
			if bytes.Equal(a[i:i+page], b[i:i+page]) || skip != nil && skip((off+int64(i))/page) {
				continue
			}
			_, err := w.WriteAt(a[i:i+page], off+int64(i))
			must(t, err)
			n += page
		}
	}
	return n
}

// makeBase makes a dynamic VHDX of version 1.
func makeBase(t testing.TB, p *Pair, base string) {
	t.Helper()
	f, err := vhdx.Create(base, &vhdx.CreateOptions{Size: size(t, p.V1)})
	must(t, err)
	c, err := vhdx.NewChain(f)
	must(t, err)
	writeChanges(t, p.V1, zeroDisk{}, c, nil)
	must(t, c.Close())
}

// makeChild makes the differencing disk that Windows ran in, with blocks of 2 MiB, and returns the
// bytes written into it.
func makeChild(t testing.TB, p *Pair, base, child string, skip func(p int64) bool) (changed int64) {
	t.Helper()
	parent, err := vhdx.Open(base, nil)
	must(t, err)
	f, err := vhdx.Create(child, &vhdx.CreateOptions{Kind: vhdx.Differencing, Parent: parent})
	must(t, err)
	c, err := vhdx.NewChain(f, parent)
	must(t, err)
	v1, err := os.Open(p.V1)
	must(t, err)
	defer v1.Close()
	changed = writeChanges(t, p.V2, v1, c, skip)
	must(t, c.Close())
	return changed
}

// changedData writes the changed pages of version 2 that are not zeros into a file.
func changedData(t testing.TB, p *Pair, out string) {
	t.Helper()
	v1, err := os.Open(p.V1)
	must(t, err)
	defer v1.Close()
	f, err := os.Create(out)
	must(t, err)
	writeChanges(t, p.V2, v1, appender{f}, nil)
	must(t, f.Close())
}

// appender writes pages that are not zeros one behind the other.
type appender struct{ w io.Writer }

func (a appender) WriteAt(p []byte, _ int64) (int, error) {
	if len(bytes.Trim(p, "\x00")) == 0 {
		return len(p), nil
	}
	return a.w.Write(p)
}

func chain(t testing.TB, path string) *vhdx.Chain {
	t.Helper()
	c, err := vhdx.OpenChain(path, &vhdx.ChainOptions{Parents: &vhdx.Parents{}})
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// published is what one way of publishing gives.
type published struct {
	*image.Manifest
	store *image.Store
	took  time.Duration
}

// publishPair publishes version 2 with and without copies. Version 1 is packed fast: nothing is
// said about it.
func publishPair(t testing.TB, base, child string) (full, plain published) {
	t.Helper()
	s, err := publish.Init(filepath.Join(t.TempDir(), "store"))
	must(t, err)
	filter := unused.Filter{}
	_, err = publish.Import(t.Context(), s, "pc", publish.ChainDisk(chain(t, base)), &publish.Options{Filter: filter, Level: 1})
	must(t, err)
	add := func(o *publish.Options) published {
		began := time.Now()
		m, err := publish.Add(t.Context(), s, "pc", publish.ChainDisk(chain(t, child)), o)
		must(t, err)
		return published{m, s, time.Since(began)}
	}
	plain = add(&publish.Options{Filter: filter, NoCopies: true})
	must(t, publish.Remove(t.Context(), s, "pc", plain.Version))
	return add(&publish.Options{Filter: filter}), plain
}

// bytes is what a machine with version 1 fetches: the chunks and the layer table.
func (p published) bytes() int64 { return p.Pack.Size + p.Table.Size }

// others are the ways of other programs: bytes as they come, and packed by zstd.
func others(t testing.TB, p *Pair, dir string) (rows [][3]any) {
	t.Helper()
	add := func(name, path string) {
		rows = append(rows, [3]any{name, size(t, path), zstd(t, path)})
		os.Remove(path)
	}
	overlay := filepath.Join(dir, "overlay.qcow2")
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", p.V2, "-F", "raw", overlay)
	tool(t, "qemu-img", "rebase", "-q", "-b", p.V1, "-F", "raw", overlay)
	add("qcow2 overlay (qemu-img rebase)", overlay)

	folder, batch := filepath.Join(dir, "rsync"), filepath.Join(dir, "batch")
	must(t, os.MkdirAll(folder, 0o755))
	must(t, os.Link(p.V1, filepath.Join(folder, "v2.raw")))
	tool(t, "rsync", "--no-whole-file", "--ignore-times", "--only-write-batch="+batch, p.V2, folder+"/")
	os.Remove(batch + ".sh")
	add("rsync --only-write-batch", batch)

	delta := filepath.Join(dir, "delta.xd3")
	tool(t, "xdelta3", "-e", "-f", "-3", "-S", "none", "-B", fmt.Sprint(min(512<<20, size(t, p.V1))), "-s", p.V1, p.V2, delta)
	add("xdelta3 -3", delta)
	rows = append(rows, [3]any{"whole disk", size(t, p.V2), zstd(t, p.V2)})
	return rows
}

// measure makes the table, prints it, and asserts the goals.
func measure(t testing.TB, o *Options, beside bool) {
	began := time.Now()
	p, dir := makePair(t, o)
	made := time.Since(began)
	in := func(name string) string { return filepath.Join(dir, name) }
	base, child, small := in("base.vhdx"), in("child.vhdx"), in("small.vhdx")
	makeBase(t, p, base)
	changed := makeChild(t, p, base, child, nil)
	u := usage(t, p.Volume2)
	makeChild(t, p, base, small, func(n int64) bool { return u.memory[n-VolumeStart/page] })
	fresh := newPages(t, p, in("new"))
	changedData(t, p, in("changed"))
	packedNew, packedChild := zstd(t, in("new")), zstd(t, child)
	prepared := time.Since(began)
	full, plain := publishPair(t, base, child)
	f := full.Figures
	if f.Changed < changed || f.Changed > changed+changed/10 { // more: what was undefined and is used now, unchanged
		t.Errorf("%d bytes changed, publishing says %d", changed, f.Changed)
	}
	if f.Shipped != fresh {
		t.Errorf("%d bytes are truly new, shipped were %d", fresh, f.Shipped)
	}
	var b strings.Builder
	row := func(name string, raw, packed int64) {
		fmt.Fprintf(&b, "%-44s %12d %12d %8.2f\n", name, raw, packed, float64(packed)/float64(full.bytes()))
	}
	fmt.Fprintf(&b, "\n%-44s %12s %12s %8s\n%-44s %12d\n", "bytes", "as it is", "zstd", "of Troy", "changed, in pages of 4 KiB", f.Changed)
	row("  without equal and zero pages", size(t, in("changed")), zstd(t, in("changed")))
	row("  without undefined pages too", plain.Figures.Shipped, plain.bytes())
	row("  without copied pages too: shipped by Troy", f.Shipped, full.bytes())
	row("truly new pages (counted apart)", fresh, packedNew)
	row("differencing VHDX, blocks of 2 MiB", size(t, child), packedChild)
	row("  without the memory files", size(t, small), zstd(t, small))
	if beside {
		for _, r := range others(t, p, dir) {
			row(r[0].(string), r[1].(int64), r[2].(int64))
		}
	}
	fmt.Fprintf(&b, "pack %d, layer table %d, map %d; equal %d, zero %d, undefined %d, copied %d, scanned %d\n",
		full.Pack.Size, full.Table.Size, full.Map.Size, f.Equal, f.Zero, f.Undefined, f.Copied, f.Scanned)
	fmt.Fprintf(&b, "made in %v, prepared in %v, published in %v, without copies in %v, all in %v\n", made, prepared, full.took, plain.took, time.Since(began))
	if _, bench := t.(*testing.B); bench { // whose Log cuts off after ten lines
		fmt.Println(b.String())
	} else {
		t.Log(b.String())
	}
	checkMachine(t, full, p)

	if got := float64(full.bytes()) / float64(packedNew); got > overNew {
		t.Errorf("shipped %.3f times the truly new pages, the goal is %.2f", got, overNew)
	}
	if got := float64(packedChild) / float64(full.bytes()); got < underVHDX {
		t.Errorf("the differencing file is %.2f times what is shipped, the goal is %.1f", got, underVHDX)
	}
}

// memory is a disk.
type memory []byte

func (m memory) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }

// checkMachine brings a machine from version 1 to 2 by a plan with local copies, on a disk whose
// undefined pages hold something else: each used page must be right.
func checkMachine(t testing.TB, full published, p *Pair) {
	t.Helper()
	disk, err := os.ReadFile(p.V1)
	must(t, err)
	u1, u2 := usage(t, p.Volume1), usage(t, p.Volume2)
	for n := range int64(len(disk)) / page {
		if !u1.has(n) {
			copy(disk[n*page:], "nobody uses this page, so it may hold anything")
		}
	}
	plan, err := image.LoadLocalPlan(t.Context(), full.store, "pc", 1, full.Version)
	must(t, err)
	_, err = plan.Fetch(t.Context(), full.store, memory(disk), &image.FetchOptions{Local: bytes.NewReader(bytes.Clone(disk))})
	must(t, err)
	if plan.FetchBytes != full.Pack.Size-16 {
		t.Errorf("a machine with version 1 fetches %d bytes of a pack of %d", plan.FetchBytes, full.Pack.Size)
	}
	wrong := 0
	eachPage(t, p.V2, func(n int64, b []byte) {
		if u2.has(n) && !bytes.Equal(b, disk[n*page:(n+1)*page]) {
			wrong++
		}
	})
	if wrong > 0 {
		t.Errorf("%d used pages differ on the machine", wrong)
	}
}

// TestCorpus measures the small corpus; with TROY_SOAK=1 a larger one, beside the other programs.
func TestCorpus(t *testing.T) {
	needs.Root(t)
	if os.Getenv("TROY_SOAK") == "1" {
		measure(t, &Options{VolumeSize: 1 << 30, Programs: 160 << 20, PageFile: 96 << 20}, true)
		return
	}
	measure(t, nil, false)
}

// BenchmarkCorpus prints the whole table, other programs included.
func BenchmarkCorpus(b *testing.B) {
	for b.Loop() {
		measure(b, nil, true)
	}
}
