package pcdisk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/ntfs"
	"troy/internal/block"
	"troy/internal/testing/needs"
)

// volumeOn makes the NTFS volume with its files on an existing partition.
func volumeOn(ctx context.Context, part *blockdev.Partition, o *volumeOptions) error {
	v, err := buildVolume(ctx, part.Size(), part.Start(), part.SectorSize(), o)
	if err != nil {
		return err
	}
	defer v.close()
	return v.copyTo(ctx, part)
}

// filesOn maps the named files, or all.
func filesOn(part *blockdev.Partition, names ...string) (map[string]*ntfs.MappedFile, error) {
	v, err := ntfs.Open(part, part.Size())
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		names = Names()
	}
	return mapFiles(v, part, names)
}

func newImage(t *testing.T, size int64, sector int) *blockdev.Device {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	f.Close()
	dev, err := blockdev.Open(path, &blockdev.Options{SectorSize: sector})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return dev
}

// tool runs a program that has to succeed and returns what it said.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// cutOut copies a partition into a file of its own, for tools without offsets.
func cutOut(t *testing.T, p *blockdev.Partition) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "partition")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(p.Size()); err != nil {
		t.Fatal(err)
	}
	buf, zero := block.Aligned(mib), make([]byte, mib)
	for off := int64(0); off < p.Size(); off += mib {
		n, err := p.ReadAt(buf, off)
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if bytes.Equal(buf[:n], zero[:n]) {
			continue
		}
		if _, err := f.WriteAt(buf[:n], off); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func testSizes() Sizes {
	return Sizes{Base: 120 * mib, LayerA: 30*mib + 4096, LayerB: 30 * mib, Boot: 122 * mib, Journal: 16 * mib}
}

// newLoop makes a block device of an image that is full of old bytes.
func newLoop(t *testing.T, size int64, sector int) *blockdev.Device {
	t.Helper()
	img := newImage(t, size, 512)
	old := bytes.Repeat([]byte{oldByte}, mib)
	for off := int64(0); off < size; off += mib {
		if _, err := img.WriteAt(old, off); err != nil {
			t.Fatal(err)
		}
	}
	path := strings.TrimSpace(tool(t, "losetup", "-f", "--show", "-b", fmt.Sprint(sector), img.Path()))
	t.Cleanup(func() { tool(t, "losetup", "-d", path) })
	dev, err := blockdev.Open(path, &blockdev.Options{Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return dev
}

const oldByte = 0xa5

func TestDisk(t *testing.T) {
	needs.Root(t)
	for _, c := range []struct {
		sector, cluster int
		esp             int64
		open            func(t *testing.T, size int64, sector int) *blockdev.Device
		old             byte
	}{
		{512, 0, 64 * mib, newImage, 0}, {512, 65536, 100 * mib, newImage, 0}, {512, 512, 40 * mib, newImage, 0},
		{4096, 0, 300 * mib, newImage, 0}, {4096, 16384, 300 * mib, newImage, 0},
		{512, 0, 129 * mib, newLoop, oldByte}, {4096, 0, 300 * mib, newLoop, oldByte},
	} {
		t.Run(fmt.Sprintf("sector%d/cluster%d/old%02x", c.sector, c.cluster, c.old), func(t *testing.T) {
			dev := c.open(t, 760*mib, c.sector)
			table, err := formatDisk(context.Background(), dev, &diskOptions{ESPSize: c.esp,
				Volume: volumeOptions{Sizes: testSizes(), ClusterSize: c.cluster}})
			if err != nil {
				t.Fatal(err)
			}
			if table.Warning != "" || len(table.Partitions) != 3 {
				t.Fatalf("table %+v", table)
			}
			checkTable(t, dev, c.sector)
			part, err := dev.Partition(table.Partitions[2])
			if err != nil {
				t.Fatal(err)
			}
			checkFiles(t, part, c.cluster, c.old)
		})
	}
}

func checkTable(t *testing.T, dev *blockdev.Device, sector int) {
	t.Helper()
	if sector == 512 { // sgdisk takes 512 for every file
		if out := tool(t, "sgdisk", "-v", dev.Path()); !strings.Contains(out, "No problems found") {
			t.Fatalf("sgdisk: %s", out)
		}
		if out := tool(t, "sgdisk", "-i", "3", dev.Path()); !strings.Contains(out, "Attribute flags: 8000000000000000") {
			t.Fatalf("sgdisk: %s", out)
		}
	}
	table, err := dev.ReadTable()
	if err != nil {
		t.Fatal(err)
	}
	esp, err := dev.Partition(table.Partitions[0])
	if err != nil {
		t.Fatal(err)
	}
	// -n: no changes; an unknown free count is no damage.
	tool(t, "fsck.fat", "-n", cutOut(t, esp))
}

// checkFiles fills every file through its clusters with pages that tell their place,
// and reads them back through ntfs-3g.
func checkFiles(t *testing.T, part *blockdev.Partition, cluster int, old byte) {
	t.Helper()
	sizes := testSizes()
	files, err := filesOn(part)
	if err != nil {
		t.Fatal(err)
	}
	for name, size := range sizes {
		f := files[name]
		want := size
		if c := int64(cluster); c > 0 {
			want = (size + c - 1) / c * c
		}
		if f.Size() != want {
			t.Errorf("%s has %d bytes, want %d", name, f.Size(), want)
		}
		if n := len(f.Mapping().Runs); n > 2 {
			t.Errorf("%s lies in %d pieces", name, n)
		}
		fill(t, f, name)
	}
	img := cutOut(t, part)
	if out := tool(t, "ntfsfix", "-n", img); !strings.Contains(out, "processed successfully") {
		t.Fatal(out)
	}
	tool(t, "ntfsresize", "-i", "-f", img)
	for name := range sizes {
		compare(t, img, files[name], name, old)
	}
	v, verdict := ntfs.Judge(part, part.Size())
	if v == nil || verdict.Condition != ntfs.Clean {
		t.Fatalf("verdict: %v", verdict)
	}
}

func page(name string, off int64) []byte {
	seed := [32]byte{}
	copy(seed[:], fmt.Sprintf("%s %d", name, off))
	b := make([]byte, ntfs.PageSize)
	rand.NewChaCha8(seed).Read(b)
	return b
}

// offsets are the pages that are filled: the ends, run boundaries, some between.
func offsets(f *ntfs.MappedFile) []int64 {
	out := []int64{0, f.Size() - ntfs.PageSize}
	var at int64
	for _, r := range f.Mapping().Runs {
		at += r.Length * int64(f.Mapping().ClusterSize)
		if p := at / ntfs.PageSize * ntfs.PageSize; p < f.Size() {
			out = append(out, p)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		out = append(out, rng.Int64N(f.Size()/ntfs.PageSize)*ntfs.PageSize)
	}
	return out
}

func fill(t *testing.T, f *ntfs.MappedFile, name string) {
	t.Helper()
	for _, off := range offsets(f) {
		if _, err := f.WriteAt(page(name, off), off); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// compare reads a file with ntfscat: pages that were not filled hold old bytes.
func compare(t *testing.T, img string, f *ntfs.MappedFile, name string, old byte) {
	t.Helper()
	cmd := exec.Command("ntfscat", "-f", img, "Troy/"+name)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	want := map[int64]bool{}
	for _, off := range offsets(f) {
		want[off] = true
	}
	b, rest := make([]byte, ntfs.PageSize), bytes.Repeat([]byte{old}, ntfs.PageSize)
	var off int64
	for ; ; off += ntfs.PageSize {
		if _, err := io.ReadFull(out, b); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		expect := rest
		if want[off] {
			expect = page(name, off)
		}
		if !bytes.Equal(b, expect) {
			t.Fatalf("%s: page at %d read by ntfscat differs", name, off)
		}
	}
	if err := cmd.Wait(); err != nil || off != f.Size() {
		t.Fatalf("%s: ntfscat gave %d of %d bytes: %v", name, off, f.Size(), err)
	}
}

func TestDiskRefuses(t *testing.T) {
	needs.Root(t)
	for _, c := range []struct {
		name string
		size int64
		opt  diskOptions
		want error
	}{
		{"too small for the ESP", 100 * mib, diskOptions{}, ErrNoSpace},
		{"ESP too small for FAT32", 100 * mib, diskOptions{ESPSize: mib}, ErrNoSpace},
		{"files too large", 200 * mib, diskOptions{ESPSize: 40 * mib, Volume: volumeOptions{Sizes: Sizes{Base: 120 * mib, Boot: 120 * mib}}}, ErrNoSpace},
		{"odd size", 200 * mib, diskOptions{ESPSize: 40 * mib, Volume: volumeOptions{Sizes: Sizes{Base: 4097}}}, ErrSize},
		{"zero size", 200 * mib, diskOptions{ESPSize: 40 * mib, Volume: volumeOptions{Sizes: Sizes{Base: 0}}}, ErrSize},
		{"cluster size unknown to mkntfs", 200 * mib, diskOptions{ESPSize: 40 * mib, Volume: volumeOptions{ClusterSize: 1000}}, ErrTool},
	} {
		t.Run(c.name, func(t *testing.T) {
			dev := newImage(t, c.size, 512)
			mark := bytes.Repeat([]byte{0xa5}, 4096)
			if _, err := dev.WriteAt(mark, 0); err != nil {
				t.Fatal(err)
			}
			if _, err := formatDisk(context.Background(), dev, &c.opt); !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			got := make([]byte, 4096)
			if _, err := dev.ReadAt(got, 0); err != nil || !bytes.Equal(got, mark) {
				t.Fatalf("disk was touched (%v)", err)
			}
		})
	}
}
