package ntfs_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"troy/diskwriter/ntfs"
)

// logTarget is a volume with the file \Troy\f, and where a log would name it.
type logTarget struct {
	m           *image
	f           *ntfs.MappedFile
	lcn         int64 // of the file's MFT record
	sector      int   // at which it begins in that cluster
	other       int   // at which another MFT record begins
	bitmap      int64 // first cluster of $Bitmap
	content     int64 // first cluster of the file
	contentNext int64 // first cluster behind it
}

func newLogTarget(t *testing.T, size int64) logTarget {
	t.Helper()
	m := newImage(t, size, 512, 4096)
	m.mounted(aFile)
	v := m.open()
	f, err := v.Map(m, `\Troy\f`)
	if err != nil {
		t.Fatal(err)
	}
	place := v.RecordPlace(f.Mapping().Reference)
	run := f.Mapping().Runs[0]
	sector := int(place % 4096 / 512)
	return logTarget{m: m, f: f, lcn: place / 4096, sector: sector, other: (sector + 2) % 8,
		bitmap: v.BitmapPlace(0) / 4096, content: run.LCN, contentNext: run.LCN + run.Length}
}

// lengths sets the lengths of redo and undo data, whether data is there or not.
func lengths(b []byte, redo, undo int) []byte {
	binary.LittleEndian.PutUint16(b[6:], uint16(redo))
	binary.LittleEndian.PutUint16(b[0xa:], uint16(undo))
	return b
}

// redoBehind moves the place of the redo data behind the record.
func redoBehind(b []byte) []byte {
	binary.LittleEndian.PutUint16(b[4:], uint16(len(b)))
	return b
}

// undoBehind moves the place of the undo data behind the record.
func undoBehind(b []byte) []byte {
	binary.LittleEndian.PutUint16(b[8:], uint16(len(b)))
	return b
}

func pair32(first, n int64) []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(first)), uint32(n))
}

func pair64(first, n int64) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, uint64(first)), uint64(n))
}

// flaggedRecord is a log record, and what it says of a logTarget.
type flaggedRecord struct {
	name   string
	flags  uint16
	client []byte
	want   ntfs.LogMention
}

const (
	noRedo   = 2
	noUndo   = 4
	noBuffer = noRedo | noUndo
)

