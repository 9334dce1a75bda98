package ntfs

// ParseBoot decodes a boot sector.
var ParseBoot = parseBoot

// ChangeRecord lets tests in package ntfs_test damage MFT records.
func (v *Volume) ChangeRecord(ref Reference, change func(b []byte)) ([]Patch, error) {
	b, err := v.rawRecord(ref.Record())
	if err != nil {
		return nil, err
	}
	if err := unprotect(b, "FILE", "record"); err != nil {
		return nil, err
	}
	change(b)
	protect(b)
	return v.recordPatches(ref, b), nil
}

// RecordPlace returns where an MFT record begins on the volume.
func (v *Volume) RecordPlace(ref Reference) int64 {
	pos, _ := v.mft.locate(ref.Record() * int64(v.geo.RecordSize))
	return pos
}

// LogPlace returns where $LogFile lies: byte of the volume and size; it must be in
// one piece.
func (v *Volume) LogPlace() (pos, size int64, err error) {
	s, err := v.logFile()
	if err != nil {
		return 0, 0, err
	}
	pos, n := s.locate(0)
	if n < s.size {
		return 0, 0, corrupt("$LogFile", -1, "in pieces")
	}
	return pos, s.size, nil
}

// BitmapPlace returns the volume byte that holds the bit of a cluster.
func (v *Volume) BitmapPlace(lcn int64) int64 {
	pos, _ := v.bitmap.locate(lcn / 8)
	return pos
}

// WalkLog visits every record of the log; it returns their LSNs and types.
func (v *Volume) WalkLog() (lsns []uint64, types []uint32, err error) {
	s, err := v.logFile()
	if err != nil {
		return nil, nil, err
	}
	r, err := readRestart(s)
	if err != nil {
		return nil, nil, err
	}
	l, err := newLogReader(s, r)
	if err != nil {
		return nil, nil, err
	}
	err = l.walk(func(rec logRecord) error {
		lsns, types = append(lsns, rec.lsn), append(types, rec.typ)
		return nil
	})
	return lsns, types, err
}

// Protect puts fixups into a multi-sector structure.
func Protect(b []byte) { protect(b) }

// WalkLogFrom visits records from lsn on, whatever the restart page says, until one
// cannot be read.
func (v *Volume) WalkLogFrom(lsn uint64) (lsns []uint64, err error) {
	s, err := v.logFile()
	if err != nil {
		return nil, err
	}
	r, err := readRestart(s)
	if err != nil {
		return nil, err
	}
	l, err := newLogReader(s, r)
	for err == nil {
		var next uint64
		if _, next, err = l.read(lsn); err == nil {
			lsns, lsn = append(lsns, lsn), next
		}
	}
	return lsns, err
}

// LogWindows returns what every n records that follow each other say of the files; lsns are the
// LSNs of all records; bitmap is where $Bitmap counts as.
func (v *Volume) LogWindows(lsns []uint64, n int, bitmap Run, files ...*MappedFile) (got []LogMention, why []string, err error) {
	s, err := v.logFile()
	if err != nil {
		return nil, nil, err
	}
	r, err := readRestart(s)
	if err != nil {
		return nil, nil, err
	}
	l, err := newLogReader(s, r)
	if err != nil {
		return nil, nil, err
	}
	v.bitmap.runs = []Run{bitmap}
	for i := range len(lsns) - n + 1 {
		m := &logMatcher{v: v, files: files}
		var end error
		for _, lsn := range lsns[i:][:n] {
			rec, _, err := l.read(lsn)
			if err == nil {
				err = m.visit(rec)
			}
			if end = err; end != nil {
				break
			}
		}
		mention, reason := m.result(end)
		got, why = append(got, mention), append(why, reason)
	}
	return got, why, nil
}

// FileAt returns a file that has only content, at run.
func FileAt(run Run) *MappedFile { return &MappedFile{m: Mapping{Path: "made", Runs: []Run{run}}} }

// MFTRuns returns the number of runs of $MFT and whether it has an attribute list.
func (v *Volume) MFTRuns() (runs int, hasList bool, err error) {
	n, err := v.load(recordMFT)
	if err != nil {
		return 0, false, err
	}
	return len(v.mft.runs), n.hasList, nil
}
