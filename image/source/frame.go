package source

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"

	"github.com/diskfs/go-diskfs/partition/gpt"

	"troy/diskwriter/blockdev"
	"troy/image"
	"troy/internal/block"
	"troy/internal/guid"
)

// The disk around a volume: MSR and C:, as diskpart lays them out on a disk that needs no ESP. The
// ESP of a PC is none of the image's.
const (
	mib         = 1 << 20
	msrStart    = mib
	msrSize     = 16 * mib
	volumeStart = msrStart + msrSize
	// frameSize is what a disk has besides its volume, in bytes: both partition tables, and the MSR.
	frameSize = volumeStart + mib
)

// piece is a part of a disk.
type piece struct {
	off, size int64
	r         io.ReaderAt // from 0 to size
	data      iter.Seq2[image.Range, error]
}

// composed is a disk of pieces in ascending order; between them it is zero.
type composed []piece

func memory(off int64, b []byte) piece {
	return piece{off, int64(len(b)), bytes.NewReader(b), whole(int64(len(b)))}
}

func whole(size int64) iter.Seq2[image.Range, error] {
	return func(yield func(image.Range, error) bool) { yield(image.Range{Length: size}, nil) }
}

// ReadAt implements io.ReaderAt.
func (c composed) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	for _, part := range c {
		lo, hi := max(off, part.off), min(off+int64(len(p)), part.off+part.size)
		if lo >= hi {
			continue
		}
		if err := block.ReadFull(part.r, p[lo-off:hi-off], lo-part.off); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// data yields what may be other than zeros.
func (c composed) data(yield func(image.Range, error) bool) {
	for _, part := range c {
		for r, err := range part.data {
			if r.Length = min(r.Length, part.size-r.Offset); r.Length <= 0 && err == nil {
				break
			}
			r.Offset += part.off
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// frame makes a disk of a volume of size bytes, with sectors of that size, by a GPT around it.
func frame(volume composed, size int64, sector uint32, closer io.Closer) (*Disk, error) {
	total := block.RoundUp(volumeStart+size, mib) + mib
	boot := make([]byte, sector)
	if err := block.ReadFull(volume[0].r, boot, 0); err != nil {
		return nil, err
	}
	head, tail, err := table(total, size, sector, boot)
	if err != nil {
		return nil, err
	}
	disk := composed{head}
	for _, part := range volume {
		part.off += volumeStart
		disk = append(disk, part)
	}
	disk = append(disk, tail)
	slices.SortStableFunc(disk, func(a, b piece) int { return cmp.Compare(a.off, b.off) })
	return newDisk(disk, total, sector, disk.data, closer), nil
}

// table makes both copies of the partition table. Its identities follow from the volume's first
// sector, which has its serial number: the same volume gives the same disk, so that an import that
// was cut goes on.
func table(total, size int64, sector uint32, boot []byte) (head, tail piece, err error) {
	s := uint64(sector)
	id := func(n byte) string {
		sum := sha256.Sum256(append([]byte{n}, boot...))
		sum[7], sum[8] = sum[7]&0x0f|0x80, sum[8]&0x3f|0x80 // RFC 9562: version 8
		return guid.GUID(sum[:16]).String()
	}
	part := func(n int, name string, kind guid.GUID, start, size int64) *gpt.Partition {
		return &gpt.Partition{Index: n, Name: name, Type: gpt.Type(kind.String()), GUID: id(byte(n)),
			Start: uint64(start) / s, End: uint64(start+size)/s - 1}
	}
	t := &gpt.Table{
		GUID: id(0), LogicalSectorSize: int(sector), PhysicalSectorSize: 4096, ProtectiveMBR: true,
		Partitions: []*gpt.Partition{
			part(1, "Microsoft reserved partition", blockdev.TypeMSR, msrStart, msrSize),
			part(2, "Basic data partition", blockdev.TypeBasicData, volumeStart, block.RoundUp(size, int64(sector))),
		},
	}
	w := &ends{total: total, head: make([]byte, mib), tail: make([]byte, mib)}
	if err := t.Write(w, total); err != nil {
		return piece{}, piece{}, fmt.Errorf("partition table: %w", err)
	}
	return memory(0, w.head), memory(total-mib, w.tail), nil
}

// ends is a file of which only the first and the last MiB can be written.
type ends struct {
	fs.File // nil: the library writes only
	io.Seeker
	total      int64
	head, tail []byte
}

// ReadAt implements io.ReaderAt; nothing is read back.
func (e *ends) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }

// WriteAt implements io.WriterAt.
func (e *ends) WriteAt(p []byte, off int64) (int, error) {
	b := e.head
	if off >= e.total-mib {
		b, off = e.tail, off-(e.total-mib)
	}
	if off < 0 || off > int64(len(b)-len(p)) {
		return 0, fmt.Errorf("%d bytes at %d lie outside the partition tables", len(p), off)
	}
	return copy(b[off:], p), nil
}
