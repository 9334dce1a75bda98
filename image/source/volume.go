package source

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"troy/internal/block"
	"troy/vhdx"
)

// volume is a file that is an NTFS volume without a disk around it, as LINBO keeps it.
type volume struct{ path string }

// Kind implements Source.
func (volume) Kind() string { return "NTFS volume" }

// Open implements Source.
func (v volume) Open(context.Context, *Options) (*Disk, error) {
	f, err := vhdx.OpenRaw(v.path)
	if err != nil {
		return nil, err
	}
	return volumeDisk(f, v.path)
}

// volumeDisk puts a disk around the volume in an opened file, or closes it.
func volumeDisk(f *vhdx.Raw, path string) (*Disk, error) {
	d, err := frameVolume(f, path)
	if err != nil {
		f.Close()
	}
	return d, err
}

func frameVolume(f *vhdx.Raw, path string) (*Disk, error) {
	b, err := readBoot(f, path)
	if err != nil {
		return nil, err
	}
	last := b.size - int64(b.sector)
	if f.Size() < last {
		return nil, fmt.Errorf("%w: %s has %d bytes, its NTFS volume %d", ErrCut, path, f.Size(), b.size)
	}
	// NTFS keeps a copy of its first sector in its last, which programs that save the used clusters
	// of a volume leave out.
	parts := composed{{0, last, f, dataOf(f)}, memory(last, b.raw)}
	d, err := frame(parts, b.size, b.sector, f)
	if err == nil {
		d.note("a bare NTFS volume of %d MiB: the partition table around it is new", b.size>>20)
	}
	return d, err
}

// boot is what the boot sector of an NTFS volume says.
type boot struct {
	raw    []byte // the sector
	sector uint32
	size   int64 // of the volume with its last sector, in bytes
}

const (
	ntfsMark      = "NTFS    "
	bitLockerMark = "-FVE-FS-"
	bootMarkAt    = 3
)

// readBoot reads the boot sector; its numbers are claims.
func readBoot(r io.ReaderAt, path string) (*boot, error) {
	b := make([]byte, 512)
	if err := block.ReadFull(r, b, 0); err != nil {
		return nil, err
	}
	if string(b[bootMarkAt:bootMarkAt+8]) == bitLockerMark {
		return nil, fmt.Errorf("%s: %w", path, ErrEncrypted)
	}
	le := binary.LittleEndian
	sector, count := uint32(le.Uint16(b[11:])), le.Uint64(b[40:])
	if string(b[bootMarkAt:bootMarkAt+8]) != ntfsMark || sector != 512 && sector != 4096 || count == 0 || count > 1<<40 {
		return nil, fmt.Errorf("%w: %s is no NTFS volume (%d sectors of %d bytes)", ErrUnknown, path, count, sector)
	}
	full := make([]byte, sector)
	if err := block.ReadFull(r, full, 0); err != nil {
		return nil, err
	}
	return &boot{full, sector, int64(count+1) * int64(sector)}, nil
}
