package trial

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// Options of a trial. Source, Dir, Troy and Out are required.
type Options struct {
	Source  string // installation medium or disk image; only read
	Edition string // of a medium; "": the first that may be booted natively
	Dir     string // folder of the trial; one that holds a trial is gone on with
	Size    int64  // of the disk of a medium, in bytes; 0: 64 GiB

	Troy    string   // the program troy
	Relay   []string // command that takes HOST:PORT as its last argument and joins it with its own input and output
	Bundle  string   // folder of the boot bundle
	Program string   // troy-gates.exe, for the disc; "": none, as with a stand-in that is built in

	Until        string // the last step to do, one of Steps; "": all
	Cuts         int    // of the power
	Online       bool   // the virtual PCs reach what this machine reaches
	NoSecureBoot bool
	Emulate      bool // do without KVM
	MemoryMiB    int  // of a virtual PC; 0: 4096
	BallastMiB   int  // what differs between versions; 0: 64
	Force        bool // publish an image that no PC should start, as troy image import --force-unbootable

	Out io.Writer // told what is done
}

func (o *Options) memory() int { return orDefault(o.MemoryMiB, 4096) }

func (o *Options) ballast() int { return orDefault(o.BallastMiB, 64) }

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Errors of a trial.
var (
	// ErrHost: this machine cannot run the trial, or not any longer.
	ErrHost = errors.New("this machine cannot run the trial")
	// ErrSource: the image or medium cannot be tried. Nothing was begun.
	ErrSource = errors.New("this cannot be tried")
	// ErrFolder: the folder holds something else, or another trial.
	ErrFolder = errors.New("the folder of the trial cannot be used")
	// ErrCommand: a command of Troy failed.
	ErrCommand = errors.New("a command failed")
	// ErrStopped: a step went so wrong that those after it make no sense. The result says what.
	ErrStopped = errors.New("the trial ended early")
)

// patience is how long a start may take before it counts as one that did not come up. One that is
// not expected to come up is given less.
func (t *Trial) patience(how *power) time.Duration {
	longest := t.state.Longest // of the starts that came up, setup left out
	switch {
	case how.setup && t.host.KVM:
		return 2 * time.Hour
	case how.setup:
		return 24 * time.Hour
	case longest > 0 && how.doomed:
		return max(2*longest, time.Minute)
	case longest > 0:
		return 5*longest + 5*time.Minute + how.order.Most()
	case t.host.KVM:
		return time.Hour
	}
	return 8 * time.Hour
}

// say tells what is done, in a line.
func (t *Trial) say(format string, args ...any) { fmt.Fprintf(t.o.Out, format+"\n", args...) }
