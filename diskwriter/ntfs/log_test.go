package ntfs_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"troy/diskwriter/ntfs"
	"troy/internal/testing/samples"
)

// fillLog writes n records of random sizes, some over many pages, and returns their
// LSNs from the keep-th last on, which becomes the oldest that a restart needs.
func fillLog(l *logBuilder, rng *rand.Rand, n, keep int) []uint64 {
	for range n {
		size := 0x20 + rng.IntN(300)
		if rng.IntN(20) == 0 {
			size = rng.IntN(5 * testPage)
		}
		l.record(1, update(0x1b, 0x01, 0, 0, 0, 0, make([]byte, size)))
	}
	kept := l.lsns[max(0, len(l.lsns)-keep):]
	l.oldest = kept[0]
	return kept
}

// TestWalkLog walks logs of both versions that wrapped several times.
func TestWalkLog(t *testing.T) {
	seeds := uint64(24)
	if os.Getenv("TROY_SOAK") == "1" {
		seeds = 400
	}
	for seed := range seeds {
		major, minor := 1+int(seed%2), 1-int(seed%2)
		m := newImage(t, 12*mib, 512, 4096)
		l := newLog(t, m, major, minor)
		l.copyOnly = false
		rng := rand.New(rand.NewPCG(seed, 1))
		want := fillLog(l, rng, 1+rng.IntN(20000), 1+rng.IntN(500))
		l.copyOnly = seed%3 == 0 // the last page reached only its copy
		l.finish(logInUse)
		got, _, err := m.open().WalkLog()
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("seed %d, version %d, %d records from %#x to %#x: got %d, %v",
				seed, major, len(want), want[0], want[len(want)-1], len(got), err)
		}
	}
}

var lsnLine = regexp.MustCompile(`(?m)^this_lsn\s+([0-9a-f]{16})`)

// TestWindowsLog walks what is left of a log from a record on, to where it breaks off.
func TestWindowsLog(t *testing.T) {
	t.Run("made", func(t *testing.T) {
		m := newImage(t, 12*mib, 512, 4096)
		l := newLog(t, m, 1, 1)
		all := fillLog(l, rand.New(rand.NewPCG(1, 2)), 500, 500)
		l.finish(logInUse)
		l.nextPage() // prepared, and never finished
		l.flush()
		if got := walkRest(t, m.Name(), all[19]); !slices.Equal(got, all[19:]) {
			t.Errorf("%d records, want %d", len(got), len(all)-19)
		}
	})
	t.Run("sample", func(t *testing.T) {
		path := samples.Unpack(t, t.TempDir(), "ntfs-windows-formatted-40M.dd")
		known := listed(t, path)
		// The first record of the pages that formatting wrote; they end with a page
		// that was prepared and never finished.
		got := walkRest(t, path, 0x1046bb)
		if len(got) != 481 {
			t.Errorf("%d records", len(got))
		}
		for _, lsn := range got {
			if !known[lsn] {
				t.Errorf("ntfsrecover does not know %#x", lsn)
			}
		}
	})
}

// listed returns the LSNs of the records that ntfsrecover lists.
func listed(t *testing.T, path string) map[uint64]bool {
	t.Helper()
	// It ends with 1 when it meets pages that were never used.
	out, err := exec.Command("ntfsrecover", "-n", "-f", "-v", path).Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatal(err)
	}
	known := map[uint64]bool{}
	for _, s := range lsnLine.FindAllStringSubmatch(string(out), -1) {
		lsn, err := strconv.ParseUint(s[1], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		known[lsn] = true
	}
	return known
}

// walkRest returns the LSNs from one on; the walk must end at something that is no record.
func walkRest(t *testing.T, path string, from uint64) []uint64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	v, err := ntfs.Open(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	lsns, err := v.WalkLogFrom(from)
	if !errors.Is(err, ntfs.ErrCorrupt) {
		t.Errorf("%d records, then %v", len(lsns), err)
	}
	return lsns
}

