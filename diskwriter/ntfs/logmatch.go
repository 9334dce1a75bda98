package ntfs

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// LogMention says what a restart from $LogFile would do to given files.
type LogMention int

// Mentions, from the worst to the best for us.
const (
	// LogUnknown: the log could not be read with certainty. Take it for LogNames.
	LogUnknown LogMention = iota
	// LogNames: a record changes an MFT record or clusters of one of the files.
	LogNames
	// LogTimes: the only records that change one of their MFT records change its
	// $STANDARD_INFORMATION (times, attribute flags), not where the file lies.
	LogTimes
	// LogNone: no record touches the files.
	LogNone
)

// String returns a word for it.
func (m LogMention) String() string {
	if m < LogUnknown || m > LogNone {
		return fmt.Sprintf("mention %d", int(m))
	}
	return [...]string{"unknown", "names", "times", "none"}[m]
}

// Operations of NTFS log records that need a closer look.
const (
	opNoop                = 0x00
	opCompensation        = 0x01
	opUpdateResidentValue = 0x07
	opDeleteDirtyClusters = 0x0a
	opSetBits             = 0x15
	opClearBits           = 0x16
	opHotFix              = 0x17 // last of the operations on pages
	opEndTopLevel         = 0x18 // to 20: transactions and tables
	opTableDump           = 0x20
	opLast                = 0x27
)

var errNamed = errors.New("named")

// logMatcher compares log records with the files.
type logMatcher struct {
	v     *Volume
	files []*MappedFile
	times bool
	why   string
}

// LogMentions reads every record of $LogFile that a restart could use and says what
// they do to the files, with a reason in words. A log that is empty or closed does
// nothing to anybody.
func (v *Volume) LogMentions(files ...*MappedFile) (LogMention, string) {
	s, err := v.logFile()
	if err != nil {
		return LogUnknown, err.Error()
	}
	r, err := readRestart(s)
	switch {
	case err != nil:
		return LogUnknown, err.Error()
	case r == nil:
		return LogNone, "$LogFile is empty"
	case r.major < 2 && (r.volumeClean || !r.clientInUse):
		return LogNone, "$LogFile is closed"
	case !r.clientInUse:
		return LogUnknown, "$LogFile 2.0 has no client"
	}
	m := &logMatcher{v: v, files: files}
	l, err := newLogReader(s, r)
	if err == nil {
		err = l.walk(m.visit)
	}
	return m.result(err)
}

// result says what a walk that ended with err found.
func (m *logMatcher) result(err error) (LogMention, string) {
	switch {
	case errors.Is(err, errNamed):
		return LogNames, m.why
	case err != nil:
		return LogUnknown, err.Error()
	case m.times:
		return LogTimes, m.why
	}
	return LogNone, "no record of $LogFile names the files"
}

// visit looks at one record; errNamed ends the walk.
func (m *logMatcher) visit(r logRecord) error {
	if r.typ == 2 { // a checkpoint
		return nil
	}
	if r.typ != 1 || len(r.client) < 0x20 {
		return corrupt("$LogFile", -1, "record %#x of type %d with %d bytes", r.lsn, r.typ, len(r.client))
	}
	op, err := parseOperation(r)
	if err != nil {
		return err
	}
	if op.redo == opDeleteDirtyClusters || op.undo == opDeleteDirtyClusters {
		return m.dirtyClusters(r, op)
	}
	if !op.changesPage() {
		return nil
	}
	if len(op.lcns) == 0 {
		return corrupt("$LogFile", -1, "record %#x changes a page (operations %#x, %#x) and names no cluster", r.lsn, op.redo, op.undo)
	}
	return m.match(r, op)
}

// operation is the client data of an NTFS log record. Data is nil where the record has a length for
// it and no buffer; longest counts the length all the same.
type operation struct {
	redo, undo         uint16
	redoData, undoData []byte
	recordOff, attrOff int64
	clusterOff, vcn    int64 // bytes into the first cluster; VCN of the attribute
	lcns               []int64
	longest            int64 // of redo and undo data
}

