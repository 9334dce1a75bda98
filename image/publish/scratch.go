package publish

import (
	"fmt"
	"os"

	"troy/image"
)

// Scratch is a folder in a store for files from which a disk is made before it is published. While
// it is there no other process publishes. A killed process leaves the folder to the next publisher,
// who removes it.
type Scratch struct {
	store  *store
	dir    string // "" until it is needed
	unlock func()
}

// NewScratch returns a Scratch of a store. It makes nothing.
func NewScratch(s *image.Store) *Scratch { return &Scratch{store: on(s)} }

// Dir makes the folder at the first call, and returns it. Errors: ErrBusy, and those of the disk.
func (s *Scratch) Dir() (string, error) {
	if s.dir != "" {
		return s.dir, nil
	}
	unlock, err := s.store.lock()
	if err != nil {
		return "", err
	}
	dir := s.store.tmp("source")
	if err = s.store.clean(packName, journalName); err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		unlock()
		return "", fmt.Errorf("image: %w", err)
	}
	s.dir, s.unlock = dir, unlock
	return dir, nil
}

// Close removes the folder and lets others publish. Files that are open can still be read.
func (s *Scratch) Close() error {
	if s.dir == "" {
		return nil
	}
	err := os.RemoveAll(s.dir)
	s.unlock()
	s.dir = ""
	return err
}
