package player

import (
	"context"

	"troy/diskwriter/pcdisk"
	"troy/internal/testing/dirtyflag"
	"troy/trial/inside"
	"troy/vhdx"
)

// session is a Windows that runs: its chain is open for writing.
type session struct {
	*disk
	volume *volume
}

// start opens the chain as Windows does, and marks both volumes as in use.
func (d *disk) start() (*session, error) {
	chain, err := d.openChain()
	if err != nil {
		return nil, err
	}
	s := &session{disk: d}
	if s.volume, err = findVolume(chain); err != nil {
		return nil, err
	}
	info, err := s.volume.Info()
	if err != nil {
		return nil, err
	}
	if info.Dirty() {
		s.say("the volume was not closed in order: it is repaired")
	}
	return s, s.mark(true)
}

// openChain opens the boot child for writing, and the files below it for reading.
func (d *disk) openChain() (*vhdx.Chain, error) {
	leaf, err := vhdx.OpenStorage(d.files.Boot.Storage, d.files.Boot.Size, &vhdx.OpenOptions{Writable: true})
	if err != nil {
		return nil, err
	}
	return vhdx.ResolveChain(leaf, func(child *vhdx.File) (*vhdx.File, error) {
		_, f, err := pcdisk.Parent(d.files, child)
		if err != nil {
			return nil, err
		}
		return vhdx.NewFile(f.Storage, f.Size)
	})
}

func (s *session) say(format string, args ...any) { s.o.Say(format, args...) }

// mark changes the flag of both volumes: first that of the PC's own, when it comes into use, and
// last, when it is closed.
func (s *session) mark(dirty bool) error {
	own := func() error {
		if err := dirtyflag.Set(s.host, 0, dirty); err != nil {
			return err
		}
		return s.host.Sync()
	}
	if dirty {
		if err := own(); err != nil {
			return err
		}
	}
	if err := dirtyflag.Set(s.volume.chain, s.volume.start, dirty); err != nil {
		return err
	}
	if dirty {
		return s.volume.Sync()
	}
	if err := s.volume.chain.Close(); err != nil {
		return err
	}
	return own()
}

// close ends the session in order.
func (s *session) close() error {
	if err := s.volume.Sync(); err != nil {
		return err
	}
	if err := s.mark(false); err != nil {
		return err
	}
	s.say("closed in order")
	return nil
}

// stay writes to the ballast until the power is cut. It says so when the first block is on the
// disk.
func (s *session) stay(ctx context.Context) error {
	f, err := s.volume.Map(s.volume, inside.BallastFile)
	if err != nil {
		s.say("staying, and writing nothing: %v", err)
		return nil
	}
	return inside.KeepWriting(ctx, f, f.Size(), func() { s.say("staying") })
}
