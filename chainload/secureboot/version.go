package secureboot

import (
	"cmp"
	"fmt"
)

// SVN is the security version number of a Windows Boot Manager: major in the upper half, minor in
// the lower one; 0 = none.
type SVN uint32

// String writes it as Microsoft does.
func (s SVN) String() string { return fmt.Sprintf("%d.%d", s>>16, s&0xffff) }

// FileVersion is the version of a file, 16 bits for each of four numbers; 0 = none.
type FileVersion uint64

// String writes it as Windows shows it.
func (v FileVersion) String() string {
	return fmt.Sprintf("%d.%d.%d.%d", v>>48, v>>32&0xffff, v>>16&0xffff, v&0xffff)
}

// Version is that of a Windows Boot Manager; the zero value is of one that does not tell.
type Version struct {
	SVN  SVN
	File FileVersion
}

// Compare returns -1 if v is older than w, 1 if it is newer.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.SVN, w.SVN), cmp.Compare(v.File, w.File))
}

// String writes it for people.
func (v Version) String() string {
	switch {
	case v == Version{}:
		return "without a version"
	case v.SVN == 0:
		return v.File.String()
	}
	return fmt.Sprintf("%s, security version %s", v.File, v.SVN)
}
