package pcdisk

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/diskfs/go-diskfs/partition/gpt"

	"troy/diskwriter/blockdev"
	"troy/internal/block"
	"troy/internal/guid"
)

// formatDisk makes the whole disk: everything on it is lost. It returns the partition
// table that it wrote, as read back; partition 3 is the data volume. See the package
// comment for the order of writes. Errors: ErrNoSpace, ErrSize (nothing was written),
// ErrTool, and those of the disk; ErrUnfinished too when the disk was written to.
func formatDisk(ctx context.Context, dev *blockdev.Device, o *diskOptions) (*blockdev.Table, error) {
	var opt diskOptions
	if o != nil {
		opt = *o
	}
	if opt.Mark {
		if err := opt.keepGUIDs(dev); err != nil {
			return nil, err
		}
	}
	opt.fillGUIDs()
	parts, err := layout(dev.Size(), dev.SectorSize(), &opt)
	if err != nil {
		return nil, err
	}
	data, err := dev.Partition(parts[2])
	if err != nil {
		return nil, err
	}
	v, err := buildVolume(ctx, data.Size(), data.Start(), dev.SectorSize(), &opt.Volume)
	if err != nil {
		return nil, err
	}
	defer v.close()
	table, err := write(ctx, dev, v, data, &opt, parts)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnfinished, err)
	}
	return table, nil
}

// write does what changes the disk.
func write(ctx context.Context, dev *blockdev.Device, v *scratch, data *blockdev.Partition, o *diskOptions, parts []blockdev.Entry) (*blockdev.Table, error) {
	var mark *diskMark
	if o.Mark {
		mark = &diskMark{Size: dev.Size(), Disk: o.DiskGUID, ESP: o.ESPGUID, MSR: o.MSRGUID, Data: o.DataGUID}
		if err := mark.put(dev); err != nil {
			return nil, fmt.Errorf("mark %s: %w", dev.Path(), err)
		}
	}
	if err := erase(dev, mark); err != nil {
		return nil, fmt.Errorf("erase %s: %w", dev.Path(), err)
	}
	if err := v.copyTo(ctx, data); err != nil {
		return nil, err
	}
	if err := writeTable(dev, o.DiskGUID, parts); err != nil {
		return nil, err
	}
	return dev.ReadTable()
}

// keepGUIDs takes the GUIDs of the mark that the disk carries: a table with them is known for ours
// at every instant.
func (o *diskOptions) keepGUIDs(dev *blockdev.Device) error {
	m, err := unfinishedMark(dev)
	if m != nil {
		o.DiskGUID, o.ESPGUID, o.MSRGUID, o.DataGUID = m.Disk, m.ESP, m.MSR, m.Data
	}
	return err
}

// erase overwrites the last and the first MiB, where tables and old signatures lie, but for the
// mark.
func erase(dev *blockdev.Device, mark *diskMark) error {
	first, last := block.Aligned(mib), block.Aligned(mib)
	if mark != nil {
		page, err := mark.marshal()
		if err != nil {
			return err
		}
		copy(first[markOffset:], page)
	}
	at := (dev.Size() - mib) / int64(dev.SectorSize()) * int64(dev.SectorSize())
	if _, err := dev.WriteAt(last[:min(mib, dev.Size()-at)], at); err != nil {
		return err
	}
	if _, err := dev.WriteAt(first, 0); err != nil {
		return err
	}
	return dev.Sync()
}

// writeTable makes the FAT32 file system of the ESP and then the partition table,
// through the page cache: both libraries write pieces smaller than a sector.
func writeTable(dev *blockdev.Device, id guid.GUID, parts []blockdev.Entry) error {
	f, err := os.OpenFile(dev.Path(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := file.New(f, false)
	sector := dev.SectorSize()
	if err := makeESP(b, f, parts[0], sector); err != nil {
		return fmt.Errorf("FAT32 of the ESP: %w", err)
	}
	if err := f.Sync(); err != nil {
		return err
	}
	t := &gpt.Table{GUID: id.String(), LogicalSectorSize: sector, PhysicalSectorSize: dev.PhysicalSectorSize(), ProtectiveMBR: true}
	for _, e := range parts {
		s := uint64(sector)
		t.Partitions = append(t.Partitions, &gpt.Partition{Index: e.Number, Type: gpt.Type(e.Type.String()),
			GUID: e.GUID.String(), Name: e.Name, Attributes: e.Attributes,
			Start: uint64(e.Start) / s, End: uint64(e.Start+e.Size)/s - 1})
	}
	w, err := b.Writable()
	if err != nil {
		return err
	}
	if err := t.Write(w, dev.Size()); err != nil {
		return fmt.Errorf("partition table: %w", err)
	}
	if err := limitProtectiveMBR(f, dev.Size()/int64(sector)); err != nil {
		return err
	}
	return f.Sync()
}

// makeESP makes the file system. For some sizes the library counts up to two
// clusters more than its FAT has entries; a little smaller it comes out right.
func makeESP(b backend.Storage, f *os.File, e blockdev.Entry, sector int) error {
	for size := e.Size; ; size -= 64 << 10 {
		if _, err := fat32.Create(b, size, e.Start, int64(sector), "ESP", false); err != nil {
			return err
		}
		if ok, err := fatHoldsClusters(f, e.Start); ok || err != nil {
			return err
		}
	}
}

// fatHoldsClusters compares the clusters of a FAT32 volume with the entries of its
// FAT, of which two are reserved.
func fatHoldsClusters(f *os.File, start int64) (bool, error) {
	b := make([]byte, 512)
	if _, err := f.ReadAt(b, start); err != nil {
		return false, err
	}
	le := binary.LittleEndian
	sector, perCluster := int64(le.Uint16(b[11:])), int64(b[13])
	reserved, total, fat := int64(le.Uint16(b[14:])), int64(le.Uint32(b[32:])), int64(le.Uint32(b[36:]))
	clusters := (total - reserved - 2*fat) / max(1, perCluster)
	return clusters+2 <= fat*sector/4, nil
}

// limitProtectiveMBR puts FFFFFFFF for the size of a disk that 32 bits cannot
// count (UEFI 2.10, table 5.4); the library cuts the number off.
func limitProtectiveMBR(f *os.File, sectors int64) error {
	if sectors-1 <= 0xffffffff {
		return nil
	}
	_, err := f.WriteAt(binary.LittleEndian.AppendUint32(nil, 0xffffffff), 446+12)
	return err
}
