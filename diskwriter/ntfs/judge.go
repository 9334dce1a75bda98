package ntfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"troy/internal/block"
)

// Condition is the class of a verdict.
type Condition int

// Conditions of a volume.
const (
	// Refused: only its owner may write there; Verdict.Err says why.
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
	Err       error    // of a refusal, the first of Refusals: ErrHibernated, ErrBitLocker, ErrSecondWindows, ...
	Refusals  []error  // all that was found to refuse the volume for
	Reasons   []string // of an unclean volume; looked for whatever else was found
	Dirty     bool     // $Volume flag, the first of VolumeInfo.Unclean
	Log       LogInfo
}

// Except returns the verdict for a caller that accepts refusals of class allowed: one that looks
// into a volume that holds a Windows, as its publisher does, asks for Except(ErrSecondWindows).
func (d Verdict) Except(allowed error) Verdict {
	if len(d.Refusals) == 0 { // of Open: nothing else is known
		return d
	}
	d.Refusals = slices.DeleteFunc(slices.Clone(d.Refusals), func(err error) bool { return errors.Is(err, allowed) })
	return d.conclude()
}

// conclude sets condition and error by what was found.
func (d Verdict) conclude() Verdict {
	d.Err, d.Condition = nil, Clean
	switch {
	case len(d.Refusals) > 0:
		d.Err, d.Condition = d.Refusals[0], Refused
	case len(d.Reasons) > 0:
		d.Condition = Unclean
	}
	return d
}

// String is one line for the screen.
func (d Verdict) String() string {
	switch {
	case d.Condition == Refused && d.Err != nil:
		return "NTFS volume refused: " + d.Err.Error()
	case d.Condition == Unclean:
		return "NTFS volume was not dismounted: " + d.Unclean()
	}
	return "NTFS volume is " + d.Condition.String()
}

// Unclean says in a few words why the volume counts as not dismounted, "" if it does not.
func (d Verdict) Unclean() string { return strings.Join(d.Reasons, "; ") }

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

// Judge reads whether the volume was left in order and whether anybody else owns it; it looks at
// everything, whatever it finds first. An unreadable hiberfil.sys or root directory is a refusal:
// what cannot be known is taken for the worst.
func (v *Volume) Judge() Verdict {
	d := Verdict{Log: v.Log()}
	for _, check := range []func() error{v.checkHibernated, v.checkSecondWindows} {
		if err := check(); err != nil {
			d.Refusals = append(d.Refusals, err)
		}
	}
	info, err := v.Info()
	if err != nil {
		d.Refusals = append(d.Refusals, err)
	}
	d.Dirty, d.Reasons = info.Dirty(), info.Unclean()
	if !d.Log.Clean() {
		d.Reasons = append(d.Reasons, d.Log.String())
	}
	return d.conclude()
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
		return fmt.Errorf("%w: hiberfil.sys cannot be read: %w", ErrHibernated, block.NoEOF(err))
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