func parseOperation(r logRecord) (op operation, err error) {
	le := binary.LittleEndian
	b := r.client
	op.redo, op.undo = le.Uint16(b), le.Uint16(b[2:])
	redo := buffer{int(le.Uint16(b[4:])), int(le.Uint16(b[6:]))}
	undo := buffer{int(le.Uint16(b[8:])), int(le.Uint16(b[0xa:]))}
	n := int(le.Uint16(b[0xe:]))
	// Nothing undoes a compensation: Windows fills in a length, and no data is there.
	hasRedo, hasUndo := r.flags&recordNoRedo == 0, r.flags&recordNoUndo == 0 && op.undo != opCompensation
	if r.flags&^recordFlags != 0 || op.redo > opLast || op.undo > opLast || 0x20+8*n > len(b) ||
		hasRedo && !redo.inside(b) || hasUndo && !undo.inside(b) {
		return op, corrupt("$LogFile", -1, "record %#x: operations %#x, %#x with flags %#x and %d clusters in %d bytes",
			r.lsn, op.redo, op.undo, r.flags, n, len(b))
	}
	// A direction without a buffer of its own may name the other one's.
	if hasRedo || hasUndo && redo == undo {
		op.redoData = redo.of(b)
	}
	if hasUndo || hasRedo && redo == undo {
		op.undoData = undo.of(b)
	}
	op.longest = int64(max(redo.n, undo.n))
	op.recordOff, op.attrOff = int64(le.Uint16(b[0x10:])), int64(le.Uint16(b[0x12:]))
	op.clusterOff, op.vcn = int64(le.Uint16(b[0x14:]))*blockSize, int64(le.Uint64(b[0x18:]))
	for i := range n {
		op.lcns = append(op.lcns, int64(le.Uint64(b[0x20+8*i:])))
	}
	return op, nil
}

// buffer is the place of redo or undo data in the client data of a record.
type buffer struct{ off, n int }

func (d buffer) inside(b []byte) bool { return d.n == 0 || d.off+d.n <= len(b) }

// of returns the data in b, nil when there is none.
func (d buffer) of(b []byte) []byte {
	if d.n == 0 {
		return nil
	}
	return b[d.off:][:d.n]
}

// changesPage reports whether redo or undo changes a page of the volume.
func (op *operation) changesPage() bool {
	for _, o := range []uint16{op.redo, op.undo} {
		if o > opCompensation && o <= opHotFix || o > opTableDump {
			return true
		}
	}
	return false
}

// match looks for what the operation touches among the files' MFT records and
// clusters. Lengths are taken rather too long than too short.
func (m *logMatcher) match(r logRecord, op operation) error {
	cs := int64(m.v.geo.ClusterSize)
	start := op.clusterOff
	end := start + max(int64(m.v.geo.RecordSize), op.recordOff+op.attrOff+op.longest)
	for i, lcn := range op.lcns {
		lo, hi := max(start, int64(i)*cs), min(end, int64(i+1)*cs)
		if lcn <= 0 || lo >= hi { // 0 or -1: a hole
			continue
		}
		if lcn >= m.v.geo.Clusters {
			return corrupt("$LogFile", -1, "record %#x names cluster %d", r.lsn, lcn)
		}
		at := byteRange{lcn*cs + lo - int64(i)*cs, hi - lo}
		if err := m.matchRange(r, op, at); err != nil {
			return err
		}
	}
	return m.bits(r, op)
}

func (m *logMatcher) matchRange(r logRecord, op operation, at byteRange) error {
	cs := int64(m.v.geo.ClusterSize)
	for _, f := range m.files {
		for _, run := range f.m.Runs {
			if at.overlaps(byteRange{run.LCN * cs, run.Length * cs}) {
				return m.named(r, op, f, "content")
			}
		}
		for i, rec := range f.records {
			if !at.overlaps(rec) {
				continue
			}
			if i != 0 || at.off != rec.off || !op.timesOnly(f) {
				return m.named(r, op, f, "MFT record")
			}
			m.times, m.why = true, fmt.Sprintf("$LogFile record %#x changes only the times of %s", r.lsn, f.m.Path)
		}
	}
	return nil
}

