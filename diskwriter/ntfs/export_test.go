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

// MFTRuns returns the number of runs of $MFT and whether it has an attribute list.
func (v *Volume) MFTRuns() (runs int, hasList bool, err error) {
	n, err := v.load(recordMFT)
	if err != nil {
		return 0, false, err
	}
	return len(v.mft.runs), n.hasList, nil
}
