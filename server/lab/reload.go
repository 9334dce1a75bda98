package lab

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"
)

// File is a lab.yaml that may change while it is in use, by any editor: written in place, in pieces,
// replaced, or behind a link. States of it are told apart by their content. One that was written just
// now comes into force when the next look finds the same, and later where it has lost more than
// half of its rooms or hosts. What is not valid does not come into force.
type File struct {
	path string

	mu   sync.Mutex
	lab  *Lab
	seen [sha256.Size]byte // content that was judged last; zero = it could not be read
	next [sha256.Size]byte // another one, which the last look found
	came time.Time         // when next was first found
	told string            // why it could not be read
	held [sha256.Size]byte // content of which ErrShrunk was told
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

// ErrShrunk is returned for a content that may be the first part of one that is still being
// written.
var ErrShrunk = fmt.Errorf("it has less than half of the rooms or hosts that it had; if it stays so, it is taken in %v, by a reload at once", shrunkTime)

const (
	settled    = 2 * time.Second // how long ago a file must have been written to be whole
	shrunkTime = time.Minute     // how long one that has shrunk must stay as it is
)

// Reload looks whether the file has changed; changed says that something else is in force now. A
// content that was written just now, and that the last look did not find, waits for the next one: it
// may be half of what is being written. So may one that has shrunk (ErrShrunk), which has to stay
// for a minute. With force each is taken as it is. After an error the old content is in force, and
// the same error is told once.
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
	if now != f.next || f.came.IsZero() {
		f.next, f.came = now, time.Now()
	}
	if now == f.seen && !force || !whole {
		return false, nil
	}
	l, err := Parse(f.path, b)
	if err == nil && !force && shrunk(f.lab, l) && time.Since(f.came) < shrunkTime {
		if f.held != now {
			f.held, f.seen, err = now, [sha256.Size]byte{}, fmt.Errorf("%s: %w", f.path, ErrShrunk)
		}
		return false, err
	}
	f.seen = now // a file that is wrong is told once
	if err != nil {
		return false, err
	}
	f.lab, f.held = l, [sha256.Size]byte{}
	return true, nil
}

// shrunk tells whether a lab has less than half of the rooms or hosts of the one before.
func shrunk(before, now *Lab) bool {
	return before != nil && (2*len(now.Rooms) < len(before.Rooms) || 2*len(now.Hosts) < len(before.Hosts))
}
