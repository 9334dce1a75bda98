package agent

import (
	"context"
	"errors"

	"troy/agent/decide"
	"troy/chainload/setup"
	"troy/diskwriter/pcdisk"
	"troy/image"
	"troy/internal/format"
	"troy/server/protocol"
)

// setupNote says of which version setup is, or was, run on this machine.
type setupNote struct {
	Of   string `json:"of"` // decide.Name
	Over bool   `json:"over,omitempty"`
	Did  string `json:"did,omitempty"` // the admin's order that was carried out last

	Unknown format.Unknown `json:",embed"`
}

// noteSetup keeps that the setup of a version has not run to its end, before the version comes onto
// the disk. While another version is on the disk that means nothing.
func (r *records) noteSetup(m *image.Manifest) error {
	if !m.Setup {
		return nil
	}
	r.Setup = setupNote{Of: decide.Name(m.Image, m.Version, m.SHA256.String())}
	return r.keep()
}

// markSetup sets the marks that the note is the reason for.
func (r *records) markSetup(f *decide.Facts) {
	s, n := f.Disk.State, r.Setup
	here := n.Of != "" && n.Of == decide.Name(s.Image, s.Version, s.Manifest)
	f.Memo.Marks.Setup, f.Memo.Marks.SetUp, f.EndedSetup = here && !n.Over, here && n.Over, n.Did
}

// endSetup carries out what the admin says of a setup that has not run to its end. What it has done
// is discarded before that is noted: if this start is cut off, the order finds nothing to discard.
func (a *agent) endSetup(ctx context.Context, s decide.Step) error {
	if s.Kind == decide.LeaveSetup {
		if err := a.disk.machine.Reset(ctx); err != nil {
			return err
		}
	}
	n := &a.rec.Setup
	n.Over, n.Did = s.Kind == decide.EndSetup, a.facts.Order.EndSetup.ID
	return a.rec.keep()
}

// ofSetup is what the check-in says of it.
func ofSetup(m *decide.Marks) protocol.Setup {
	switch {
	case m.Setup:
		return protocol.SetupPending
	case m.SetUp:
		return protocol.SetupOver
	}
	return protocol.SetupNone
}

// judgeSetup finds out whether setup has ended since the last start. A restart on the way is not the
// end, and what cannot be read is not either.
func (r *records) judgeSetup(f *decide.Facts) {
	if r.markSetup(f); !f.Memo.Marks.Setup {
		return
	}
	switch pending, err := r.disk.pendingSetup(); {
	case err != nil:
		r.con.say("setup: whether it has finished is not known: %v", err)
	case pending:
		r.con.say("setup: Windows is still being set up; the disk is kept as it is")
	default:
		r.con.say("setup: Windows has been set up")
		r.Setup.Over = true
		if err := r.keep(); err != nil {
			r.con.say("journal: %v", err)
		}
	}
}

// pendingSetup asks the Windows that starts next, its session included.
func (d *disk) pendingSetup() (bool, error) {
	s := d.machine.State()
	if s.LogPending {
		return false, errors.New("the log of the boot child was not replayed")
	}
	chain, err := pcdisk.Chain(d.target.Files())
	if err != nil {
		return false, err
	}
	return setup.Pending(chain, chain.Size(), int(s.LogicalSectorSize))
}

// noteSetup reads the manifest of a version that is going to be written, for the note about its
// setup.
func (w *writer) noteSetup(ctx context.Context, name string, version int) error {
	m, err := image.LoadManifest(ctx, w.store.src, name, version)
	if err != nil {
		return err
	}
	return w.rec.noteSetup(m)
}
