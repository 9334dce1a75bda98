package ntfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// smallVolume is an NTFS volume of 3 MiB as mkntfs makes it, in memory.
func smallVolume(t testing.TB) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ntfs")
	if err := os.WriteFile(path, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkntfs", "-q", "-Q", "-F", "-s", "512", "-c", "1024", "-p", "0", "-H", "1", "-S", "1", path).CombinedOutput(); err != nil {
		t.Fatalf("mkntfs: %v\n%s", err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// seed adds a non-empty seed.
func seed(f *testing.F, b []byte) {
	f.Helper()
	if len(b) == 0 {
		f.Fatal("empty seed")
	}
	f.Add(b)
}

func FuzzBoot(f *testing.F) {
	seed(f, smallVolume(f)[:bootSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := parseBoot(b, 3<<20)
		if err != nil {
			return
		}
		if g.Clusters <= 0 || g.Clusters*int64(g.ClusterSize) > 3<<20 || g.MFT >= g.Clusters || g.RecordSize < blockSize {
			t.Fatalf("accepted %+v", g)
		}
	})
}

func FuzzRecord(f *testing.F) {
	b := smallVolume(f)
	g, err := parseBoot(b, int64(len(b)))
	if err != nil {
		f.Fatal(err)
	}
	for _, n := range []int{0, 3, 5, 6, 9} {
		seed(f, b[int(g.MFT)*g.ClusterSize+n*g.RecordSize:][:g.RecordSize])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		// Fixups of the input are not what is tested: put right ones over them.
		if len(b) >= blockSize && len(b)%blockSize == 0 {
			b = bytes.Clone(b)
			binary.LittleEndian.PutUint16(b[4:], 0x30)
			binary.LittleEndian.PutUint16(b[6:], uint16(len(b)/blockSize+1))
			if 0x30+2*(len(b)/blockSize+1) < blockSize {
				protect(b)
			}
			r, err := parseRecord(b, int64(binary.LittleEndian.Uint32(b[0x2c:])))
			if err != nil && !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			if r == nil {
				return
			}
			for _, a := range r.attrs {
				if !a.resident {
					decodeRuns(a.pairs, a.highVCN-a.lowVCN+1, 1<<20)
				}
				parseAttrList(a.value, "fuzz")
				parseFileName(a.value, "fuzz")
			}
		}
	})
}

func FuzzRunlist(f *testing.F) {
	seed(f, []byte{0x31, 0x38, 0x73, 0x25, 0x34, 0x32, 0x14, 0x01, 0xe5, 0x11, 0x02, 0})
	seed(f, encodeRuns([]Run{{5, 300}, {100000, 1}, {7, 65536}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		const clusters = 1 << 33
		for _, want := range []int64{0, 1, 300, 1 << 20} {
			runs, err := decodeRuns(b, want, clusters)
			if err != nil {
				continue
			}
			var total int64
			for _, r := range runs {
				total += r.Length
				if r.Length <= 0 || !r.Hole() && r.LCN+r.Length > clusters {
					t.Fatalf("accepted %v", r)
				}
			}
			if total != want {
				t.Fatalf("%d clusters instead of %d", total, want)
			}
		}
	})
}

func FuzzAttrList(f *testing.F) {
	e := make([]byte, 0x20)
	e[0], e[4], e[7] = 0x80, 0x20, 0x1a
	seed(f, append(bytes.Clone(e), e...))
	f.Fuzz(func(t *testing.T, b []byte) { parseAttrList(b, "fuzz") })
}

func FuzzIndex(f *testing.F) {
	img := smallVolume(f)
	v, err := Open(bytes.NewReader(img), int64(len(img)))
	if err != nil {
		f.Fatal(err)
	}
	n, err := v.load(recordRoot)
	if err != nil {
		f.Fatal(err)
	}
	block := make([]byte, v.geo.IndexSize)
	s, err := v.open(n, attrIndexAlloc, "$I30")
	if err != nil {
		f.Fatal(err)
	}
	if _, err := s.ReadAt(block, 0); err != nil {
		f.Fatal(err)
	}
	if err := unprotect(block, "INDX", "seed"); err != nil {
		f.Fatal(err)
	}
	seed(f, block[0x18:])
	f.Fuzz(func(t *testing.T, b []byte) {
		d := &index{v: v, n: n, alloc: s, unit: 512, size: v.geo.IndexSize, visited: map[int64]bool{},
			visit: func(e []byte, key int, what string) error {
				parseFileName(e[0x10:][:key], what)
				parseSecurityEntry(e, key, what)
				return nil
			}}
		d.node(b, 0)
	})
}

// FuzzSecurity reads an entry of $SII, and what it says is in $SDS: what is returned has the hash.
func FuzzSecurity(f *testing.F) {
	img := smallVolume(f)
	v, err := Open(bytes.NewReader(img), int64(len(img)))
	if err != nil {
		f.Fatal(err)
	}
	n, err := v.load(recordSecure)
	if err != nil {
		f.Fatal(err)
	}
	sds, err := v.open(n, attrData, "$SDS")
	if err != nil {
		f.Fatal(err)
	}
	stored := make([]byte, 4096)
	if _, err := sds.ReadAt(stored, 0); err != nil {
		f.Fatal(err)
	}
	seeds := 0
	if err := v.walkIndex(n, "$SII", 0, func(e []byte, _ int, _ string) error {
		seeds++
		f.Add(bytes.Clone(e), stored)
		return nil
	}); err != nil || seeds == 0 {
		f.Fatal(seeds, err)
	}
	f.Fuzz(func(t *testing.T, e, sds []byte) {
		if len(e) < 0x14 { // an index gives no shorter one
			return
		}
		s, err := parseSecurityEntry(e, 4, "fuzz")
		if err != nil {
			return
		}
		if b, err := readShared(residentStream(sds), s); err == nil && (securityHash(b) != s.hash || int64(len(b)) != s.size-securityHead) {
			t.Fatalf("%d bytes of %+v", len(b), s)
		}
	})
}

func FuzzRestart(f *testing.F) {
	page := make([]byte, logPage)
	copy(page, "RSTR\x1e\x00\x09\x00")
	binary.LittleEndian.PutUint16(page[0x18:], 0x30)
	seed(f, page)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > logPage {
			return
		}
		b = append(bytes.Clone(b), make([]byte, logPage-len(b))...) // the seeds end with their last byte
		copy(b, "RSTR\x1e\x00\x09\x00")
		protect(b)
		parseRestart(b)
	})
}

