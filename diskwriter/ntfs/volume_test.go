package ntfs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	parser "www.velocidex.com/golang/go-ntfs/parser"

	"troy/diskwriter/ntfs"
	"troy/internal/testing/samples"
)

// In the second, pages span two or three runs.
var geometries = []struct{ sector, cluster, piece int }{
	{512, 512, 4096}, {512, 512, 1536}, {512, 1024, 4096}, {512, 4096, 4096}, {512, 16384, 16384},
	{512, 65536, 65536}, {4096, 4096, 4096}, {4096, 65536, 65536},
}

// TestGeometries maps fragmented files (hundreds of runs, attribute lists) on every
// cluster size, and compares clusters with ntfscluster and content with ntfscat.
func TestGeometries(t *testing.T) {
	for _, g := range geometries {
		t.Run(fmt.Sprintf("sector%d/cluster%d/piece%d", g.sector, g.cluster, g.piece), func(t *testing.T) {
			m := newImage(t, 110*mib, g.sector, g.cluster)
			piece, pieces := g.piece, min(600, 20*mib/g.piece)
			m.fragment(piece, func(root string) error {
				if err := os.Mkdir(filepath.Join(root, "Troy"), 0o755); err != nil {
					return err
				}
				if err := writePieces(filepath.Join(root, "Troy/Frag-A.bin"), 0, pieces, piece); err != nil {
					return err
				}
				return writePieces(filepath.Join(root, "Troy/frag-b.bin"), 1, pieces, piece)
			})
			v := m.open()
			if got := v.Geometry(); got.SectorSize != g.sector || got.ClusterSize != g.cluster {
				t.Fatalf("geometry %+v", got)
			}
			a, err := v.Map(m, `\tROY\FRAG-a.bin`)
			if err != nil {
				t.Fatal(err)
			}
			b, err := v.Map(m, `/Troy/frag-b.bin`)
			if err != nil {
				t.Fatal(err)
			}
			if err := ntfs.CheckDisjoint(a, b); err != nil {
				t.Fatal(err)
			}
			if err := ntfs.CheckDisjoint(a, b, a); !errors.Is(err, ntfs.ErrOverlap) {
				t.Fatalf("a file beside itself: %v", err)
			}
			if n := len(a.Mapping().Runs); n < pieces*9/10 {
				t.Errorf("file has %d runs only, not the fragments that were meant", n)
			}
			compareClusters(t, m, a.Mapping().Runs, "Troy/Frag-A.bin")
			rewrite(t, m, a, "Troy/Frag-A.bin", uint64(g.cluster))
			compareContent(t, m, b, "Troy/frag-b.bin", func(i int) []byte { return random(uint64(2*i+1), piece) }, piece)
			tool(t, "ntfsresize", "-i", "-f", m.Name())
		})
	}
}

var extentLine = regexp.MustCompile(`(?m)^\s*([0-9a-fx]+)\s+([0-9a-fx]+)\s+([0-9a-fx]+)\s*$`)

