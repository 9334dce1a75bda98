// Package release says what a release of the agent is: a version and boot files, each with its size
// and hash. The store signs it, the machine keeps two copies of it on its ESP. It also has the
// names of all boot files that "troy media" writes, and what each of them is for.
package release

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"troy/internal/digest"
)

// ErrInvalid is the class of releases and file names that cannot be used.
var ErrInvalid = errors.New("invalid release of the agent")

// Limits of a release.
const (
	MaxFiles = 256
	MaxFile  = 1 << 30 // bytes of one file
	maxName  = 200
)

// Document is the name of the document that describes a release in a store; no file of a release
// can have it.
const Document = "release.json"

// Release is the agent as files.
type Release struct {
	Version string `json:"version"`
	Files   []File `json:"files"`
}

// File describes one boot file of a release.
type File struct {
	// Name is the path in the folder of the release, with slashes.
	Name string `json:"name"`
	// Size is in bytes.
	Size   int64      `json:"size"`
	SHA256 digest.Sum `json:"sha256"`
}

// File returns the entry of a file, nil if the release has none of that name.
func (r *Release) File(name string) *File {
	for i := range r.Files {
		if r.Files[i].Name == name {
			return &r.Files[i]
		}
	}
	return nil
}

// Size returns the bytes of all files.
func (r *Release) Size() (n int64) {
	for _, f := range r.Files {
		n += f.Size
	}
	return n
}

// Check returns an ErrInvalid unless the release has files and all of them can lie in one folder,
// also on a FAT file system. How versions are spelled is for the caller to check.
func (r *Release) Check() error {
	if len(r.Files) == 0 || len(r.Files) > MaxFiles {
		return fmt.Errorf("%w: %d files; want 1 to %d", ErrInvalid, len(r.Files), MaxFiles)
	}
	seen := map[string]bool{}
	for _, f := range r.Files {
		if err := f.Check(); err != nil {
			return err
		}
		low := strings.ToLower(f.Name) // FAT does not tell them apart
		if seen[low] {
			return fmt.Errorf("%w: two files %s", ErrInvalid, f.Name)
		}
		seen[low] = true
	}
	return nil
}

// Check returns an ErrInvalid unless the name and the size can be those of a boot file.
func (f File) Check() error {
	if err := CheckName(f.Name); err != nil {
		return err
	}
	if f.Size <= 0 || f.Size > MaxFile {
		return fmt.Errorf("%w: boot file %s of %d bytes; want 1 to %d", ErrInvalid, f.Name, f.Size, int64(MaxFile))
	}
	return nil
}

// CheckName returns an ErrInvalid unless a boot file can have the name: a relative path of a-z,
// A-Z, 0-9 and ._-+, no part of which begins with a dot.
func CheckName(name string) error {
	if !fs.ValidPath(name) || name == Document || len(name) > maxName || strings.ContainsFunc(name, foreign) {
		return fmt.Errorf("%w: %.250q cannot be the name of a boot file", ErrInvalid, name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part[0] == '.' {
			return fmt.Errorf("%w: %q cannot be the name of a boot file: a part begins with a dot", ErrInvalid, name)
		}
	}
	return nil
}

// foreign reports whether a character cannot be in the name of a boot file.
func foreign(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._-+/", r))
}
