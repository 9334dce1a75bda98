package ntfs_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"

	"troy/diskwriter/ntfs"
	"troy/internal/testing/samples"
)

// windowsLog is the log of a Windows 10, on a volume that was made for it.
type windowsLog struct {
	logTarget
	pos     int64
	content []byte
}

func newWindowsLog(t *testing.T, sample string) *windowsLog {
	t.Helper()
	content, err := os.ReadFile(samples.Unpack(t, t.TempDir(), sample))
	if err != nil {
		t.Fatal(err)
	}
	l := &windowsLog{logTarget: newLogTarget(t, 3<<30), content: content}
	pos, size, err := l.m.open().LogPlace()
	if err != nil {
		t.Fatal(err)
	}
	l.pos = pos
	l.m.write(bytes.Repeat([]byte{0xff}, int(size)), pos)
	l.m.write(content, pos)
	return l
}

// inUse makes the client need the records from oldest on, as after a power cut.
func (l *windowsLog) inUse(oldest uint64) {
	le := binary.LittleEndian
	for at := 0; at < 2*testPage; at += testPage {
		b := bytes.Clone(l.content[at:][:testPage])
		usa, n := int(le.Uint16(b[4:])), int(le.Uint16(b[6:]))
		for i := 1; i < n; i++ {
			copy(b[i*512-2:], b[usa+2*i:][:2])
		}
		area := b[le.Uint16(b[0x18:]):]
		area[0xe] &^= 2
		le.PutUint64(area[le.Uint16(area[0x16:]):], oldest)
		ntfs.Protect(b)
		l.m.write(b, l.pos+int64(at))
	}
}

// windowsBitmap is where $Bitmap lies in both logs: changes of bits at VCN 0 and 8 name it.
var windowsBitmap = ntfs.Run{LCN: 0x3ffdf, Length: 0x20}

// TestWindows10Log: logs of a Windows 10 that has no record of our file say so, from wherever a
// restart begins, and find what they do name.
func TestWindows10Log(t *testing.T) {
	for _, c := range []struct {
		sample  string
		first   uint64
		records int
		as      ntfs.LogMention // of the log as Windows left it
		noData  []uint64        // records with lengths and without data
		bits    uint64          // record that changes the bit of cluster bit
		bit     int64
	}{
		{"logfile/dfir-LogFile_10_large.bin", 0x404408, 405, ntfs.LogNone,
			[]uint64{0x404e49, 0x404e88, 0x404f26, 0x405187, 0x405a7a, 0x4062d8, 0x4063cd, 0x406730}, 0x4048c6, 0x27},
		{"logfile/dfir-LogFile_10_downgraded.bin", 0x804408, 268, ntfs.LogNone,
			[]uint64{0x804737, 0x80540d, 0x8054a5, 0x805c78}, 0x804766, 0xa45},
	} {
		t.Run(c.sample, func(t *testing.T) {
			l := newWindowsLog(t, c.sample)
			if got, why := l.m.open().LogMentions(l.f); got != c.as {
				t.Errorf("as it is: %v, want %v (%s)", got, c.as, why)
			}
			lsns := walkRest(t, l.m.Name(), c.first)
			if len(lsns) != c.records {
				t.Errorf("%d records, want %d", len(lsns), c.records)
			}
			for _, n := range []int{1, 100, 200} {
				got, why, err := l.m.open().LogWindows(lsns, n, windowsBitmap, l.f)
				if err != nil || len(got) != len(lsns)-n+1 {
					t.Fatalf("%d windows of %d: %v", len(got), n, err)
				}
				for i := range got {
					if got[i] != ntfs.LogNone {
						t.Errorf("%d records from %#x: %v (%s)", n, lsns[i], got[i], why[i])
					}
				}
			}
			for _, oldest := range append(c.noData, lsns[0], lsns[len(lsns)/2], lsns[len(lsns)-1]) {
				l.inUse(oldest)
				if got, why := l.m.open().LogMentions(l.f); got != ntfs.LogNone {
					t.Errorf("from %#x: %v (%s)", oldest, got, why)
				}
			}
			for _, lsn := range c.noData {
				got, why, err := l.m.open().LogWindows([]uint64{lsn}, 1, windowsBitmap, ntfs.FileAt(ntfs.Run{LCN: 1, Length: 1 << 19}))
				if err != nil || got[0] != ntfs.LogNames {
					t.Errorf("%#x on the file's clusters: %v (%s), %v", lsn, got, why, err)
				}
			}
			for bit, want := range map[int64]ntfs.LogMention{c.bit - 1: ntfs.LogNone, c.bit: ntfs.LogNames} {
				got, why, err := l.m.open().LogWindows([]uint64{c.bits}, 1, windowsBitmap, ntfs.FileAt(ntfs.Run{LCN: bit, Length: 1}))
				if err != nil || got[0] != want {
					t.Errorf("%#x and cluster %#x: %v, want %v (%s), %v", c.bits, bit, got, want, why, err)
				}
			}
		})
	}
}
