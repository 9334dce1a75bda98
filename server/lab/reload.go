package lab

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"sync"
	"time"
)

// File is a lab.yaml that may change while it is in use, by any editor: written in place, in pieces,
// replaced, or behind a link. States of it are told apart by their content. One that was written just
// now comes into force when the next look finds the same. What is not valid does not come into
// force.
type File struct {
	path string

	mu   sync.Mutex
	lab  *Lab
	seen [sha256.Size]byte // content that was judged last; zero = it could not be read
	next [sha256.Size]byte // another one, which the last look found
	told string            // why it could not be read
}

// Open reads the file. It must be valid now.
func Open(path string) (*File, error) {
	f := &File{path: path}
	b, _, err := read(path)
	if err != nil {
		f.told = err.Error()
		return f, err
	}
	f.seen = sha256.Sum256(b)
	f.lab, err = Parse(path, b)
	return f, err
}

// OpenLater is Open for a file that may not be there yet: until it is, a lab without rooms is in
// force. Reload takes the file as soon as it appears.
func OpenLater(path string) (*File, error) {
	f, err := Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		f.lab, err = &Lab{Format: formatNumber, Zone: "UTC", loc: time.UTC}, nil
	}
	return f, err
}

// Lab returns what is in force. It must not be changed.
func (f *File) Lab() *Lab {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lab
}

// settled is how long ago a file must have been written to be whole.
const settled = 2 * time.Second

// Reload looks whether the file has changed; changed says that something else is in force now. A
// content that was written just now, and that the last look did not find, waits for the next one: it
// may be half of what is being written. With force it is taken as it is. After an error the old
// content is in force, and the same error is told once.
func (f *File) Reload(force bool) (changed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, written, err := read(f.path)
	if err != nil {
		if f.told == err.Error() && !force {
			return false, nil
		}
		f.told, f.seen, f.next = err.Error(), [sha256.Size]byte{}, [sha256.Size]byte{}
		return false, err
	}
	f.told = ""
	now := sha256.Sum256(b)
	whole := force || now == f.next || time.Since(written) > settled
	f.next = now
	if now == f.seen && !force || !whole {
		return false, nil
	}
	f.seen = now // a file that is wrong is told once
	l, err := Parse(f.path, b)
	if err != nil {
		return false, err
	}
	f.lab = l
	return true, nil
}
