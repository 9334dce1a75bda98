package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
)

// File is a lab.yaml that may change while it is in use. What is not valid does not come into
// force.
type File struct {
	path string

	mu    sync.Mutex
	lab   *Lab
	stamp string
}

// Open reads the file. It must be valid now.
func Open(path string) (*File, error) {
	f := &File{path: path, stamp: stampOf(path)}
	var err error
	f.lab, err = Load(path)
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

// Reload looks whether the file has changed, and if so, or if force is set, reads it again; changed
// says that something else is in force now. After an error the old content is.
func (f *File) Reload(force bool) (changed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	stamp := stampOf(f.path)
	if stamp == f.stamp && !force {
		return false, nil
	}
	f.stamp = stamp // a file that is wrong is told once
	l, err := Load(f.path)
	if err != nil {
		return false, err
	}
	f.lab = l
	return true, nil
}

// stampOf tells states of a file apart.
func stampOf(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(info.ModTime().Format(time.RFC3339Nano), info.Size())
}
