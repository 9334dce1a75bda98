package ntfs

import "fmt"

// Runs returns the clusters that hold the unnamed content of the file at path, in the order of the
// file, neighbours joined, holes included: for callers that only need the file's
// clusters. Unlike Map it takes a file that was not written to its end (Windows never writes all of
// its page file), a sparse, compressed or encrypted one, and one of any size. What would make the
// clusters not the file's own is a FileError: ErrDirectory, ErrReparse, ErrHardLinks, ErrResident,
// ErrOverlap (a cluster twice, or one of a system file), ErrNotUsed.
func (v *Volume) Runs(path string) ([]Run, error) {
	n, parent, err := v.lookup(path)
	if err != nil {
		return nil, err
	}
	fail := func(err error, detail string) ([]Run, error) {
		return nil, &FileError{Path: path, Err: err, Detail: detail}
	}
	if n.flags&recordDirectory != 0 {
		return fail(ErrDirectory, "")
	}
	if _, ok := n.first(attrReparse); ok {
		return fail(ErrReparse, "")
	}
	if err := v.checkNames(n, parent); err != nil {
		return fail(err, "")
	}
	segs := n.segments(attrData, "")
	if len(segs) == 0 {
		return nil, corrupt(n.what(), -1, "no $DATA")
	}
	if segs[0].resident {
		return fail(ErrResident, fmt.Sprintf("%d bytes", len(segs[0].value)))
	}
	runs, err := v.runs(n, segs)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := v.checkOwned(runs); err != nil {
		err.Path = path
		return nil, err
	}
	return mergeRuns(runs), nil
}

// checkOwned refuses clusters that are claimed twice or marked free.
func (v *Volume) checkOwned(runs []Run) *FileError {
	if r, bad := overlapping(runs, v.system); bad {
		return &FileError{Err: ErrOverlap, Detail: fmt.Sprintf("cluster %d", r.LCN)}
	}
	for _, r := range runs {
		if r.Hole() {
			continue
		}
		free, err := v.firstFree(r)
		if err != nil {
			return &FileError{Err: err}
		}
		if free >= 0 {
			return &FileError{Err: ErrNotUsed, Detail: fmt.Sprintf("cluster %d", free)}
		}
	}
	return nil
}
