package ntfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Condition is the class of a verdict.
type Condition int

// Conditions of a volume.
const (
	// Refused: nobody but its owner may write there; Verdict.Err says why.
	Refused Condition = iota
	// Unclean: Windows lost the volume without dismounting it; Windows will repair
	// it. Routine after a hard power-off.
	Unclean
	// Clean: dismounted in order.
	Clean
)

// String returns the name in lower case.
func (c Condition) String() string {
	if c < Refused || c > Clean {
		return fmt.Sprintf("condition %d", int(c))
	}
	return [...]string{"refused", "unclean", "clean"}[c]
}

// Verdict is what Judge finds. The zero value is a refusal.
type Verdict struct {
	Condition Condition
	Err       error    // of a refusal: ErrHibernated, ErrBitLocker, ErrSecondWindows, ...
	Reasons   []string // of an unclean volume
	Dirty     bool     // $Volume flag
	Log       LogInfo
}

// String is one line for the screen.
func (d Verdict) String() string {
	switch {
	case d.Condition == Refused && d.Err != nil:
		return "NTFS volume refused: " + d.Err.Error()
	case d.Condition == Unclean:
		return "NTFS volume was not dismounted: " + strings.Join(d.Reasons, "; ")
	}
	return "NTFS volume is " + d.Condition.String()
}

// Judge opens and judges the volume in r, a partition of size bytes. The Volume is
// nil when the verdict is Refused.
func Judge(r io.ReaderAt, size int64) (*Volume, Verdict) {
	v, err := Open(r, size)
	if err != nil {
		return nil, Verdict{Err: err}
	}
	d := v.Judge()
	if d.Condition == Refused {
		return nil, d
	}
	return v, d
}

// Judge reads whether the volume was left in order and whether anybody else owns it.
// An unreadable hiberfil.sys or root directory is a refusal: what cannot be known is
// taken for the worst.
func (v *Volume) Judge() Verdict {
	for _, check := range []func() error{v.checkHibernated, v.checkSecondWindows} {
		if err := check(); err != nil {
			return Verdict{Err: err}
		}
	}
	info, err := v.Info()
	if err != nil {
		return Verdict{Err: err}
	}
	d := Verdict{Condition: Clean, Dirty: info.Dirty(), Log: v.Log()}
	if d.Dirty {
		d.Reasons = append(d.Reasons, "dirty flag is set")
	}
	if !d.Log.Clean() {
		d.Reasons = append(d.Reasons, d.Log.String())
	}
	if len(d.Reasons) > 0 {
		d.Condition = Unclean
	}
	return d
}

// checkHibernated reads the magic of hiberfil.sys. A file that was never used begins
// with zeros; after a resume Windows leaves WAKE, in the middle of one RSTR. Anything
// else, known (HIBR, HORM) or not, is a Windows that expects its volume unchanged.
func (v *Volume) checkHibernated() error {
	n, _, err := v.lookup(`\hiberfil.sys`)
	if errors.Is(err, ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s, err := v.open(n, attrData, "")
	if err != nil {
		return fmt.Errorf("%w: hiberfil.sys cannot be read: %w", ErrHibernated, err)
	}
	magic := make([]byte, 4)
	if n, err := s.ReadAt(magic, 0); err == io.EOF && n == 0 {
		return nil
	} else if n < len(magic) {
		return fmt.Errorf("%w: hiberfil.sys cannot be read: %w", ErrHibernated, noEOF(err))
	}
	switch string(bytes.ToUpper(magic)) {
	case "\x00\x00\x00\x00", "WAKE", "RSTR":
		return nil
	}
	return fmt.Errorf("%w: hiberfil.sys begins with %q", ErrHibernated, magic)
}

// checkSecondWindows looks for a folder \Windows: a Windows that boots from the
// volume itself writes to it, and may be asleep in ways that hiberfil.sys of another
// volume does not show.
func (v *Volume) checkSecondWindows() error {
	n, _, err := v.lookup(`\Windows`)
	if errors.Is(err, ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if n.flags&recordDirectory != 0 {
		return ErrSecondWindows
	}
	return nil
}
