package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"troy/agent/coldplug"
	"troy/agent/decide"
	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/diskwriter/pcdisk"
	"troy/internal/errline"
	"troy/internal/guid"
	"troy/internal/wait"
	"troy/server/protocol"
	"troy/vhdx"
)

const (
	driversQuiet = 300 * time.Millisecond // no new device for so long: the buses are done
	diskPatience = 15 * time.Second       // a USB or NVMe disk may take its time
)

// disk is the disk of the machine, and what was opened on it.
type disk struct {
	o        *Options
	con      *console
	target   *pcdisk.Target
	machine  *machine.Machine
	admitted bool // the files may be written to
	newer    bool // a newer program keeps this disk: nothing is written to it at all
}

// loadDrivers loads what the machine's devices ask for, and until ctx ends what those ask for that
// come later: whoever waits for a disk or a network port need not do anything about its driver.
func loadDrivers(ctx context.Context, con *console) error {
	plug, err := coldplug.New()
	if err != nil {
		return err
	}
	_, err = plug.Settle(ctx, driversQuiet)
	go plug.Follow(ctx, func(loaded []string, err error) {
		if len(loaded) > 0 {
			con.say("drivers: %s, for a device that came late", strings.Join(loaded, ", "))
		}
		if err != nil {
			con.say("drivers: %v", err)
		}
	})
	if merr := coldplug.MountEFIVars(); merr != nil && !errors.Is(merr, coldplug.ErrNoEFI) {
		err = errline.Join(err, merr)
	}
	return err
}

// open finds the disk, judges its volume, and opens the machine. Nothing is written.
func (d *disk) open(ctx context.Context) decide.Disk {
	d.machine, d.admitted = nil, false
	if d.target == nil {
		t, err := d.find(ctx)
		if err != nil {
			if errors.Is(err, pcdisk.ErrNone) {
				return decide.Disk{Condition: decide.Missing, Why: d.hidden() + err.Error()}
			}
			return decide.Disk{Condition: decide.Unsuitable, Why: err.Error()}
		}
		d.target = t
	}
	note, err := d.target.Admit()
	if err != nil {
		lacks := decide.LacksOf(err)
		d.newer = len(lacks) > 0
		return decide.Disk{Condition: decide.Unsuitable, Why: err.Error(), Lacks: lacks}
	}
	d.admitted = true
	if note != "" {
		d.con.say("disk: %s", note)
	}
	m, err := machine.Open(d.target.Files())
	switch {
	case errors.Is(err, machine.ErrParentChanged) && healable(d.target.Files()):
		return decide.Disk{Condition: decide.ParentChanged, Why: err.Error()}
	case err != nil:
		return decide.Disk{Condition: decide.Damaged, Why: err.Error()}
	}
	d.machine = m
	d.con.say("disk: %s", holding(d.target.Device.Path(), m.State()))
	return decide.Disk{Condition: decide.Opened, State: m.State()}
}

// healable tells whether it is known which version a parent that was changed elsewhere held.
func healable(f machine.Files) bool {
	h, err := machine.OpenForHeal(f)
	if err != nil {
		return false
	}
	l, known := h.Label()
	return known && l.Version != 0
}

// holding says in one line what the disk holds.
func holding(path string, s machine.State) string {
	what := fmt.Sprintf("%s holds %s version %d", path, s.Image, s.Version)
	switch {
	case s.Reinstalling:
		return path + " holds a version that is not completely written"
	case s.Version == 0:
		what = path + " holds a version that is not recorded"
	}
	if s.Layers > 0 {
		what += fmt.Sprintf(", not merged yet (parent: version %d)", s.BaseVersion)
	}
	if s.Staged > 0 {
		what += fmt.Sprintf(", version %d is staged", s.Staged)
	}
	return what
}

