package inbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"troy/image"
	"troy/image/capture"
	"troy/internal/errline"
)

// DefaultSpare is how many bytes an inbox leaves free on the disk, unless Options say otherwise.
const DefaultSpare = 1 << 30

// maxBoxes bounds how many captures there may be: they are removed when they are published, or by
// hand.
const maxBoxes = 64

// Options are those of a Store. The zero value is right but for Dir.
type Options struct {
	Dir string // of the inboxes; it is made when the first one begins
	// Most bounds the bytes of pages in all inboxes; 0: the disk does.
	Most int64
	// Spare is how many bytes stay free on the disk; 0: DefaultSpare, negative: none.
	Spare int64
	// Now tells the time; nil: the clock of the computer does.
	Now func() time.Time
}

// Store is the inboxes of a server. Its methods may be called concurrently.
type Store struct {
	o    Options
	mu   sync.Mutex
	open map[string]*opened
}

// opened is an inbox in use.
type opened struct {
	*box
	about *About
	info  os.FileInfo // of its folder
}

// New returns the inboxes in a folder, which need not exist yet. Close it when done.
func New(o *Options) *Store {
	s := &Store{o: *o, open: map[string]*opened{}}
	if s.o.Now == nil {
		s.o.Now = time.Now
	}
	if s.o.Spare == 0 {
		s.o.Spare = DefaultSpare
	}
	return s
}

// Close closes what is open.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for id, b := range s.open {
		errs = append(errs, b.close())
		delete(s.open, id)
	}
	return errline.Join(errs...)
}

// Begin makes the inbox of a capture for the machine with that key, unless it has one already.
// Errors: ErrStranger, ErrOther, ErrFull, those of the disk.
func (s *Store) Begin(id, key, host string, session *capture.About) error {
	if err := checkID(id); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.get(id, key)
	switch {
	case err == nil && !b.about.Session.Same(session):
		a := &b.about.Session
		return fmt.Errorf("%w: it stands on %s version %d (%s)", ErrOther, a.Image, a.Version, a.Manifest)
	case !errors.Is(err, ErrNone):
		return err
	}
	if err := os.MkdirAll(s.o.Dir, 0o700); err != nil {
		return err
	}
	if err := sweep(s.o.Dir); err != nil {
		return err
	}
	list, err := ids(s.o.Dir)
	if err != nil {
		return err
	}
	if len(list) >= maxBoxes {
		return fmt.Errorf("%w: there are %d captures in %s; remove those that are not needed", ErrFull, len(list), s.o.Dir)
	}
	if err := s.roomOnDisk(0); err != nil {
		return err
	}
	return full(makeFolder(s.o.Dir, id, &About{Key: key, Host: host, Begun: s.o.Now().UTC(), Session: *session}))
}

// get returns an inbox of that key. The store is locked.
func (s *Store) get(id, key string) (*opened, error) {
	b, err := s.load(id)
	if err != nil {
		return nil, err
	}
	if b.about.Key != key {
		return nil, fmt.Errorf("%w: %s", ErrStranger, id)
	}
	return b, nil
}

// load opens an inbox, or returns the one that is open. Its folder may have been removed by the
// admin, and a box that is broken is read again. The store is locked.
func (s *Store) load(id string) (*opened, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	info, err := os.Stat(filepath.Join(s.o.Dir, id))
	old := s.open[id]
	if old != nil && err == nil && os.SameFile(info, old.info) && !old.isBroken() {
		return old, nil
	}
	if old != nil {
		delete(s.open, id)
		if err := old.close(); err != nil {
			return nil, err
		}
	}
	about, err := readAbout(s.o.Dir, id)
	if err != nil {
		return nil, err
	}
	pages, log, err := openFiles(s.o.Dir, id, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	b, err := newBox(pages, log, about.Session.VirtualSize)
	if err != nil {
		return nil, errline.Join(err, b.close())
	}
	s.open[id] = &opened{b, about, info}
	return s.open[id], nil
}

func (b *box) isBroken() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.broken != nil
}

// About returns what is known of an inbox of that key.
func (s *Store) About(id, key string) (*About, error) {
	b, err := s.locked(id, key)
	if err != nil {
		return nil, err
	}
	return b.about, nil
}

func (s *Store) locked(id, key string) (*opened, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.get(id, key)
}

// Held returns which pieces are in an inbox.
func (s *Store) Held(id, key string) (*capture.Held, error) {
	b, err := s.locked(id, key)
	if err != nil {
		return nil, err
	}
	h, _ := b.list()
	return h, nil
}

// Put takes a piece whose hash was checked. When it returns nil the piece is durable. Errors:
// ErrNone, ErrStranger, ErrFull, ErrFinished, those of the disk.
func (s *Store) Put(id, key string, p *capture.Piece, sum image.Sum) error {
	b, err := s.locked(id, key)
	if err != nil {
		return err
	}
	if err := p.Check(b.about.Session.VirtualSize); err != nil {
		return err
	}
	return full(b.put(p, sum, s.room))
}

// Finish ends a capture whose pieces come to these totals. Errors: those of Put, ErrOther.
func (s *Store) Finish(id, key string, t *capture.Totals) error {
	b, err := s.locked(id, key)
	if err != nil {
		return err
	}
	return full(b.finish(t))
}

// full makes ErrFull of a disk that is full.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}
