package publish_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"troy/image"
	"troy/image/publish"
	"troy/internal/testing/imagetest"
	"troy/internal/testing/needs"
)

// The limits in MiB, of whole processes: a publisher's disk of 64 GiB, a client's plan.
const (
	publishMemory = 256
	planMemory    = 64
)

// bigDisk is a disk whose first pages hold data that is made when it is read. In version 2 of three
// blocks of four pages one is as before, one is new, one has moved.
type bigDisk struct {
	version int
	pages   int64 // of data
	size    int64
}

const bigSize = 64 << 30

func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// content is what a page holds, as a number.
func (d bigDisk) content(page int64) uint64 {
	block := uint64(page / 4)
	switch h := mix(block + 1); {
	case d.version == 1 || h%3 == 0:
		return uint64(page)
	case h%3 == 1:
		return uint64(page) + 1<<40
	default:
		return (h>>8%uint64(d.pages/4))*4 + uint64(page%4)
	}
}

// ReadAt reads whole pages.
func (d bigDisk) ReadAt(p []byte, off int64) (int, error) {
	if off%image.PageSize != 0 || len(p)%image.PageSize != 0 {
		return 0, fmt.Errorf("read of %d bytes at %d", len(p), off)
	}
	for i := 0; i < len(p); i += image.PageSize {
		b, page := p[i:i+image.PageSize], (off+int64(i))/image.PageSize
		if page >= d.pages {
			clear(b)
			continue
		}
		c := d.content(page)
		for k := range uint64(16) {
			binary.LittleEndian.PutUint64(b[k*8:], mix(c<<4+k))
		}
		for n := 128; n < image.PageSize; n *= 2 {
			copy(b[n:], b[:n])
		}
	}
	return len(p), nil
}

func (d bigDisk) named() iter.Seq2[image.Range, error] {
	return func(yield func(image.Range, error) bool) {
		for b := range d.pages / 4 {
			if mix(uint64(b)+1)%3 != 0 && !yield(image.Range{Offset: b * 4 * image.PageSize, Length: 4 * image.PageSize}, nil) {
				return
			}
		}
	}
}

func (d bigDisk) disk() *publish.Disk {
	disk := &publish.Disk{Reader: d, Size: d.size, SectorSize: 512, DataWriteGUID: imagetest.GUID(d.version), Data: imagetest.RangeSeq([]image.Range{{Offset: 0, Length: d.pages * image.PageSize}})}
	disk.Since = func(string) (*publish.Delta, error) {
		return &publish.Delta{Parent: bigDisk{1, d.pages, d.size}, ParentSize: d.size, Changed: d.named()}, nil
	}
	return disk
}

// TestMemory publishes and plans in processes of their own and compares the most memory that each
// ever had with the limits.
func TestMemory(t *testing.T) {
	needs.Time(t)
	dir := filepath.Join(t.TempDir(), "store")
	pages := int64(imagetest.Soak(1<<29)) / image.PageSize
	t.Logf("publish: %d MiB of at most %d", child(t, "publish", dir, pages, publishMemory), publishMemory)
	for _, way := range []string{"local", "plan", "first"} {
		t.Logf("%s: %d MiB of at most %d", way, child(t, way, dir, pages, planMemory), planMemory)
	}
}

// flatMemory is how many MiB more the import of a disk of 256 GiB may take than that of one of 1
// GiB with the same content: 32 bytes for each MiB, some of them several times.
const flatMemory = 64

// TestMemoryIsFlat imports the same content on a small and on a large disk.
func TestMemoryIsFlat(t *testing.T) {
	dir := t.TempDir()
	small := child(t, "1", filepath.Join(dir, "small"), 16<<20/image.PageSize, publishMemory)
	large := child(t, "256", filepath.Join(dir, "large"), 16<<20/image.PageSize, publishMemory)
	if t.Logf("1 GiB: %d MiB, 256 GiB: %d", small, large); large > small+flatMemory {
		t.Errorf("256 GiB take %d MiB more than 1 GiB, allowed are %d", large-small, flatMemory)
	}
}

// importFlat imports a disk of so many GiB.
func importFlat(t *testing.T, dir string, pages int64, gib string) {
	n, err := strconv.ParseInt(gib, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	s, err := publish.Init(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := publish.Import(t.Context(), s, "pc", bigDisk{1, pages, n << 30}.disk(), nil); err != nil {
		t.Fatal(err)
	}
}

var highWater = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

func child(t *testing.T, what, dir string, pages, limit int64) int64 {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestMemoryChild$", "-test.v")
	cmd.Env = append(os.Environ(), "TROY_MEMORY_CHILD="+what, "TROY_MEMORY_STORE="+dir, "TROY_MEMORY_PAGES="+strconv.FormatInt(pages, 10))
	out, err := cmd.CombinedOutput()
	m := highWater.FindSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("%s: %v\n%s", what, err, out)
	}
	kb, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", out)
	if kb>>10 > limit {
		t.Errorf("%s took %d MiB, allowed are %d", what, kb>>10, limit)
	}
	return kb >> 10
}

// TestMemoryChild is the process that TestMemory starts; by itself it has nothing to do.
func TestMemoryChild(t *testing.T) {
	what, dir := os.Getenv("TROY_MEMORY_CHILD"), os.Getenv("TROY_MEMORY_STORE")
	pages, _ := strconv.ParseInt(os.Getenv("TROY_MEMORY_PAGES"), 10, 64)
	switch what {
	case "":
		return
	case "publish":
		publishBig(t, dir, pages)
	case "1", "256":
		importFlat(t, dir, pages, what)
	default:
		planBig(t, what, dir)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", highWater.Find(status))
}

func publishBig(t *testing.T, dir string, pages int64) {
	s, err := publish.Init(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := publish.Import(t.Context(), s, "pc", bigDisk{1, pages, bigSize}.disk(), nil); err != nil {
		t.Fatal(err)
	}
	m, err := publish.Add(t.Context(), s, "pc", bigDisk{2, pages, bigSize}.disk(), nil)
	if err != nil {
		t.Fatal(err)
	}
	f := m.Figures
	t.Logf("version 2: %+v, notes %q", f, m.Notes)
	if f.Changed < pages*image.PageSize/2 || f.Shipped < f.Changed/3 || f.Copied == 0 {
		t.Fatal("the disk did not change as it should")
	}
}

func planBig(t *testing.T, what, dir string) {
	s, err := image.OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	have, load := 1, image.LoadPlan
	switch what {
	case "local":
		load = image.LoadLocalPlan
	case "first":
		have = 0
	}
	p, err := load(t.Context(), s, "pc", have, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d runs, %d bytes to write, %d to fetch, %d to copy", len(p.Runs()), p.WriteBytes, p.FetchBytes, p.CopyBytes)
}

var _ io.ReaderAt = bigDisk{}
