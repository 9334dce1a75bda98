package publish

import (
	"io"
	"iter"
	"strings"

	"troy/image"
	"troy/image/internal/fault"
	"troy/image/internal/pages"
	"troy/internal/block"
)

// Disk is a virtual disk to publish. ChainDisk makes one of a VHDX chain.
type Disk struct {
	// Reader reads the disk as Windows sees it. It is read concurrently.
	Reader io.ReaderAt
	// Size is the virtual size in bytes, SectorSize that of a logical sector, 512 or 4096.
	Size       int64
	SectorSize uint32
	// DataWriteGUID is that of the leaf: lower case, no braces.
	DataWriteGUID string
	// Data yields what may be other than zeros, in ascending order; nil means the whole disk.
	Data iter.Seq2[image.Range, error]
	// Since returns what lies between the state with this DataWriteGuid and the disk, or nil if the
	// disk does not stand on that state. A nil Since means that it stands on nothing.
	Since func(dataWriteGUID string) (*Delta, error)
	// Parents are the DataWriteGuids that Since knows, nearest first: for error texts.
	Parents []string
}

// Delta is the difference of a disk to a state that it stands on.
type Delta struct {
	// Parent reads that state. It is read concurrently. Past its end it is read as zeros.
	Parent     io.ReaderAt
	ParentSize int64
	// Changed yields what may differ, in ascending order; nil means everything: the two are
	// compared.
	Changed iter.Seq2[image.Range, error]
}

// CompareDisk returns a disk that stands on old, found by reading all of both: for two whole disks
// that no differencing file joins.
func CompareDisk(disk, old *Disk) *Disk {
	d := *disk
	d.Parents = []string{old.DataWriteGUID}
	d.Since = func(id string) (*Delta, error) {
		if !sameGUID(id, old.DataWriteGUID) {
			return nil, nil
		}
		return &Delta{Parent: old.Reader, ParentSize: old.Size}, nil
	}
	return &d
}

// VersionDisk returns a version of an image as a disk to compare others with, see CompareDisk.
func VersionDisk(v *image.VersionReader) *Disk {
	m := v.Manifest()
	return &Disk{Reader: v, Size: m.VirtualSize, SectorSize: m.SectorSize, DataWriteGUID: m.DataWriteGUID, Data: v.Data()}
}

func sameGUID(a, b string) bool { return a != "" && strings.EqualFold(a, b) }

// pagesOf turns byte ranges into the pages that they touch. A nil sequence is the whole disk.
func pagesOf(ranges iter.Seq2[image.Range, error], size int64) (pages.Set, error) {
	if ranges == nil {
		return pages.Set{{Lo: 0, Hi: size / image.PageSize}}, nil
	}
	var list []pages.Span
	for r, err := range ranges {
		if err != nil {
			return nil, err
		}
		if r.Offset < 0 || r.Length < 0 || r.Offset > size-r.Length {
			return nil, fault.Corruptf("changed range %d+%d lies outside a disk of %d bytes", r.Offset, r.Length, size)
		}
		if r.Length > 0 {
			list = append(list, pages.Span{Lo: r.Offset / image.PageSize, Hi: (r.Offset + r.Length + image.PageSize - 1) / image.PageSize})
		}
	}
	return pages.NewSet(list), nil
}

// readZeroed reads like block.ReadFull, with zeros past size.
func readZeroed(r io.ReaderAt, p []byte, off, size int64) error {
	n := max(0, min(int64(len(p)), size-off))
	clear(p[n:])
	if n == 0 {
		return nil
	}
	return block.ReadFull(r, p[:n], off)
}
