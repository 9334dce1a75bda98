package inside

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Names of the files on the trial's disc.
const (
	OrderFile   = "ORDER.TXT"
	ProgramFile = "GATES.EXE"
	ScriptFile  = "UP.CMD"
)

// ErrOrder: an order asks for what the program does not know.
var ErrOrder = errors.New("bad order")

// Action is something that the program does when it is told to.
type Action string

// Actions. Whatever is done, the program looks, leaves its record, and shuts Windows down.
const (
	Fill   Action = "fill"   // write the ballast anew, with Order.Stamp
	Retrim Action = "retrim" // Optimize-Volume -ReTrim on drive C (W6)
	Stuff  Action = "stuff"  // fill drive C until it is full, and leave it so
	Disks  Action = "disks"  // try the test disks in \gates of the drive that has them
	Stay   Action = "stay"   // do not shut down, and write to the ballast: the power will be cut
)

var actions = []Action{Fill, Retrim, Stuff, Disks, Stay}

// Order is what a trial tells the program for one start.
type Order struct {
	Number     int      `json:"number"`          // counts the starts of the trial from 1
	Do         []Action `json:"do,omitempty"`    // in this order
	Stamp      uint32   `json:"stamp,omitempty"` // for Fill, and for a ballast that is made
	BallastMiB int      `json:"ballast_mib"`     // its size when it is made
	Tell       string   `json:"tell,omitempty"`  // URL to which the record is posted as JSON
}

// maxOrder is the size of an order's file, in bytes.
const maxOrder = 4096

// Encode returns the file.
func (o *Order) Encode() ([]byte, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	return json.Marshal(o)
}

// ParseOrder reads an order. Zeros after it are the rest of a sector.
func ParseOrder(b []byte) (*Order, error) {
	text := strings.TrimRight(string(b), "\x00")
	if len(text) > maxOrder {
		return nil, fmt.Errorf("%w: %d bytes", ErrOrder, len(text))
	}
	o := new(Order)
	if err := json.Unmarshal([]byte(text), o); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOrder, err)
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	return o, nil
}

func (o *Order) check() error {
	if o.Number < 1 || o.BallastMiB < 1 || o.BallastMiB > 1<<10 {
		return fmt.Errorf("%w: number %d, ballast of %d MiB", ErrOrder, o.Number, o.BallastMiB)
	}
	for _, a := range o.Do {
		if !slices.Contains(actions, a) {
			return fmt.Errorf("%w: %.20q", ErrOrder, a)
		}
	}
	return nil
}

// Wants reports whether the order has an action.
func (o *Order) Wants(a Action) bool { return slices.Contains(o.Do, a) }

// Most is how long what the order wants may take, at most. The ballast is small, and counts as
// nothing.
func (o *Order) Most() (d time.Duration) {
	for _, a := range o.Do {
		if a != Fill && a != Stay {
			d += ActionLimit
		}
	}
	return d
}
