package trial

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/diskwriter/ntfs"
	"troy/diskwriter/pcdisk"
	"troy/internal/errline"
	"troy/trial/inside"
	"troy/vhdx"
)

// View is what a PC's disk shows from outside, while the PC is off.
type View struct {
	State   machine.State
	Host    string   // verdict of the volume with \Troy\
	Chain   []string // names of the files of the chain, the boot child first
	Faults  []string
	Closed  bool   // the volume inside was closed in order
	Unclean string // why not
	Ballast inside.Stamps
	Record  *inside.Record // of the order; nil: there is none
	Boot    int64          // size of boot.vhdx, in bytes
	Places  uint32         // a checksum of where its blocks lie in it
}

// Look looks at the disk of a PC, as the agent does before it writes, and at what Windows would see
// on it, with the record of an order. It writes nothing. What is wrong is in Faults; the error is that of reading.
func Look(path string, order int) (*View, error) {
	t, err := pcdisk.Look(path, &blockdev.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer t.Close()
	v := &View{}
	v.Host = t.Judge().String()
	m, _, err := t.Open()
	if err != nil {
		v.fault("the agent would leave the disk alone: %v", err)
		return v, nil
	}
	v.State = m.State()
	f := t.Files()
	v.Boot = f.Boot.Size
	if v.Places, err = places(f.Boot); err != nil {
		v.fault("boot.vhdx: %v", err)
		return v, nil
	}
	checked, err := pcdisk.CheckChain(f)
	if err != nil {
		v.fault("the chain: %v", err)
		return v, nil
	}
	for _, c := range checked {
		v.Chain = append(v.Chain, c.Name)
		if d := damage(c.Report); d != nil {
			v.fault("%s is damaged: %v", c.Name, d)
		}
	}
	chain, err := pcdisk.Chain(f)
	if err != nil {
		v.fault("the chain does not open: %v", err)
		return v, nil
	}
	v.windows(chain, order)
	return v, nil
}

// damage is the first thing that breaks the format; nil: there is none. A warning is none: a log that
// is not closed, or one torn copy of two, is what a cut leaves, and what opening mends.
func damage(r *vhdx.Report) *vhdx.Finding {
	for i := range r.Findings {
		if r.Findings[i].Severity == vhdx.Error {
			return &r.Findings[i]
		}
	}
	return nil
}

// places is a checksum of where the blocks of a VHDX lie.
func places(file machine.File) (uint32, error) {
	f, err := vhdx.NewFile(file.Storage, file.Size)
	if err != nil {
		return 0, err
	}
	geo, sum := f.Geometry(), crc32.NewIEEE()
	for block := range geo.Blocks() {
		e, err := f.BATEntry(geo.PayloadIndex(block))
		if err != nil {
			return 0, err
		}
		if err := binary.Write(sum, binary.LittleEndian, e.FileOffset()); err != nil {
			return 0, err
		}
	}
	return sum.Sum32(), nil
}

func (v *View) fault(format string, args ...any) {
	v.Faults = append(v.Faults, fmt.Sprintf(format, args...))
}

// windows looks at the volume on the virtual disk.
func (v *View) windows(chain *vhdx.Chain, order int) {
	volume, err := windowsOn(chain)
	if err != nil {
		v.fault("the volume inside: %v", err)
		return
	}
	verdict := volume.Judge().Except(ntfs.ErrSecondWindows)
	v.Unclean = verdict.Unclean()
	v.Closed = verdict.Condition == ntfs.Clean
	if verdict.Condition == ntfs.Refused {
		v.fault("the volume inside: %s", verdict)
	}
	if f, err := volume.OpenFile(inside.BallastFile); err == nil {
		v.Ballast, err = inside.ReadBallast(f, f.Size())
		if err != nil {
			v.fault("the ballast: %v", err)
		}
	}
	f, err := volume.OpenFile(inside.RecordFile)
	if err != nil {
		return // the program has not run yet
	}
	if v.Record, err = inside.Of(f, order); err != nil {
		v.fault("the records: %v", err)
	}
}

// windowsOn finds the volume of Windows on a virtual disk.
func windowsOn(chain *vhdx.Chain) (*ntfs.Volume, error) {
	volume, err := pcdisk.WindowsVolume(chain, chain.Size(), sectorOf(chain))
	if err == nil && volume == nil {
		err = errors.New("there is none with a Windows")
	}
	return volume, err
}

func sectorOf(chain *vhdx.Chain) int { return int(chain.Files()[0].Metadata().LogicalSectorSize) }

// String is one line.
func (v *View) String() string {
	if len(v.Faults) > 0 {
		return strings.Join(v.Faults, "; ")
	}
	inner := "closed in order"
	if !v.Closed {
		inner = "not closed: " + v.Unclean
	}
	return fmt.Sprintf("version %d in a chain of %d, %s; the volume inside %s", v.State.Version, v.State.Layers+2, v.Ballast, inner)
}

// flatten writes what a PC's disk shows as a VHDX: without a parent, what is not zero; with one,
// what differs from it.
func flatten(ctx context.Context, path, out, parent string, progress func(int64)) (err error) {
	t, err := pcdisk.Look(path, &blockdev.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer t.Close()
	if _, _, err := t.Open(); err != nil {
		return err
	}
	chain, err := pcdisk.Chain(t.Files())
	if err != nil {
		return err
	}
	if parent != "" {
		return child(parent, out, func(c *vhdx.Chain) error { return copyPages(ctx, c, chain, c, chain.Size(), progress) })
	}
	f, err := vhdx.Create(out, &vhdx.CreateOptions{Size: chain.Size(), Kind: vhdx.Dynamic, BlockSize: 2 << 20, LogicalSectorSize: uint32(sectorOf(chain)), Overwrite: true})
	if err != nil {
		return err
	}
	to, err := vhdx.NewChain(f)
	if err != nil {
		return errline.Join(err, f.Close())
	}
	return errline.Join(copyPages(ctx, to, chain, zeros{}, chain.Size(), progress), to.Close())
}

// zeros reads as zeros.
type zeros struct{}

// ReadAt implements io.ReaderAt.
func (zeros) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

// copyPages copies the pages of a disk that differ from another one, which has the same size.
func copyPages(ctx context.Context, to io.WriterAt, from, other io.ReaderAt, size int64, progress func(int64)) error {
	const piece, page = 1 << 20, 4096
	buffer, old := make([]byte, piece), make([]byte, piece)
	for at := int64(0); at < size; at += piece {
		if err := ctx.Err(); err != nil {
			return err
		}
		part, below := buffer[:min(piece, size-at)], old[:min(piece, size-at)]
		for _, r := range []struct {
			disk io.ReaderAt
			p    []byte
		}{{from, part}, {other, below}} {
			if n, err := r.disk.ReadAt(r.p, at); n < len(r.p) {
				return fmt.Errorf("reading at %d: %w", at, orEnded(err))
			}
		}
		for i := 0; i < len(part); i += page {
			end := min(i+page, len(part))
			if bytes.Equal(part[i:end], below[i:end]) {
				continue
			}
			if _, err := to.WriteAt(part[i:end], at+int64(i)); err != nil {
				return err
			}
		}
		progress(int64(len(part)))
	}
	return nil
}

// child makes a child of a VHDX and changes something on it.
func child(parent, out string, change func(*vhdx.Chain) error) error {
	if err := os.Remove(out); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	below, err := vhdx.Open(parent, nil)
	if err != nil {
		return err
	}
	f, err := vhdx.Create(out, &vhdx.CreateOptions{Kind: vhdx.Differencing, Parent: below})
	if err == nil {
		err = f.Close()
	}
	if err = errline.Join(err, below.Close()); err != nil {
		return err
	}
	chain, err := vhdx.OpenChain(out, &vhdx.ChainOptions{Parents: &vhdx.Parents{}, Writable: true})
	if err != nil {
		return err
	}
	return errline.Join(change(chain), chain.Close())
}

// withBallast fills the ballast on a virtual disk with a stamp.
func withBallast(stamp uint32) func(*vhdx.Chain) error {
	return func(c *vhdx.Chain) error {
		return writeRuns(c, inside.BallastFile, func(w io.WriterAt, size int64) error { return inside.WriteBallast(w, size, stamp) })
	}
}

// Files without which no Windows starts.
const (
	systemHive = `\Windows\System32\config\SYSTEM`
	loader     = `\Windows\System32\winload.efi`
)

// broken destroys what Windows starts by: its loader, where that lies in clusters of its own, and
// the beginning of its registry.
func broken(c *vhdx.Chain) error {
	noise := func(w io.WriterAt, size int64) error {
		b := make([]byte, min(size, 64<<10)&^4095)
		for i := range b {
			b[i] = 0xdb
		}
		_, err := w.WriteAt(b, 0)
		return err
	}
	err := writeRuns(c, systemHive, noise)
	if other := writeRuns(c, loader, noise); err != nil && other != nil {
		return errors.Join(err, other)
	}
	return nil
}

// writeRuns writes to a file of the Windows on a virtual disk, through its clusters.
func writeRuns(c *vhdx.Chain, path string, f func(io.WriterAt, int64) error) error {
	volume, err := windowsOn(c)
	if err != nil {
		return err
	}
	start, err := volumeStart(c, volume)
	if err != nil {
		return err
	}
	file, err := volume.OpenFile(path)
	if err != nil {
		return err
	}
	runs, err := volume.Runs(path)
	if err != nil {
		return err
	}
	return f(&clusters{c, start, int64(volume.Geometry().ClusterSize), runs}, file.Size())
}

// clusters writes to the clusters of a file.
type clusters struct {
	disk  io.WriterAt
	start int64 // of the volume, in bytes
	size  int64 // of a cluster, in bytes
	runs  []ntfs.Run
}

// WriteAt implements io.WriterAt.
func (c *clusters) WriteAt(p []byte, off int64) (n int, err error) {
	at := int64(0)
	for _, r := range c.runs {
		length := r.Length * c.size
		for n < len(p) && off >= at && off < at+length {
			part := p[n:min(len(p), n+int(at+length-off))]
			m, err := c.disk.WriteAt(part, c.start+r.LCN*c.size+off-at)
			n, off = n+m, off+int64(m)
			if err != nil {
				return n, err
			}
		}
		at += length
	}
	if n < len(p) {
		err = fmt.Errorf("byte %d is past the clusters of the file", off)
	}
	return n, err
}

// mended puts back what broken destroyed, from a disk that has it.
func mended(c, whole *vhdx.Chain) error {
	volume, err := windowsOn(whole)
	if err != nil {
		return err
	}
	for _, path := range []string{systemHive, loader} {
		from, err := volume.OpenFile(path)
		if err != nil {
			return err
		}
		b := make([]byte, min(from.Size(), 64<<10)&^4095)
		if _, err := from.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		err = writeRuns(c, path, func(w io.WriterAt, _ int64) error {
			_, err := w.WriteAt(b, 0)
			return err
		})
		if err != nil && path == systemHive { // broken may have left the loader alone as well
			return err
		}
	}
	return nil
}

// volumeStart is where the volume of Windows begins on a virtual disk, in bytes.
func volumeStart(c *vhdx.Chain, volume *ntfs.Volume) (int64, error) {
	entries, err := blockdev.Volumes(c, c.Size(), sectorOf(c))
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		other, err := ntfs.Open(io.NewSectionReader(c, e.Start, e.Size), e.Size)
		if err == nil && other.Geometry().Serial == volume.Geometry().Serial {
			return e.Start, nil
		}
	}
	return 0, errors.New("the volume of Windows is not where its partition is")
}