// compareClusters compares runs with what ntfsinfo prints.
func compareClusters(t *testing.T, m *image, runs []ntfs.Run, path string) {
	t.Helper()
	var got []ntfs.Run
	out := tool(t, "ntfsinfo", "-v", "-f", "-F", path, m.Name())
	_, out, ok := strings.Cut(out, "Dumping attribute $DATA")
	if !ok {
		t.Fatal("ntfsinfo shows no $DATA")
	}
	for _, l := range extentLine.FindAllStringSubmatch(out, -1) {
		lcn, err1 := strconv.ParseInt(l[2], 0, 64)
		n, err2 := strconv.ParseInt(l[3], 0, 64)
		if err1 != nil || err2 != nil {
			t.Fatalf("line %q", l[0])
		}
		if k := len(got) - 1; k >= 0 && got[k].LCN+got[k].Length == lcn {
			got[k].Length += n
		} else {
			got = append(got, ntfs.Run{LCN: lcn, Length: n})
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(runs) {
		t.Fatalf("ntfsinfo: %d runs, here %d\n%v\n%v", len(got), len(runs), got, runs)
	}
}

// rewrite writes random pages at random places through the map and compares the
// whole with ntfscat.
func rewrite(t *testing.T, m *image, f *ntfs.MappedFile, path string, seed uint64) {
	t.Helper()
	want := make([]byte, f.Size())
	if _, err := f.ReadAt(want, 0); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 7))
	for i := range 200 {
		off := rng.Int64N(f.Size()/ntfs.PageSize) * ntfs.PageSize
		n := min(f.Size()-off, (1+rng.Int64N(40))*ntfs.PageSize)
		p := random(seed<<20+uint64(i), int(n))
		if k, err := f.WriteAt(p, off); err != nil || k != len(p) {
			t.Fatal(k, err)
		}
		copy(want[off:], p)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if got := tool(t, "ntfscat", "-f", m.Name(), path); got != string(want) {
		t.Fatal("ntfscat reads something else than was written")
	}
	for range 200 { // reads of any size and place
		off := rng.Int64N(f.Size())
		p := make([]byte, rng.Int64N(100000))
		n, err := f.ReadAt(p, off)
		end := min(f.Size(), off+int64(len(p)))
		if int64(n) != end-off || !bytes.Equal(p[:n], want[off:end]) || (n < len(p)) != (err == io.EOF) {
			t.Fatalf("read %d at %d: %d, %v (seed %d)", len(p), off, n, err, seed)
		}
	}
}

func compareContent(t *testing.T, m *image, f *ntfs.MappedFile, path string, piece func(int) []byte, n int) {
	t.Helper()
	b := make([]byte, n)
	for i := range int(f.Size()) / n {
		if _, err := f.ReadAt(b, int64(i)*int64(n)); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if !bytes.Equal(b, piece(i)) {
			t.Fatalf("%s: piece %d differs", path, i)
		}
	}
}

// formatted is a volume that was dismounted in order, and what other programs say of it.
type formatted struct {
	path           string
	used, clusters int64
	log            string // LSNs and types of the records that a restart reads
}

// TestWindowsFormatted reads a volume as Windows formats and dismounts it, and
// compares every file with ntfscat and with go-ntfs.
func TestWindowsFormatted(t *testing.T) {
	t.Run("made", func(t *testing.T) { readFormatted(t, formattedVolume(t)) })
	t.Run("sample", func(t *testing.T) {
		readFormatted(t, formatted{
			path: samples.Unpack(t, t.TempDir(), "ntfs-windows-formatted-40M.dd"),
			used: 1488, clusters: 9471, // counted by ntfsinfo and go-ntfs
			log: "[184408 184415] [1 2]", // as ntfsrecover lists
		})
	})
}

var clustersLine = regexp.MustCompile(`(?m)^\s*(?:Volume Size in|Free) Clusters:\s*(\d+)`)

// formattedVolume makes such a volume: by mkntfs, with files in the root folder, a log of version
// 1.1 that its client closed, and the flags that Windows sets.
func formattedVolume(t *testing.T) formatted {
	t.Helper()
	m := newImage(t, 40*mib-100*4096, 512, 4096)
	m.mounted(func(root string) error {
		for i, name := range []string{"tiny.txt", "Mixed Case.Bin", "empty.dat", "größer.bin"} {
			if err := os.WriteFile(filepath.Join(root, name), random(uint64(i), []int{300, 70000, 0, 3<<20 + 1}[i]), 0o644); err != nil {
				return err
			}
		}
		return os.Mkdir(filepath.Join(root, "folder"), 0o755)
	})
	l := newLog(t, m, 1, 1)
	first, second := l.record(1, update(0, 0, 0, 0, 0, 0, nil)), l.record(2, make([]byte, 0x40))
	l.finish(logClosed)
	m.record(`\$Volume`, func(b []byte) {
		a := attribute(t, b, 0x70)
		copy(a[binary.LittleEndian.Uint16(a[0x14:])+10:], []byte{0x80, 0})
	})
	m.mirror(`\$Volume`)
	var n []int64
	for _, line := range clustersLine.FindAllStringSubmatch(tool(t, "ntfsinfo", "-f", "-m", m.Name()), -1) {
		v, err := strconv.ParseInt(line[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		n = append(n, v)
	}
	if len(n) != 2 || n[1] > n[0] {
		t.Fatalf("ntfsinfo says %d", n)
	}
	return formatted{path: m.Name(), used: n[0] - n[1], clusters: n[0], log: fmt.Sprintf("[%x %x] [1 2]", first, second)}
}

func readFormatted(t *testing.T, want formatted) {
	t.Helper()
	f, err := os.Open(want.path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	v, d := ntfs.Judge(f, st.Size())
	if v == nil || d.Condition != ntfs.Clean || d.Dirty || d.Log.Major != 1 || d.Log.Minor != 1 {
		t.Fatalf("verdict %v %+v", d, d)
	}
	info, err := v.Info()
	if err != nil || info.Major != 3 || info.Minor != 1 || info.Flags != 0x80 {
		t.Fatalf("info %+v, %v", info, err)
	}
	free, err := v.FreeRuns()
	if err != nil {
		t.Fatal(err)
	}
	used := v.Geometry().Clusters
	for _, r := range free {
		used -= r.Length
	}
	if used != want.used || v.Geometry().Clusters != want.clusters {
		t.Errorf("%d of %d clusters used, want %d of %d", used, v.Geometry().Clusters, want.used, want.clusters)
	}
	readFiles(t, v, f)
	lsns, types, err := v.WalkLog()
	if err != nil || fmt.Sprintf("%x %v", lsns, types) != want.log {
		t.Errorf("log: %x %v %v, want %s", lsns, types, err, want.log)
	}
}

// readFiles compares the files in the root folder with what others read.
func readFiles(t *testing.T, v *ntfs.Volume, f *os.File) {
	t.Helper()
	other, err := parser.GetNTFSContext(f, 0)
	if err != nil {
		t.Fatal(err)
	}
	names, err := v.List(`\`)
	if err != nil || len(names) < 12 {
		t.Fatalf("root: %v, %v", names, err)
	}
	for _, e := range names {
		if strings.HasPrefix(e.Name, "$") || e.Name == "." || !strings.Contains(e.Name, ".") {
			continue
		}
		compareWithParser(t, v, other, e)
		file, err := v.OpenFile(`\` + strings.ToUpper(e.Name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(io.NewSectionReader(file, 0, file.Size()))
		if err != nil || string(got) != tool(t, "ntfscat", "-f", f.Name(), e.Name) {
			t.Errorf("%s differs from ntfscat (%v)", e.Name, err)
		}
	}
}

func compareWithParser(t *testing.T, v *ntfs.Volume, other *parser.NTFSContext, e ntfs.Entry) {
	t.Helper()
	entry, err := other.GetMFT(e.Reference.Record())
	if err != nil {
		t.Fatal(err)
	}
	r, err := parser.OpenStream(other, entry, 128, parser.WILDCARD_STREAM_ID, parser.WILDCARD_STREAM_NAME)
	if err != nil {
		t.Fatal(err)
	}
	file, err := v.OpenFile(`\` + e.Name)
	if err != nil {
		t.Fatal(err)
	}
	want, got := make([]byte, file.Size()), make([]byte, file.Size())
	if n, err := r.ReadAt(want, 0); int64(n) != file.Size() {
		t.Fatalf("go-ntfs read %d: %v", n, err)
	}
	if _, err := file.ReadAt(got, 0); err != nil && err != io.EOF || !bytes.Equal(got, want) {
		t.Errorf("%s differs from go-ntfs (%v)", e.Name, err)
	}
}

func TestLargeDirectory(t *testing.T) {
	m := newImage(t, 60*mib, 512, 4096)
	m.mounted(func(root string) error {
		dir := filepath.Join(root, "Many")
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		for i := range 1500 {
			name := fmt.Sprintf("%04d a rather long file name to fill the index – äöü", i*7919%1500)
			if err := os.WriteFile(filepath.Join(dir, name), []byte(strconv.Itoa(i)), 0o644); err != nil {
				return err
			}
		}
		return nil
	})
	v := m.open()
	names, err := v.List("/many")
	if err != nil || len(names) != 1500 {
		t.Fatalf("%d names, %v", len(names), err)
	}
	for _, i := range []int{0, 1, 749, 1498, 1499} {
		// Upper case beyond ASCII goes through the volume's $UpCase.
		path := fmt.Sprintf(`\MANY\%04d A RATHER LONG FILE NAME TO FILL THE INDEX – ÄÖÜ`, i)
		if _, err := v.OpenFile(path); err != nil {
			t.Error(err)
		}
	}
	for _, path := range []string{`\many\nothing`, `\Troy\base.vhdx`, `\many\0000 a rather long file name to fill the index – äöü\x`} {
		if _, err := v.Lookup(path); !errors.Is(err, ntfs.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestNamesDifferInCase: ntfs-3g can make what Windows does not show twice.
func TestNamesDifferInCase(t *testing.T) {
	m := newImage(t, 20*mib, 512, 4096)
	m.mounted(func(root string) error {
		for _, n := range []string{"base.vhdx", "BASE.vhdx"} {
			if err := os.WriteFile(filepath.Join(root, n), random(1, 8192), 0o644); err != nil {
				return err
			}
		}
		return nil
	})
	if _, err := m.open().Map(m, `\base.vhdx`); !errors.Is(err, ntfs.ErrCorrupt) {
		t.Fatalf("two candidates: %v", err)
	}
}
