package player

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"

	"troy/diskwriter/ntfs"
	"troy/gates"
	"troy/internal/errline"
	"troy/trial/inside"
)

// findOrder reads the order from the first disc that has one.
func findOrder(discs []string) (*inside.Order, error) {
	err := errors.New("there is no CD drive")
	for _, path := range discs {
		var o *inside.Order
		if o, err = readOrder(path); err == nil {
			return o, nil
		}
	}
	return nil, err
}

func readOrder(path string) (o *inside.Order, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errline.Join(err, f.Close()) }()
	disc, err := iso9660.Read(file.New(f, true), 0, 0, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	order, err := disc.OpenFile("/"+inside.OrderFile, os.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	const most = 1 << 16 // bytes; an order is far shorter
	b, err := io.ReadAll(io.LimitReader(order, most))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return inside.ParseOrder(b)
}

// carryOut does what the order says and puts the record.
func (s *session) carryOut(o *inside.Order, phase inside.Phase) error {
	r := s.newRecord(o, phase)
	ballast, err := s.volume.Map(s.volume, inside.BallastFile)
	if err == nil {
		r.Ballast, err = s.ballast(ballast, o, phase)
	}
	if err != nil {
		r.Failed = append(r.Failed, fmt.Sprintf("ballast: %v", err))
	}
	for _, a := range o.Do {
		if a == inside.Stay {
			continue
		}
		if err := s.do(a, o, ballast); err != nil {
			r.Failed = append(r.Failed, fmt.Sprintf("%s: %v", a, err))
			s.say("order %d: %s: %v", o.Number, a, err)
			continue
		}
		r.Did = append(r.Did, a)
		s.say("order %d: %s: done", o.Number, a)
	}
	f, err := s.volume.Map(s.volume, inside.RecordFile)
	if err != nil {
		s.say("order %d: no record: %v", o.Number, err)
		return nil
	}
	if err := inside.Put(f, r); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	s.say("order %d: recorded, %s", o.Number, r.Ballast)
	return nil
}

// newRecord is what is known before anything is done.
func (s *session) newRecord(o *inside.Order, phase inside.Phase) *inside.Record {
	const version = `Microsoft\Windows NT\CurrentVersion`
	r := &inside.Record{Order: o.Number, Phase: phase, Time: time.Now().UTC().Format(time.RFC3339), PC: s.o.PC,
		Name: s.volume.text(systemHive, `ControlSet001\Control\ComputerName\ComputerName`, "ComputerName")}
	r.PC.Windows = gates.Windows{StandIn: true, Edition: s.volume.text(softwareHive, version, "EditionID"),
		Build: s.volume.text(softwareHive, version, "CurrentBuildNumber")}
	if o.Tell != "" {
		r.NotTold = "a stand-in for Windows has no network"
	}
	return r
}

// ballast reads it; at the first logon it is made before.
func (s *session) ballast(f *ntfs.MappedFile, o *inside.Order, phase inside.Phase) (inside.Stamps, error) {
	if phase == inside.Desktop {
		if err := fill(f, o.Stamp); err != nil {
			return inside.Stamps{}, err
		}
	}
	return inside.ReadBallast(f, f.Size())
}

func fill(f *ntfs.MappedFile, stamp uint32) error {
	if err := inside.WriteBallast(f, f.Size(), stamp); err != nil {
		return err
	}
	return f.Sync()
}

// errNotRun: what only a Windows can do.
var errNotRun = errors.New("not run: this is a stand-in for Windows")

// do carries out an action; ballast is nil where there is none.
func (s *session) do(a inside.Action, o *inside.Order, ballast *ntfs.MappedFile) error {
	switch a {
	case inside.Fill:
		if ballast == nil {
			return ntfs.ErrNotExist
		}
		return fill(ballast, o.Stamp)
	case inside.Stuff:
		return s.stuff(uint64(o.Number))
	}
	return errNotRun
}

// stuff overwrites all free clusters.
func (s *session) stuff(seed uint64) error {
	free, err := s.volume.FreeRuns()
	if err != nil {
		return err
	}
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	noise := rand.NewChaCha8(key)
	cluster := int64(s.volume.Geometry().ClusterSize)
	buffer := make([]byte, 1<<20)
	var total int64
	for _, r := range free {
		for at, end := r.LCN*cluster, (r.LCN+r.Length)*cluster; at < end; at += int64(len(buffer)) {
			part := buffer[:min(int64(len(buffer)), end-at)]
			noise.Read(part) // never fails
			if _, err := s.volume.WriteAt(part, at); err != nil {
				return err
			}
			total += int64(len(part))
		}
	}
	s.say("%d bytes of free clusters are overwritten; a stand-in makes no files", total)
	return s.volume.Sync()
}
