package player

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"

	"troy/chainload/regf"
	"troy/diskwriter/ntfs"
	"troy/trial/inside"
)

// SetupFile is what setup writes, in parts of PartSize bytes: one for each restart, one for the
// first logon. The first page of a part that is done begins with the word DONE.
const (
	SetupFile = inside.Folder + "setup.bin"
	PartSize  = 128 << 10
	Restarts  = 2
	Parts     = Restarts + 1
)

const doneMark = "DONE"

// setup plays a step of setup and returns the phase of this start; "": the PC has to restart.
func (s *session) setup() (inside.Phase, error) {
	pending, err := s.volume.pending()
	if err != nil {
		return "", err
	}
	f, err := s.volume.Map(s.volume, SetupFile)
	if errors.Is(err, ntfs.ErrNotExist) && !pending {
		return inside.Up, nil // it was set up elsewhere
	}
	if err != nil {
		return "", fmt.Errorf("setup: %w", err)
	}
	done, err := partsDone(f)
	switch {
	case err != nil:
		return "", err
	case pending && done < Restarts:
		s.say("setup: restart %d of %d", done+1, Restarts)
		return "", finishPart(f, done)
	case pending:
		if err := s.endSetup(); err != nil {
			return "", err
		}
	case done != Restarts: // equal after a cut between the end of setup and the first logon
		return inside.Up, nil
	}
	s.say("setup: over, this is the first logon")
	return inside.Desktop, finishPart(f, Restarts)
}

// partsDone counts the parts that are done.
func partsDone(f *ntfs.MappedFile) (int, error) {
	if f.Size() < Parts*PartSize {
		return 0, fmt.Errorf("%s has %d bytes instead of %d", SetupFile, f.Size(), Parts*PartSize)
	}
	mark := make([]byte, len(doneMark))
	for n := range Parts {
		if _, err := f.ReadAt(mark, int64(n)*PartSize); err != nil {
			return 0, err
		}
		if string(mark) != doneMark {
			return n, nil
		}
	}
	return Parts, nil
}

// finishPart fills a part with noise, and says that it is done.
func finishPart(f *ntfs.MappedFile, n int) error {
	var seed [32]byte
	binary.LittleEndian.PutUint32(seed[:], uint32(n))
	part := make([]byte, PartSize)
	rand.NewChaCha8(seed).Read(part) // never fails
	at := int64(n) * PartSize
	if _, err := f.WriteAt(part[ntfs.PageSize:], at+ntfs.PageSize); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	copy(part, doneMark)
	if _, err := f.WriteAt(part[:ntfs.PageSize], at); err != nil {
		return err
	}
	return f.Sync()
}

// endSetup has the hive SYSTEM say that setup is over, in place.
func (s *session) endSetup() error {
	f, err := s.volume.Map(s.volume, systemHive)
	if err != nil {
		return err
	}
	old, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	if err != nil {
		return err
	}
	changed, err := setUp(old)
	if err != nil {
		return fmt.Errorf("%s: %w", systemHive, err)
	}
	for at := 0; at < len(old); at += ntfs.PageSize {
		page := changed[at:][:ntfs.PageSize]
		if bytes.Equal(page, old[at:][:ntfs.PageSize]) {
			continue
		}
		if _, err := f.WriteAt(page, int64(at)); err != nil {
			return err
		}
	}
	return f.Sync()
}

// setUp returns a hive SYSTEM as it is after setup, of the same length.
func setUp(old []byte) ([]byte, error) {
	hive, err := regf.Parse(old)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"SystemSetupInProgress", "OOBEInProgress"} {
		if v := hive.Root.Key("Setup").Value(name); v != nil {
			v.Data = regf.EncodeDWORD(0)
		}
	}
	changed, err := hive.Marshal()
	if err == nil && len(changed) != len(old) {
		err = fmt.Errorf("it has %d bytes and would have %d", len(old), len(changed))
	}
	return changed, err
}
