package pcdisk

import (
	"errors"
	"fmt"
	"strings"
)

// Errors of Choose; nothing was written.
var (
	// ErrNoDisk: no disk of the machine may be made into one of Troy's.
	ErrNoDisk = errors.New("no disk can be taken")
	// ErrNotPermitted: what the order names holds something, and no signature permits erasing
	// it.
	ErrNotPermitted = errors.New("erasing the disk is not permitted")
	// ErrSectorSize: the image has sectors of 512 bytes, the disk such of 4096.
	ErrSectorSize = errors.New("image and disk have different sector sizes")
)

// Order says which disk is to be made into the disk of a machine.
type Order struct {
	Serial string // of the disk; "": the one that is empty
	Wipe   bool   // one that holds something may be taken, if it is the only one
	// Permit is asked before a disk is chosen that holds something; nil permits nothing. Its error
	// says why not.
	Permit func(d DiskInfo) error

	Need       int64  // bytes, see BareOptions.Need
	SectorSize uint32 // logical, of the virtual disk; 0: 512
}

// ChooseError says what was seen on each disk. It unwraps to ErrNoDisk, ErrManyDisks, ErrOccupied,
// ErrNotPermitted, ErrNoSpace or ErrSectorSize.
type ChooseError struct {
	Class  error
	Detail string
	Seen   []string // a line for each disk, with the reason why it was not taken
}

// Error gives one line.
func (e *ChooseError) Error() string {
	s := e.Class.Error()
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if len(e.Seen) > 0 {
		s += " (" + strings.Join(e.Seen, "; ") + ")"
	}
	return s
}

// Unwrap returns the class.
func (e *ChooseError) Unwrap() error { return e.Class }

// Choose returns the disk to be made into the disk of a machine:
//
//   - never one that is no part of the machine (blockdev.Disk.Unfit: sticks, cards, what hangs on USB,
//     so the medium that the agent came from), nor one that cannot be read;
//   - with Serial that one alone, in any state; when it holds something, Permit has to agree;
//   - else the one that was being made and was cut off;
//   - else the one that is empty and large enough; two of them: none;
//   - else, with Wipe, the only one that holds something and is large enough, if Permit agrees. With
//     Wipe an empty disk beside it makes two.
//
// Whether wipe is true for the disk (BareOptions.Wipe) is told too. The error is a *ChooseError.
func Choose(disks []DiskInfo, o *Order) (d DiskInfo, wipe bool, err error) {
	c := &chooser{o: o}
	c.sort(disks)
	d, err = c.pick()
	if err != nil {
		return DiskInfo{}, false, err
	}
	if err := c.fits(d); err != nil {
		return DiskInfo{}, false, err
	}
	if d.Holding != Occupied && d.Holding != Prepared {
		return d, false, nil
	}
	if err := c.permitted(d); err != nil {
		return DiskInfo{}, false, err
	}
	return d, true, nil
}

// chooser sorts disks by what can be done with them.
type chooser struct {
	o                    *Order
	bare, half, occupied []DiskInfo
	unfit                []error // of disks that are too small or have other sectors, and are not named
	seen                 []string
}

func (c *chooser) fail(class error, format string, args ...any) error {
	return &ChooseError{Class: class, Detail: fmt.Sprintf(format, args...), Seen: c.seen}
}

// sort takes every disk to where it belongs.
func (c *chooser) sort(disks []DiskInfo) {
	for _, d := range disks {
		why := never(d)
		if why == "" && c.o.Serial != "" && d.Serial != c.o.Serial {
			why = "not the one that is named"
		}
		line := d.String()
		if why != "" {
			c.seen = append(c.seen, line+": "+why)
			continue
		}
		if err := c.fits(d); err != nil && c.o.Serial == "" && d.Holding != Unfinished {
			c.unfit = append(c.unfit, err)
			c.seen = append(c.seen, line+": "+short(err))
			continue
		}
		c.seen = append(c.seen, line)
		switch d.Holding {
		case Bare:
			c.bare = append(c.bare, d)
		case Unfinished:
			c.half = append(c.half, d)
		default:
			c.occupied = append(c.occupied, d)
		}
	}
}

// short is the error without the list of disks.
func short(err error) string {
	var e *ChooseError
	if errors.As(err, &e) {
		return e.Detail
	}
	return err.Error()
}

// never says why a disk is out of the question whatever the order says.
func never(d DiskInfo) string {
	if why := d.Unfit(); why != "" {
		return why
	}
	if d.Holding == Unknown {
		return "cannot be read"
	}
	return ""
}

func (c *chooser) pick() (DiskInfo, error) {
	all := append(append(append([]DiskInfo(nil), c.half...), c.bare...), c.occupied...)
	switch {
	case c.o.Serial != "":
		return c.only(all, fmt.Sprintf("serial %q", c.o.Serial))
	case len(c.half) > 0:
		return c.only(c.half, "half prepared disks")
	case c.o.Wipe:
		return c.only(all, "disks that may be erased")
	case len(c.bare) > 0:
		return c.only(c.bare, "empty disks")
	case len(c.occupied) > 0:
		return DiskInfo{}, c.fail(ErrOccupied, "the order has to name it by its serial number, or allow wipe")
	}
	return c.only(nil, "")
}

// only returns the one disk of a list.
func (c *chooser) only(list []DiskInfo, what string) (DiskInfo, error) {
	switch {
	case len(list) == 1:
		return list[0], nil
	case len(list) > 1:
		return DiskInfo{}, &ChooseError{Class: ErrManyDisks, Detail: fmt.Sprintf("%d %s, so none is taken: name one by its serial number", len(list), what), Seen: c.seen}
	case len(c.unfit) > 0:
		return DiskInfo{}, c.unfit[0]
	case len(c.seen) == 0:
		return DiskInfo{}, c.fail(ErrNoDisk, "the machine shows no disk at all")
	case c.o.Serial != "":
		return DiskInfo{}, c.fail(ErrNoDisk, "none has the serial number %q", c.o.Serial)
	}
	return DiskInfo{}, c.fail(ErrNoDisk, "none is suitable")
}

// ErrManyDisks: several disks could be meant, so none is taken.
var ErrManyDisks = errors.New("more than one disk is possible")

// fits compares sizes.
func (c *chooser) fits(d DiskInfo) error {
	if d.Size < c.o.Need {
		return c.fail(ErrNoSpace, "%s has %d bytes, %d are needed", d.Path, d.Size, c.o.Need)
	}
	sector := c.o.SectorSize
	if sector == 0 {
		sector = 512
	}
	if d.SectorSize > int(sector) {
		return c.fail(ErrSectorSize, "the image has sectors of %d bytes, %s has sectors of %d", sector, d.Path, d.SectorSize)
	}
	return nil
}

func (c *chooser) permitted(d DiskInfo) error {
	why := errors.New("no signed permit")
	if c.o.Permit != nil {
		why = c.o.Permit(d)
	}
	if why != nil {
		return c.fail(ErrNotPermitted, "%s: %s; %v", d.Path, d.Detail, why)
	}
	return nil
}
