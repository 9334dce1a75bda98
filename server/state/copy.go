package state

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"troy/internal/wait"
)

// Times of the copy: it is looked at so often, and made again when it is so old.
const (
	copyLook = time.Hour
	copyAge  = 24 * time.Hour
)

// CopyOf is the path of the copy of a state file.
func CopyOf(path string) string { return path + ".1" }

// DamagedError says what is wrong with a state file. It is an ErrDamaged.
type DamagedError struct {
	Path string
	Err  error
}

// Error implements error.
func (e *DamagedError) Error() string { return fmt.Sprintf("%s %v: %v", e.Path, ErrDamaged, e.Err) }

// Unwrap returns the class and the cause.
func (e *DamagedError) Unwrap() []error { return []error{ErrDamaged, e.Err} }

// WayBack says how the server starts again, and what is lost then.
func (e *DamagedError) WayBack() string {
	other := CopyOf(e.Path)
	info, err := os.Stat(other)
	if err == nil {
		err = Check(other)
	}
	if err != nil {
		return fmt.Sprintf("no good copy lies beside it: put it back from a backup; without one move it away, and the server begins anew: rooms have to be promoted and machines without a line in lab.yaml assigned again, %s",
			"and the keys and history of all machines are lost")
	}
	return fmt.Sprintf("'cp -p %s %s' puts back the good copy of %s; promotions, assignments and first check-ins after that are lost",
		other, e.Path, info.ModTime().Format("2006-01-02 15:04"))
}

// Copy writes a copy beside the file, in place of the one before. It is checked first: a copy that
// is damaged never replaces a good one.
func (s *Store) Copy() error { return classify(backup(s.db, CopyOf(s.db.Path()))) }

// KeepCopy makes a copy every day, until ctx ends. What keeps it from that is told to warn.
func (s *Store) KeepCopy(ctx context.Context, warn func(string)) {
	for {
		if s.copyDue(time.Now()) {
			var damaged *DamagedError
			if err := s.Copy(); errors.As(err, &damaged) {
				warn(fmt.Sprintf("%v; stop the server, then: %s", err, damaged.WayBack()))
			} else if err != nil {
				warn(fmt.Sprintf("no copy was made of %s: %v", s.db.Path(), err))
			}
		}
		if wait.For(ctx, copyLook) != nil {
			return
		}
	}
}

// copyDue says whether a copy is to be made: none is there, or it is old, or of a clock that was
// ahead.
func (s *Store) copyDue(now time.Time) bool {
	info, err := os.Stat(CopyOf(s.db.Path()))
	return err != nil || now.Sub(info.ModTime()).Abs() >= copyAge
}
