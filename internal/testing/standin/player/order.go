package player

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"

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
func (s *session) carryOut(ctx context.Context, o *inside.Order, phase inside.Phase) error {
	start := &inside.Start{Order: o, Phase: phase, System: &system{s, o}}
	if f, err := s.volume.Map(s.volume, inside.BallastFile); err == nil {
		start.Ballast, start.Size = f, f.Size()
		if err := s.makeBallast(f, o, phase); err != nil {
			return err
		}
	} else {
		start.Failed = append(start.Failed, fmt.Sprintf("ballast: %v", err))
	}
	if f, err := s.volume.Map(s.volume, inside.RecordFile); err == nil {
		start.Records = f
	} else {
		start.Failed = append(start.Failed, fmt.Sprintf("records: %v", err))
	}
	r, err := inside.Run(ctx, start)
	for _, line := range r.Failed {
		s.say("order %d: %s", o.Number, line)
	}
	if start.Records != nil {
		s.say("order %d: recorded, did %v, found %s", o.Number, r.Did, r.Ballast)
	}
	return err
}

// makeBallast fills the ballast at the first logon, when the program in a Windows makes it.
func (s *session) makeBallast(f *ntfs.MappedFile, o *inside.Order, phase inside.Phase) error {
	if phase != inside.Desktop {
		return nil
	}
	if err := inside.WriteBallast(f, f.Size(), o.Stamp); err != nil {
		return err
	}
	return f.Sync()
}

// system is what package inside asks of a Windows.
type system struct {
	*session
	order *inside.Order
}

// errNotRun: what only a Windows can do.
var errNotRun = errors.New("not run: this is a stand-in for Windows")

// Do implements inside.System.
func (s *system) Do(_ context.Context, a inside.Action) error {
	if a == inside.Stuff {
		return s.stuff(uint64(s.order.Number))
	}
	return errNotRun
}

// Look implements inside.System.
func (s *system) Look(context.Context) inside.Seen {
	const version = `Microsoft\Windows NT\CurrentVersion`
	v := s.volume
	seen := inside.Seen{Name: v.text(systemHive, `ControlSet001\Control\ComputerName\ComputerName`, "ComputerName"), PC: s.o.PC}
	seen.PC.Windows = gates.Windows{StandIn: true, Edition: v.text(softwareHive, version, "EditionID"),
		Build: v.text(softwareHive, version, "CurrentBuildNumber")}
	return seen
}

// ShutDown implements inside.System. The session is closed after it.
func (s *system) ShutDown() error { return nil }

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