// recordsWithoutBuffers: lengths without data, as Windows 10 writes them, and their relatives.
func recordsWithoutBuffers(g logTarget) []flaggedRecord {
	none := func(redo, undo uint16, recordOff, attrOff, sector, redoLen, undoLen int, lcns ...int64) []byte {
		return lengths(update(redo, undo, recordOff, attrOff, sector, 0, nil, lcns...), redoLen, undoLen)
	}
	times := func() []byte { return update(7, 7, 0x38, 0x20, g.sector, 0, make([]byte, 16), g.lcn) }
	return []flaggedRecord{
		{"nothing", noBuffer, none(0, 0, 0, 0, 0, 0, 0), ntfs.LogNone},
		{"zeros to the end of another record", noBuffer, none(0x25, 0, 0x148, 0, g.other, 0x2b8, 0, g.lcn), ntfs.LogNone},
		{"zeros to the end of the record", noBuffer, none(0x25, 0, 0x148, 0, g.sector, 0x2b8, 0, g.lcn), ntfs.LogNames},
		{"zeros in a value of another record", noBuffer, none(7, 7, 0x108, 0x18, g.other, 0x41, 0, g.lcn), ntfs.LogNone},
		{"zeros in a value", noBuffer, none(7, 7, 0x108, 0x18, g.sector, 0x41, 0, g.lcn), ntfs.LogNames},
		{"zeros as times", noBuffer, none(7, 7, 0x38, 0x20, g.sector, 16, 16, g.lcn), ntfs.LogNames},
		{"zeros as new times", noRedo, redoBehind(times()), ntfs.LogNames},
		{"lengths, the flags promise both", 0, none(7, 7, 0x108, 0x18, g.other, 0x41, 0x41, g.lcn), ntfs.LogUnknown},
		{"lengths, the flags promise redo data", noUndo, none(7, 7, 0x108, 0x18, g.other, 0x41, 0, g.lcn), ntfs.LogUnknown},
		{"lengths, the flags promise undo data", noRedo, none(7, 7, 0x108, 0x18, g.other, 0, 0x41, g.lcn), ntfs.LogUnknown},
		{"length that reaches the content", noBuffer, none(8, 8, 0, 0, 0, 0x1008, 0, 3000, g.content), ntfs.LogNames},
		{"undo length that reaches the content", noBuffer, none(8, 8, 0, 0, 0, 0, 0x1008, 3000, g.content), ntfs.LogNames},
		{"length that ends before the content", noBuffer, none(8, 8, 0, 0, 0, 0x1000, 0, 3000, g.content), ntfs.LogNone},
		{"cluster behind the volume", noBuffer, none(7, 7, 0, 0, 0, 8, 8, 1<<40), ntfs.LogUnknown},
		{"page without cluster", noBuffer, none(7, 7, 0, 0, 0, 8, 8), ntfs.LogUnknown},
		{"operation unknown", noBuffer, none(0x99, 0, 0, 0, 0, 8, 8, 3000), ntfs.LogUnknown},

		{"times, one buffer for both, as undo", noRedo, times(), ntfs.LogTimes},
		{"times, one buffer for both, as redo", noUndo, times(), ntfs.LogTimes},
		{"times, a buffer that the flags deny", noBuffer, times(), ntfs.LogNames},
		{"another record, one buffer for both", noRedo, update(8, 8, 0x178, 0, g.other, 0, make([]byte, 8), g.lcn), ntfs.LogNone},

		{"flag of a later version", 8, update(9, 9, 0, 0, g.other, 0, make([]byte, 8), g.lcn), ntfs.LogUnknown},
		{"highest flag beside known ones", 0x8000 | noBuffer, none(0, 0, 0, 0, 0, 0, 0), ntfs.LogUnknown},
		{"many pages on one page", 1, update(9, 9, 0, 0, g.other, 0, make([]byte, 8), g.lcn), ntfs.LogNone},
	}
}

// recordsWithoutData: records whose data would say which clusters they change.
func recordsWithoutData(g logTarget) []flaggedRecord {
	bits := func(redo, undo uint16, first, n int64) []byte {
		return update(redo, undo, 0, 0, 0, 0, pair32(first, n), g.bitmap)
	}
	dirty := func(data []byte) []byte { return update(0xa, 0, 0, 0, 0, 0, data) }
	return []flaggedRecord{
		{"bits without data", noBuffer, lengths(update(0x15, 0x16, 0, 0, 0, 0, nil, g.bitmap), 8, 8), ntfs.LogUnknown},
		{"bits that the flags deny", noBuffer, bits(0x15, 0x16, g.contentNext, 1), ntfs.LogUnknown},
		{"bits without undo data", noUndo, undoBehind(bits(0x15, 0x16, g.contentNext, 1)), ntfs.LogUnknown},
		{"bits of others, one buffer for both", noRedo, bits(0x15, 0x16, g.contentNext, 1), ntfs.LogNone},
		{"bits of the file, one buffer for both", noRedo, bits(0x15, 0x16, g.content, 1), ntfs.LogNames},
		{"bits of others, compensation", 0, undoBehind(bits(0x16, 1, g.contentNext, 1)), ntfs.LogNone},
		{"bits of the file, compensation", 0, undoBehind(bits(0x16, 1, g.content, 1)), ntfs.LogNames},
		{"times, compensation", 0, undoBehind(update(7, 1, 0x38, 0x20, g.sector, 0, make([]byte, 16), g.lcn)), ntfs.LogTimes},
		{"mapping pairs, compensation", 0, undoBehind(update(9, 1, 0x100, 0x40, g.sector, 0, make([]byte, 16), g.lcn)), ntfs.LogNames},
		{"compensation as redo without data", 0, lengths(update(1, 0, 0, 0, 0, 0, nil), 8, 0), ntfs.LogUnknown},
		{"noop as undo without data", 0, lengths(update(9, 0, 0, 0, g.other, 0, nil, g.lcn), 0, 8), ntfs.LogUnknown},
		{"clusters given up without data", noBuffer, lengths(dirty(nil), 16, 0), ntfs.LogUnknown},
		{"clusters given up that the flags deny", noBuffer, dirty(pair64(g.contentNext, 1)), ntfs.LogUnknown},
		{"clusters given up, no length", 0, dirty(nil), ntfs.LogUnknown},
		{"clusters given up, half a pair", 0, dirty(append(pair64(g.contentNext, 1), 1, 2, 3, 4, 5, 6, 7, 8)), ntfs.LogUnknown},
		{"clusters of others given up, no undo buffer", noUndo, lengths(dirty(pair64(g.contentNext, 1)), 16, 0), ntfs.LogNone},
		{"clusters of the file given up, no undo buffer", noUndo, lengths(dirty(pair64(g.content, 1)), 16, 0), ntfs.LogNames},
	}
}

