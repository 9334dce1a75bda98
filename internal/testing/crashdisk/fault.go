package crashdisk

import (
	"io"
	"syscall"
)

// Kind tells the calls apart.
type Kind int

// The calls a Hook sees.
const (
	Read Kind = iota
	Write
	Sync
)

// Call is one call about to happen. N counts all calls since Start from 1.
type Call struct {
	N    int
	Kind Kind
	File string
	Off  int64
	Len  int
}

// Hook may let a call fail: a nil error lets it happen. With an error, the first done bytes of a
// write are written all the same (whole sectors).
type Hook func(c Call) (done int, err error)

// SetHook installs h, nil removes it. h is called with the disk locked and must not use it.
func (d *Disk) SetHook(h Hook) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hook = h
}

func (d *Disk) call(c Call) (int, error) {
	d.calls++
	c.N = d.calls
	if d.hook == nil {
		return 0, nil
	}
	done, err := d.hook(c)
	return done &^ (SectorSize - 1), err
}

// badPage is a page of a file that cannot be read.
type badPage struct {
	file string
	page int64
}

// Spoil makes the page at off of a file unreadable (EIO) until it was written to as a whole, as a
// drive does with a sector that rotted or that a power cut left half written.
func (d *Disk) Spoil(file string, off int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bad[badPage{file, off / pageSize}] = true
}

// Spoiled counts the pages that cannot be read.
func (d *Disk) Spoiled() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.bad)
}

func (d *Disk) anyBad(file string, off int64, n int) bool {
	for b := range d.bad {
		if at := b.page * pageSize; b.file == file && at < off+int64(n) && off < at+pageSize {
			return true
		}
	}
	return false
}

func (d *Disk) healBad(op Op) {
	for b := range d.bad {
		if at := b.page * pageSize; b.file == op.File && op.Off <= at && at+pageSize <= op.Off+int64(len(op.Data)) {
			delete(d.bad, b)
		}
	}
}

// Fault is a way for a call to fail.
type Fault int

// The faults of FailAt. IOError hits whichever call it is, and half of a write may have happened;
// NoSpace and ShortWrite hit writes, SyncError hits flushes; a call of another kind passes.
const (
	IOError Fault = iota
	NoSpace
	ShortWrite
	SyncError
)

// String names the fault.
func (f Fault) String() string {
	return [...]string{"EIO", "ENOSPC", "short write", "failing flush"}[f]
}

// FailAt fails call number n, and with dead set every later call too, as a disk does that was
// pulled out. hit tells whether the fault came to pass.
func FailAt(n int, f Fault, dead bool) (h Hook, hit func() bool) {
	var happened bool
	return func(c Call) (int, error) {
		if c.N < n || c.N > n && !(dead && happened) {
			return 0, nil
		}
		done, err := f.apply(c, happened)
		happened = happened || err != nil
		return done, err
	}, func() bool { return happened }
}

func (f Fault) apply(c Call, dead bool) (int, error) {
	switch {
	case dead:
		return 0, syscall.EIO
	case f == IOError && c.Kind == Write:
		return c.Len / 2, syscall.EIO
	case f == IOError:
		return 0, syscall.EIO
	case f == NoSpace && c.Kind == Write:
		return 0, syscall.ENOSPC
	case f == ShortWrite && c.Kind == Write:
		return c.Len / 2, io.ErrShortWrite
	case f == SyncError && c.Kind == Sync:
		return 0, syscall.EIO
	}
	return 0, nil
}