// FuzzLog walks logs of 40 pages, of which the input gives the content from a page on, with correct
// fixups put over it. The ring begins at page 4, in version 2 at page 34.
func FuzzLog(f *testing.F) {
	const pages = 40
	page := make([]byte, logPage)
	copy(page, "RCRD")
	for _, first := range []uint8{4, 34} {
		binary.LittleEndian.PutUint64(page[0x40:], 5<<19|(uint64(first)*logPage+0x40)>>3)
		f.Add(first, bytes.Repeat(page, 3))
	}
	img := smallVolume(f)
	v, err := Open(bytes.NewReader(img), int64(len(img)))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, from uint8, in []byte) {
		b := make([]byte, pages*logPage)
		copy(b[max(int(from)%pages, 2)*logPage:], in)
		for at := 2 * logPage; at < len(b); at += logPage {
			p := b[at:][:logPage]
			if p[0] == 'R' {
				copy(p, "RCRD\x28\x00\x09\x00")
				protect(p)
			}
		}
		for major, first := range map[int]uint64{1: 4, 2: 34} {
			r := &restart{major: major, pageSize: logPage, seqBits: 45, fileSize: pages * logPage, recordHeader: logRecordHeader,
				pageData: 0x40, clientInUse: true, oldestLSN: 5<<19 | (first*logPage+0x40)>>3}
			l, err := newLogReader(residentStream(b), r)
			if err != nil {
				continue
			}
			m := &logMatcher{v: v}
			seen := 0
			l.walk(func(rec logRecord) error {
				if seen++; seen > len(b)/logRecordHeader {
					t.Fatal("walk does not end")
				}
				return m.visit(rec)
			})
		}
	})
}

// overlay is a volume with some bytes changed.
type overlay struct {
	base    []byte
	changes map[int64]byte
}

func (o *overlay) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(o.base)) {
		return 0, io.EOF
	}
	n := copy(p, o.base[off:])
	for at, c := range o.changes {
		if at >= off && at < off+int64(n) {
			p[at-off] = c
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (o *overlay) WriteAt(p []byte, off int64) (int, error) { return 0, errors.New("not here") }
func (o *overlay) Sync() error                              { return nil }

// FuzzVolume changes bytes of a whole volume (3 for the place, 1 for the value) and
// asks everything there is to ask.
func FuzzVolume(f *testing.F) {
	img := smallVolume(f)
	seed(f, []byte{0, 0, 0, 0xeb})
	seed(f, []byte{0x00, 0x40, 0x14, 1, 0x00, 0x44, 0x38, 9})
	f.Fuzz(func(t *testing.T, in []byte) {
		o := &overlay{base: img, changes: map[int64]byte{}}
		for ; len(in) >= 4 && len(o.changes) < 32; in = in[4:] {
			o.changes[int64(in[0])<<16|int64(in[1])<<8|int64(in[2])] = in[3]
		}
		v, d := Judge(o, int64(len(img)))
		_ = d.String()
		if v == nil {
			return
		}
		v.FreeRuns()
		names, err := v.List(`\`)
		if err != nil {
			return
		}
		for _, e := range names {
			checkRuns(t, v, `\`+e.Name)
			if m, err := v.Map(o, `\`+e.Name); err == nil {
				v.LogMentions(m)
			}
			v.SecurityDescriptor(`\` + e.Name)
			if file, err := v.OpenFile(`\` + e.Name); err == nil {
				file.ReadAt(make([]byte, 5000), 0)
			}
		}
	})
}

// checkRuns: what Runs returns lies inside the volume.
func checkRuns(t *testing.T, v *Volume, path string) {
	runs, err := v.Runs(path)
	if err != nil {
		return
	}
	for _, r := range runs {
		if r.Length <= 0 || !r.Hole() && r.Length > v.geo.Clusters-r.LCN {
			t.Fatalf("%s: run %+v of a volume of %d clusters", path, r, v.geo.Clusters)
		}
	}
}

// TestRunsBothWays: what encodeRuns makes, decodeRuns reads.
func TestRunsBothWays(t *testing.T) {
	for _, v := range []int64{0, 1, -1, 127, 128, -128, -129, 32767, 32768, -32768, 1 << 31, 1 << 40, -1 << 40, 1<<63 - 1, -1 << 63} {
		if got := signed(signedBytes(v)); got != v {
			t.Errorf("%d becomes %d", v, got)
		}
	}
	runs := []Run{{1, 1}, {127, 128}, {5, 1 << 20}, {1 << 33, 255}, {0, 1}}
	var want int64
	for _, r := range runs {
		want += r.Length
	}
	got, err := decodeRuns(encodeRuns(runs), want, 1<<34)
	if err != nil || len(got) != len(runs) {
		t.Fatal(got, err)
	}
	for i := range runs {
		if got[i] != runs[i] {
			t.Errorf("run %d: %v instead of %v", i, got[i], runs[i])
		}
	}
}