// TestLogRecordFlags: a record says which buffers it has, wherever it lies.
func TestLogRecordFlags(t *testing.T) {
	g := newLogTarget(t, 40*mib)
	for _, c := range append(recordsWithoutBuffers(g), recordsWithoutData(g)...) {
		t.Run(c.name, func(t *testing.T) {
			for major := 1; major <= 2; major++ {
				for place, prepare := range map[string]func(l *logBuilder){
					"on one page":    func(l *logBuilder) { l.fill(0x800) },
					"over two pages": func(l *logBuilder) { l.fill(0x38) },
					"round the ring": func(l *logBuilder) { l.at = l.size - testPage; l.fill(0x38) },
				} {
					l := newLog(t, g.m, major, 2-major)
					prepare(l)
					l.flagged(1, c.flags, c.client)
					l.fill(0x100)
					l.finish(logInUse)
					if got, why := g.m.open().LogMentions(g.f); got != c.want {
						t.Errorf("%s, version %d: %v, want %v (%s)", place, major, got, c.want, why)
					}
				}
			}
		})
	}
}

// TestLogRestartAreas: the newer of two restart areas that can be read counts, in both versions.
func TestLogRestartAreas(t *testing.T) {
	g := newLogTarget(t, 40*mib)
	torn := []byte{1, 2}
	for _, c := range []struct {
		name   string
		damage func(l *logBuilder)
		want   [2]ntfs.LogMention // of version 1.1 and 2.0
	}{
		{"both", func(l *logBuilder) {}, [2]ntfs.LogMention{ntfs.LogNone, ntfs.LogNone}},
		{"first torn", func(l *logBuilder) { l.m.write(torn, l.pos+510) }, [2]ntfs.LogMention{ntfs.LogNone, ntfs.LogNone}},
		{"second torn", func(l *logBuilder) { l.m.write(torn, l.pos+testPage+510) }, [2]ntfs.LogMention{ntfs.LogNone, ntfs.LogNone}},
		{"both torn", func(l *logBuilder) {
			l.m.write(torn, l.pos+510)
			l.m.write(torn, l.pos+testPage+510)
		}, [2]ntfs.LogMention{ntfs.LogUnknown, ntfs.LogUnknown}},
		{"closed", func(l *logBuilder) { l.finish(logClosed) }, [2]ntfs.LogMention{ntfs.LogNone, ntfs.LogNone}},
		{"no client", func(l *logBuilder) { l.finish(logNobody) }, [2]ntfs.LogMention{ntfs.LogNone, ntfs.LogUnknown}},
	} {
		for major := 1; major <= 2; major++ {
			t.Run(fmt.Sprintf("%s, version %d", c.name, major), func(t *testing.T) {
				l := newLog(t, g.m, major, 2-major)
				l.flagged(1, noBuffer, lengths(update(7, 7, 0x108, 0x18, g.other, 0, nil, g.lcn), 0x41, 0))
				l.fill(0x100)
				l.finish(logInUse)
				c.damage(l)
				if got, why := g.m.open().LogMentions(g.f); got != c.want[major-1] {
					t.Errorf("%v, want %v (%s)", got, c.want[major-1], why)
				}
			})
		}
	}
}
