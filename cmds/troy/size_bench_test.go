package main

import (
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"troy/internal/testing/imagetest"
	"troy/vhdx"
)

// BenchmarkSize imports disks of several sizes, of which a 32nd holds programs, and adds a version
// that changed an eighth of that in pieces of 1 MiB. It says how long each takes beside reading and
// beside zstd of the same bytes, the most memory of the process, and the size of the store.
func BenchmarkSize(b *testing.B) {
	programs := imagetest.Programs(b, 128<<20).Data
	for _, gib := range []int64{8, 32, 128} {
		b.Run(fmt.Sprintf("%dGiB", gib), func(b *testing.B) {
			for b.Loop() {
				benchSize(b, programs, gib)
			}
		})
	}
}

// TestSizeChild is the process of a command that BenchmarkSize starts; by itself it has nothing to
// do.
func TestSizeChild(t *testing.T) {
	args := os.Getenv("TROY_SIZE_ARGS")
	if args == "" {
		return
	}
	wantTroy(t, exitOK, strings.Split(args, "\n")...)
	status, err := os.ReadFile("/proc/self/status")
	must(t, err)
	t.Logf("%s", status)
}

// stretch is how long a piece of content is, of which each GiB has eight.
const stretch = 4 << 20

func benchSize(b *testing.B, programs []byte, gib int64) {
	b.StopTimer()
	defer b.StartTimer()
	dir := b.TempDir()
	store, raw := filepath.Join(dir, "store"), filepath.Join(dir, "disk.raw")
	places := sizedDisk(b, raw, programs, gib)
	run := func(args ...string) (float64, float64) {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestSizeChild$", "-test.v")
		cmd.Env = append(os.Environ(), "TROY_STORE="+store, "TROY_SIZE_ARGS="+strings.Join(args, "\n"))
		began := time.Now()
		out, err := cmd.CombinedOutput()
		m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(out)
		if err != nil || m == nil {
			b.Fatalf("troy %q: %v\n%s", args, err, out)
		}
		kb, err := strconv.ParseFloat(string(m[1]), 64)
		must(b, err)
		return time.Since(began).Seconds(), kb / 1024
	}
	run("init", store)
	read := readContent(b, raw, places, io.Discard)
	zstd := zstdContent(b, raw, places)
	took, memory := run("image", "import", "--yes", "--force-unbootable", "pc", raw)
	b.ReportMetric(took, "import-s")
	b.ReportMetric(took/read, "import/read")
	b.ReportMetric(took/zstd, "import/zstd")
	b.ReportMetric(memory, "import-MiB")

	base, child := filepath.Join(dir, "base.vhdx"), filepath.Join(dir, "child.vhdx")
	run("vhdx", "convert", "--to", "dynamic", raw, base)
	run("image", "import", "--yes", "--force-unbootable", "chain", base)
	run("vhdx", "create", "--type", "differencing", "--parent", base, child)
	changeSome(b, child, places)
	took, memory = run("image", "add", "--yes", "--force-unbootable", "chain", child)
	b.ReportMetric(took, "add-s")
	b.ReportMetric(took/read, "add/read")
	b.ReportMetric(memory, "add-MiB")
	b.ReportMetric(float64(sizeOf(b, store))/1e6, "store-MB")
	b.ReportMetric(0, "ns/op")
}

// sizedDisk makes a sparse disk, and returns where its content lies.
func sizedDisk(b *testing.B, raw string, programs []byte, gib int64) (places []int64) {
	f, err := os.Create(raw)
	must(b, err)
	must(b, f.Truncate(gib<<30))
	r := rand.New(rand.NewPCG(uint64(gib), 1))
	piece := make([]byte, stretch)
	for n := range gib * 8 {
		copy(piece, programs[r.IntN(len(programs)-stretch)&^4095:])
		for i := range piece {
			piece[i] ^= byte(n) // it packs as before
		}
		at := n<<27 + 1<<21 + r.Int64N(100)<<20
		_, err := f.WriteAt(piece, at)
		must(b, err)
		places = append(places, at)
	}
	must(b, f.Close())
	if out, err := exec.Command("sgdisk", "-n", "1:2048:0", "-t", "1:0700", raw).CombinedOutput(); err != nil {
		b.Fatalf("sgdisk: %v\n%s", err, out)
	}
	return places
}

// readContent reads all content from the device, not from memory, into w.
func readContent(b *testing.B, raw string, places []int64, w io.Writer) float64 {
	f, err := os.Open(raw)
	must(b, err)
	defer f.Close()
	must(b, f.Sync())
	must(b, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
	began := time.Now()
	for _, at := range places {
		_, err := io.Copy(w, io.NewSectionReader(f, at, stretch))
		must(b, err)
	}
	return time.Since(began).Seconds()
}

// zstdContent packs all content as "zstd -T0 -1" does.
func zstdContent(b *testing.B, raw string, places []int64) float64 {
	cmd := exec.Command("zstd", "-q", "-1", "-T0", "-c")
	in, err := cmd.StdinPipe()
	must(b, err)
	must(b, cmd.Start())
	began := time.Now()
	readContent(b, raw, places, in)
	must(b, in.Close())
	must(b, cmd.Wait())
	return time.Since(began).Seconds()
}

// changeSome changes pieces of 1 MiB in half of the stretches.
func changeSome(b *testing.B, child string, places []int64) {
	c, err := vhdx.OpenChain(child, &vhdx.ChainOptions{Writable: true, Parents: &vhdx.Parents{}})
	must(b, err)
	piece := make([]byte, 1<<20)
	for i := 0; i < len(places); i += 2 {
		at := places[i] + 12345&^4095
		_, err := c.ReadAt(piece, at)
		must(b, err)
		for k := range piece {
			piece[k] ^= 0x5a
		}
		_, err = c.WriteAt(piece, at)
		must(b, err)
	}
	must(b, c.Sync())
	must(b, c.Close())
}

func sizeOf(b *testing.B, dir string) (n int64) {
	must(b, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	}))
	return n
}
