package inbox

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"troy/image"
	"troy/internal/absent"
	"troy/internal/progress"
	"troy/internal/space"
)

// room returns ErrFull unless there is room for so many pages more. Calls at the same time do not
// see each other's: they may exceed a bound by maxCalls regions.
func (s *Store) room(pages int) error {
	n := int64(pages) * image.PageSize
	if err := s.roomOnDisk(n); err != nil || s.o.Most <= 0 {
		return err
	}
	used, err := s.used()
	if err == nil && used+n > s.o.Most {
		err = fmt.Errorf("%w: the captures in %s hold %s, and may hold %s", ErrFull, s.o.Dir, progress.Bytes(used), progress.Bytes(s.o.Most))
	}
	return err
}

// roomOnDisk returns ErrFull if too little stays free with so many bytes more.
func (s *Store) roomOnDisk(n int64) error {
	if s.o.Spare < 0 {
		return nil
	}
	free, err := space.Free(s.o.Dir)
	if err == nil && free-n < s.o.Spare {
		err = fmt.Errorf("%w: %s are free in %s, and %s have to stay so", ErrFull, progress.Bytes(free), s.o.Dir, progress.Bytes(s.o.Spare))
	}
	return err
}

// used returns the bytes that the pages of all inboxes take on the disk.
func (s *Store) used() (n int64, err error) {
	names, err := ids(s.o.Dir)
	if err != nil {
		return 0, err
	}
	for _, id := range names {
		info, err := os.Stat(filepath.Join(s.o.Dir, id, pagesName))
		if absent.Is(err) {
			continue // it was removed meanwhile
		}
		if err != nil {
			return 0, err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			n += st.Blocks * 512
		}
	}
	return n, nil
}
