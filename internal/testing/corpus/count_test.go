package corpus

import (
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// inUse counts by other means than Troy's which pages of a disk are used: outside the volume all
// are.
type inUse struct {
	bitmap   []byte
	clusters int64
	memory   map[int64]bool
}

var extentLine = regexp.MustCompile(`(?m)^\s*([0-9a-fx]+)\s+([0-9a-fx]+)\s+([0-9a-fx]+)\s*$`)

func usage(t testing.TB, volume string) *inUse {
	t.Helper()
	u := &inUse{bitmap: tool(t, "ntfscat", "-i", "6", volume), clusters: size(t, volume) / page, memory: map[int64]bool{}}
	for _, name := range []string{"pagefile.sys", "swapfile.sys", "hiberfil.sys"} {
		_, info, ok := strings.Cut(string(tool(t, "ntfsinfo", "-v", "-f", "-F", name, volume)), "Dumping attribute $DATA")
		if !ok {
			t.Fatalf("ntfsinfo shows no %s", name)
		}
		seen := int64(0)
		for _, l := range extentLine.FindAllStringSubmatch(info, -1) {
			lcn, err1 := strconv.ParseInt(l[2], 0, 64)
			n, err2 := strconv.ParseInt(l[3], 0, 64)
			must(t, errors.Join(err1, err2))
			for i := range n {
				if seen++; seen > 64<<10/page { // Windows looks at the head
					u.memory[lcn+i] = true
				}
			}
		}
	}
	if len(u.memory) == 0 || int64(len(u.bitmap)) < u.clusters/8 {
		t.Fatalf("memory files of %d clusters, bitmap of %d bytes", len(u.memory), len(u.bitmap))
	}
	return u
}

func (u *inUse) has(p int64) bool {
	c := p - VolumeStart/page
	if c < 0 || c >= u.clusters {
		return true
	}
	return u.bitmap[c/8]>>(c%8)&1 == 1 && !u.memory[c]
}

// eachPage calls f with all pages of a file.
func eachPage(t testing.TB, path string, f func(p int64, b []byte)) {
	t.Helper()
	in, err := os.Open(path)
	must(t, err)
	defer in.Close()
	b := make([]byte, 1<<20)
	for off := int64(0); ; {
		n, err := io.ReadFull(in, b)
		for i := 0; i < n; i += page {
			f((off+int64(i))/page, b[i:i+page])
		}
		if off += int64(n); err != nil {
			return
		}
	}
}

// newPages writes the truly new pages of version 2 into a file and returns their bytes.
func newPages(t testing.TB, p *Pair, out string) int64 {
	t.Helper()
	u1, u2 := usage(t, p.Volume1), usage(t, p.Volume2)
	known := map[[32]byte]bool{sha256.Sum256(make([]byte, page)): true}
	eachPage(t, p.V1, func(n int64, b []byte) {
		if u1.has(n) {
			known[sha256.Sum256(b)] = true
		}
	})
	f, err := os.Create(out)
	must(t, err)
	eachPage(t, p.V2, func(n int64, b []byte) {
		if u2.has(n) && !known[sha256.Sum256(b)] {
			_, err := f.Write(b)
			must(t, err)
		}
	})
	must(t, f.Close())
	return size(t, out)
}