func (a byteRange) overlaps(b byteRange) bool { return a.off < b.off+b.n && b.off < a.off+a.n }

func (m *logMatcher) named(r logRecord, op operation, f *MappedFile, what string) error {
	m.why = fmt.Sprintf("$LogFile record %#x (operations %#x, %#x) changes the %s of %s", r.lsn, op.redo, op.undo, what, f.m.Path)
	return errNamed
}

// timesOnly reports whether both directions stay inside the value of the file's
// $STANDARD_INFORMATION, with data that the record has.
func (op *operation) timesOnly(f *MappedFile) bool {
	update := func(o uint16, data []byte) bool {
		return o == opUpdateResidentValue && data != nil || o == opNoop || o == opCompensation
	}
	return update(op.redo, op.redoData) && update(op.undo, op.undoData) && op.recordOff == int64(f.standard.off) &&
		op.attrOff >= 0x18 && op.attrOff+op.longest <= int64(f.standard.n)
}

// bits looks at changes of $Bitmap: clusters of the files must not be in them.
func (m *logMatcher) bits(r logRecord, op operation) error {
	if op.lcns[0] <= 0 || !m.inBitmap(op.lcns[0]) {
		return nil
	}
	for _, d := range []struct {
		op   uint16
		data []byte
	}{{op.redo, op.redoData}, {op.undo, op.undoData}} {
		switch d.op {
		case opNoop, opCompensation:
		case opSetBits, opClearBits:
			if len(d.data) < 8 || op.vcn < 0 || op.vcn > m.v.geo.Clusters {
				return corrupt("$LogFile", -1, "record %#x: bits in %d bytes", r.lsn, len(d.data))
			}
			le := binary.LittleEndian
			first := (op.vcn*int64(m.v.geo.ClusterSize)+op.clusterOff)*8 + int64(le.Uint32(d.data))
			if err := m.clusters(r, op, Run{first, int64(le.Uint32(d.data[4:]))}); err != nil {
				return err
			}
		default:
			return corrupt("$LogFile", -1, "record %#x: operation %#x on $Bitmap", r.lsn, d.op)
		}
	}
	return nil
}

func (m *logMatcher) inBitmap(lcn int64) bool {
	for _, r := range m.v.bitmap.runs {
		if lcn >= r.LCN && lcn < r.LCN+r.Length {
			return true
		}
	}
	return false
}

// dirtyClusters looks at the clusters that a transaction gave up.
func (m *logMatcher) dirtyClusters(r logRecord, op operation) error {
	for _, d := range []struct {
		op   uint16
		data []byte
	}{{op.redo, op.redoData}, {op.undo, op.undoData}} {
		data := d.data
		if d.op == opDeleteDirtyClusters && (len(data) == 0 || len(data)%16 != 0) {
			return corrupt("$LogFile", -1, "record %#x gives up clusters in %d bytes", r.lsn, len(data))
		}
		for ; len(data) >= 16; data = data[16:] {
			le := binary.LittleEndian
			lcn, n := int64(le.Uint64(data)), int64(le.Uint64(data[8:]))
			if lcn < 0 || n < 0 || lcn > m.v.geo.Clusters || n > m.v.geo.Clusters {
				return corrupt("$LogFile", -1, "record %#x gives up clusters %d+%d", r.lsn, lcn, n)
			}
			if err := m.clusters(r, op, Run{lcn, n}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *logMatcher) clusters(r logRecord, op operation, c Run) error {
	at := byteRange{c.LCN, c.Length}
	for _, f := range m.files {
		for _, run := range f.m.Runs {
			if at.overlaps(byteRange{run.LCN, run.Length}) {
				return m.named(r, op, f, "clusters")
			}
		}
	}
	return nil
}