// TestDamagedLog: whatever breaks the walk makes the answer unknown.
func TestDamagedLog(t *testing.T) {
	for name, damage := range map[string]func(m *image, l *logBuilder, pageOf func(int) int64){
		"nothing":       nil,
		"torn page":     func(m *image, l *logBuilder, pageOf func(int) int64) { m.write([]byte{1, 2}, pageOf(300)+1022) },
		"page is zero":  func(m *image, l *logBuilder, pageOf func(int) int64) { m.write(make([]byte, testPage), pageOf(300)) },
		"page is noise": func(m *image, l *logBuilder, pageOf func(int) int64) { m.write(random(1, testPage), pageOf(300)) },
		"last page torn": func(m *image, l *logBuilder, pageOf func(int) int64) {
			m.write([]byte{1, 2}, pageOf(599)+510)
		},
		"page of the last round": func(m *image, l *logBuilder, pageOf func(int) int64) {
			b := make([]byte, testPage)
			if _, err := m.ReadAt(b, pageOf(20)); err != nil {
				m.t.Fatal(err)
			}
			m.write(b, pageOf(300))
		},
		"oldest is no record": func(m *image, l *logBuilder, pageOf func(int) int64) { l.oldest += 3; l.finish(logInUse) },
		"oldest is newer":     func(m *image, l *logBuilder, pageOf func(int) int64) { l.oldest = l.last + 100; l.finish(logInUse) },
		"oldest is zero":      func(m *image, l *logBuilder, pageOf func(int) int64) { l.oldest = 0; l.finish(logInUse) },
		"record of type 7": func(m *image, l *logBuilder, pageOf func(int) int64) {
			l.record(7, make([]byte, 64))
			l.finish(logInUse)
		},
		"operation unknown": func(m *image, l *logBuilder, pageOf func(int) int64) {
			l.record(1, update(0x99, 1, 0, 0, 0, 0, nil, 7))
			l.finish(logInUse)
		},
		"page without cluster": func(m *image, l *logBuilder, pageOf func(int) int64) {
			l.record(1, update(5, 6, 0, 0, 0, 0, nil))
			l.finish(logInUse)
		},
		"version 3":          func(m *image, l *logBuilder, pageOf func(int) int64) { l.major = 3; l.finish(logInUse) },
		"2.0 without client": func(m *image, l *logBuilder, pageOf func(int) int64) { l.major, l.minor = 2, 0; l.finish(logNobody) },
	} {
		t.Run(name, func(t *testing.T) {
			m := newImage(t, 12*mib, 512, 4096)
			m.mounted(aFile)
			l := newLog(t, m, 1, 1)
			fillLog(l, rand.New(rand.NewPCG(4, 4)), 600, 600)
			l.finish(logInUse)
			want := ntfs.LogUnknown
			if damage == nil {
				want = ntfs.LogNone
			} else {
				damage(m, l, func(i int) int64 { return l.pos + int64(l.lsns[i]<<3&(1<<22-1))/testPage*testPage })
			}
			v := m.open()
			f, err := v.Map(m, `\Troy\f`)
			if err != nil {
				t.Fatal(err)
			}
			if got, why := v.LogMentions(f); got != want {
				t.Errorf("%v: %s", got, why)
			}
		})
	}
}