// find waits a little for disks that appear late.
func (d *disk) find(ctx context.Context) (*pcdisk.Target, error) {
	deadline := time.Now().Add(diskPatience)
	for {
		paths, unfit, err := d.paths()
		if err != nil {
			return nil, err
		}
		t, err := pcdisk.Find(paths)
		var none *pcdisk.FindError
		if errors.As(err, &none) {
			none.Seen = append(none.Seen, unfit...)
		}
		if err == nil || !errors.Is(err, pcdisk.ErrNone) || d.o.Running || time.Now().After(deadline) {
			return t, err
		}
		if err := wait.For(ctx, 500*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// paths are the disks that may be the machine's. Unfit are the others, and why.
func (d *disk) paths() (paths, unfit []string, err error) {
	if d.o.Disk != "" {
		return []string{d.o.Disk}, nil, nil
	}
	disks, err := blockdev.Disks()
	for _, x := range disks {
		if why := x.Unfit(); why != "" {
			unfit = append(unfit, x.Path+": "+why)
			continue
		}
		paths = append(paths, x.Path)
	}
	return paths, unfit, err
}

// hidden says which controllers hide a disk, with a separator; "" = none is known to.
func (d *disk) hidden() string {
	if d.o.Disk != "" {
		return ""
	}
	paths, _, _ := d.paths() // the caller has seen the error
	text := d.o.hardware().Hidden(len(paths) > 0)
	if text == "" {
		return ""
	}
	return text + "; "
}

// all are the disks that the agent may work on.
func (d *disk) all() ([]pcdisk.DiskInfo, error) {
	if d.o.Disk == "" {
		return pcdisk.Disks()
	}
	x, err := pcdisk.Describe(d.o.Disk, nil)
	return []pcdisk.DiskInfo{x}, err
}

// serial is the serial number of the machine's disk; "" = it has none that is known.
func (d *disk) serial() string {
	if d.target == nil {
		return ""
	}
	x, err := pcdisk.Describe(d.target.Device.Path(), nil)
	if err != nil {
		return ""
	}
	return x.Serial
}

// recover finishes what was cut off, and records where the files lie.
func (d *disk) recover(ctx context.Context) error {
	if err := d.machine.Recover(ctx); err != nil {
		return err
	}
	return d.target.Record()
}

// journal is the machine's, nil when there is none that can be used.
func (d *disk) journal() *machine.Journal {
	if d.target == nil || !d.admitted {
		return nil
	}
	f := d.target.Files().Journal
	if f.Storage == nil {
		return nil
	}
	j, err := machine.OpenJournal(f)
	if err != nil {
		return nil
	}
	return j
}

// session is the DataWriteGuid of the boot child; ok is false when it cannot be read.
func (d *disk) session() (id guid.GUID, ok bool) {
	f := d.target.Files().Boot
	if f.Storage == nil {
		return guid.GUID{}, false
	}
	h, _, err := vhdx.ReadHeaders(f.Storage)
	if err != nil {
		return guid.GUID{}, false
	}
	return h.DataWriteGUID, true
}

// closedInOrder says whether the volume that Windows boots from was closed in order; known is false
// where that cannot be told. The log of the boot child was replayed before.
func (d *disk) closedInOrder() (closed, known bool) {
	s := d.machine.State()
	if s.LogPending {
		return false, false
	}
	chain, err := pcdisk.Chain(d.target.Files())
	if err != nil {
		return false, false
	}
	v, err := pcdisk.WindowsVolume(chain, chain.Size(), int(s.LogicalSectorSize))
	if v == nil || err != nil {
		return false, false
	}
	info, err := v.Info()
	if err != nil {
		return false, false
	}
	return len(info.Unclean()) == 0 && v.Log().Clean(), true
}

// written counts the bytes that the \Troy\ files were told to take; sent those that the kernel has
// sent to the disk, in whatever way, which is unknown for an image file.
func (d *disk) written() (written, sent int64) {
	if d.target == nil {
		return 0, 0
	}
	written = d.target.Written()
	if n, ok := diskWrites(d.target.Device.Path()); ok {
		return written, n
	}
	return written, written
}

// leave puts what a service inside Windows may want to know into the mailbox. Without one nothing is
// lost: a disk that was adopted has none, and Windows may have changed it.
func (d *disk) leave(order *protocol.Order) {
	if d.target == nil || !d.admitted {
		return
	}
	m := pcdisk.Message{Nonce: rand.Text()}
	if order != nil {
		m.Name = order.Name
	}
	if err := d.target.Leave(m); err != nil {
		d.con.say("mailbox: %v", err)
	}
}

func (d *disk) close() {
	if d.target != nil {
		d.target.Close()
	}
}
