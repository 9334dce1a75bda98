package ntfs_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"troy/diskwriter/ntfs"
)

var usedClusters = regexp.MustCompile(`(?m)Free Clusters: (\d+)`)

// TestAllocatePatches gives an empty file clusters here and there; ntfs-3g's tools
// agree with the result.
func TestAllocatePatches(t *testing.T) {
	m := newImage(t, 60*mib, 512, 4096)
	m.mounted(func(root string) error { return named(root, "f", 0) })
	v := m.open()
	free, err := v.FreeRuns()
	if err != nil {
		t.Fatal(err)
	}
	g := free[len(free)-1]
	runs := []ntfs.Run{{LCN: g.LCN + 1000, Length: 700}, {LCN: g.LCN + 3, Length: 1}, {LCN: g.LCN + 5000, Length: 99}, {LCN: g.LCN + 5, Length: 7}}
	patches, err := v.AllocatePatches(`\Troy\f`, runs)
	if err != nil {
		t.Fatal(err)
	}
	m.apply(patches)
	f, err := m.open().Map(m, `\Troy\f`)
	if err != nil || f.Size() != 807*4096 || fmt.Sprint(f.Mapping().Runs) != fmt.Sprint(runs) {
		t.Fatalf("%v, %v", f, err)
	}
	compareClusters(t, m, f.Mapping().Runs, "Troy/f")
	rewrite(t, m, f, "Troy/f", 1)
	tool(t, "ntfsresize", "-i", "-f", m.Name())
	var left int64
	if free, err = m.open().FreeRuns(); err != nil {
		t.Fatal(err)
	}
	for _, r := range free {
		left += r.Length
	}
	if s := usedClusters.FindStringSubmatch(tool(t, "ntfsinfo", "-m", "-f", m.Name())); s == nil || s[1] != strconv.FormatInt(left, 10) {
		t.Errorf("%d clusters free here, ntfsinfo %v", left, s)
	}
}

func TestAllocatePatchesRefuses(t *testing.T) {
	m := newImage(t, 60*mib, 512, 4096)
	m.mounted(func(root string) error {
		if err := aFile(root); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(root, "empty"), nil, 0o644)
	})
	v := m.open()
	free, err := v.FreeRuns()
	if err != nil {
		t.Fatal(err)
	}
	g := free[len(free)-1]
	var many []ntfs.Run
	for i := range int64(300) {
		many = append(many, ntfs.Run{LCN: g.LCN + 2*(i*7%300), Length: 1})
	}
	end := v.Geometry().Clusters
	for _, c := range []struct {
		name, path string
		runs       []ntfs.Run
		want       error
	}{
		{"file that holds something", `\Troy\f`, []ntfs.Run{{LCN: g.LCN, Length: 1}}, ntfs.ErrUnsupported},
		{"folder", `\Troy`, []ntfs.Run{{LCN: g.LCN, Length: 1}}, ntfs.ErrUnsupported},
		{"no file", `\Troy\g`, nil, ntfs.ErrNotExist},
		{"clusters in use", `\empty`, []ntfs.Run{{LCN: g.LCN - 1, Length: 2}}, ntfs.ErrOverlap},
		{"behind the end", `\empty`, []ntfs.Run{{LCN: end - 1, Length: 2}}, ntfs.ErrCorrupt},
		{"before the start", `\empty`, []ntfs.Run{{LCN: -1, Length: 2}}, ntfs.ErrCorrupt},
		{"no runs", `\empty`, nil, ntfs.ErrUnsupported},
		{"twice", `\empty`, []ntfs.Run{{LCN: g.LCN, Length: 5}, {LCN: g.LCN + 4, Length: 1}}, ntfs.ErrOverlap},
		{"empty run", `\empty`, []ntfs.Run{{LCN: g.LCN, Length: 0}}, ntfs.ErrCorrupt},
		{"too many runs", `\empty`, many, ntfs.ErrUnsupported},
	} {
		if p, err := v.AllocatePatches(c.path, c.runs); p != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestFragmentedMFT: $MFT itself in many pieces, with an attribute list.
func TestFragmentedMFT(t *testing.T) {
	m := newImage(t, 60*mib, 512, 4096)
	const files = 6000
	m.fragment(4096, func(root string) error {
		for i := range files {
			if err := os.WriteFile(filepath.Join(root, fmt.Sprintf("file%d", i)), random(uint64(i), 16), 0o644); err != nil {
				return err
			}
		}
		return nil
	})
	v := m.open()
	runs, hasList, err := v.MFTRuns()
	if err != nil {
		t.Fatal(err)
	}
	if runs < 300 || !hasList {
		t.Fatalf("$MFT has %d runs, attribute list %v: not what was meant", runs, hasList)
	}
	for i := 0; i < files; i += 97 {
		f, err := v.OpenFile(fmt.Sprintf(`\FILE%d`, i))
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 16)
		if _, err := f.ReadAt(b, 0); err != nil || string(b) != string(random(uint64(i), 16)) {
			t.Fatalf("file%d: %x, %v", i, b, err)
		}
	}
}