// TestLogMentions: which records name the file.
func TestLogMentions(t *testing.T) {
	m := newImage(t, 40*mib, 512, 4096)
	m.mounted(func(root string) error {
		if err := aFile(root); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(root, "Troy/g"), random(6, 65536), 0o644)
	})
	v := m.open()
	f, err := v.Map(m, `\Troy\f`)
	if err != nil {
		t.Fatal(err)
	}
	place := v.RecordPlace(f.Mapping().Reference)
	lcn, sector := place/4096, int(place%4096/512)
	other := (sector + 2) % 8 // the next MFT record in the same cluster
	bitmap := v.BitmapPlace(0) / 4096
	content := f.Mapping().Runs[0].LCN
	bits := func(first, n int64) []byte {
		return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(first)), uint32(n))
	}
	dirty := func(first, n int64) []byte {
		return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, uint64(first)), uint64(n))
	}
	for _, c := range []struct {
		name   string
		client []byte
		want   ntfs.LogMention
	}{
		{"end of a transaction", update(0x1b, 0, 0, 0, 0, 0, nil), ntfs.LogNone},
		{"table of open attributes", update(0x1d, 0, 0, 0, 0, 0, make([]byte, 500)), ntfs.LogNone},
		{"another MFT record", update(9, 9, 0x100, 0x40, other, 64, make([]byte, 16), lcn), ntfs.LogNone},
		{"mapping pairs", update(9, 9, 0x100, 0x40, sector, 64, make([]byte, 16), lcn), ntfs.LogNames},
		{"sizes", update(0xb, 0xb, 0x100, 0x28, sector, 64, make([]byte, 24), lcn), ntfs.LogNames},
		{"record given up", update(3, 2, 0, 0, sector, 64, nil, lcn), ntfs.LogNames},
		{"times", update(7, 7, 0x38, 0x20, sector, 64, make([]byte, 16), lcn), ntfs.LogTimes},
		{"times at a wrong place", update(7, 7, 0x40, 0x20, sector, 64, make([]byte, 16), lcn), ntfs.LogNames},
		{"times and more", update(7, 7, 0x38, 0x20, sector, 64, make([]byte, 96), lcn), ntfs.LogNames},
		{"times against a new attribute", update(7, 5, 0x38, 0x20, sector, 64, make([]byte, 16), lcn), ntfs.LogNames},
		{"header of the attribute", update(7, 7, 0x38, 0x08, sector, 64, make([]byte, 16), lcn), ntfs.LogNames},
		{"one of several clusters", update(8, 8, 0, 0x1100, 0, 0, make([]byte, 16), 3000, content), ntfs.LogNames},
		{"content", update(8, 8, 0, 0, 0, 0, make([]byte, 16), content+7), ntfs.LogNames},
		{"cluster before the content", update(8, 8, 0, 0, 0, 0, make([]byte, 4096), content-1), ntfs.LogNone},
		{"bits of others", update(0x15, 0x16, 0, 0, 0, 0, bits(content-9, 9), bitmap), ntfs.LogNone},
		{"bits of the file", update(0x16, 0x15, 0, 0, 0, 0, bits(content-9, 10), bitmap), ntfs.LogNames},
		{"noise on $Bitmap", update(8, 8, 0, 0, 0, 0, bits(0, 1), bitmap), ntfs.LogUnknown},
		{"clusters given up", update(0xa, 0, 0, 0, 0, 0, dirty(content+15, 1)), ntfs.LogNames},
		{"clusters of others given up", update(0xa, 0, 0, 0, 0, 0, dirty(content+16, 1)), ntfs.LogNone},
		{"cluster behind the volume", update(8, 8, 0, 0, 0, 0, nil, 1<<40), ntfs.LogUnknown},
		{"a hole", update(8, 8, 0, 0, 0, 0, nil, -1), ntfs.LogNone},
	} {
		for major := 1; major <= 2; major++ {
			l := newLog(t, m, major, 2-major)
			rng := rand.New(rand.NewPCG(5, 5))
			fillLog(l, rng, 100, 100)
			l.record(1, c.client)
			fillLog(l, rng, 100, 201)
			l.finish(logInUse)
			if got, why := m.open().LogMentions(f); got != c.want {
				t.Errorf("%s, version %d: %v, want %v (%s)", c.name, major, got, c.want, why)
			}
			// What lies before the oldest record that a restart needs is history.
			l.oldest = l.lsns[len(l.lsns)-50]
			l.finish(logInUse)
			if got, why := m.open().LogMentions(f); got != ntfs.LogNone {
				t.Errorf("%s, version %d, old: %v (%s)", c.name, major, got, why)
			}
		}
	}
}
