// Package export writes a version of an image as a VHDX file of its own, to which children can be
// added that the image takes as its next version. What is exported will be signed again one day:
// read the version through the signatures (sign.Repository.Source), not from the store's folder.
package export

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"

	"troy/image"
	"troy/internal/durable"
	"troy/internal/progress"
	"troy/vhdx"
)

// Options tell how to export. The zero value is right.
type Options struct {
	Replace  bool           // may replace a file
	Progress progress.Adder // of the bytes of the virtual disk; nil = none
}

// Write writes the version to a dynamic VHDX at path. The file gets its name when it is complete
// and durable, identity and all: a process that is killed before leaves a folder .NAME.*.part and
// nothing else. Errors: fs.ErrExist unless o.Replace, those of vhdx.Convert and of reading v.
func Write(ctx context.Context, path string, v *image.VersionReader, o *Options) error {
	if o == nil {
		o = &Options{}
	}
	part, err := os.MkdirTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.part")
	if err != nil {
		return err
	}
	defer os.RemoveAll(part)
	file := filepath.Join(part, filepath.Base(path))
	m := v.Manifest()
	if err := vhdx.Convert(ctx, file, disk{v}, &vhdx.ConvertOptions{LogicalSectorSize: m.SectorSize, Progress: o.Progress}); err != nil {
		return err
	}
	if err := setDataWriteGUID(file, m.DataWriteGUID); err != nil {
		return err
	}
	if o.Replace {
		return durable.Rename(file, path)
	}
	return durable.RenameNew(file, path)
}

// disk is a version as a source of a conversion.
type disk struct{ *image.VersionReader }

// Extents yields what lies in a range of the disk.
func (d disk) Extents(off, length int64) iter.Seq2[vhdx.Extent, error] {
	return func(yield func(vhdx.Extent, error) bool) {
		at, end := off, off+length
		for r, err := range d.Data() {
			if err != nil {
				yield(vhdx.Extent{}, err)
				return
			}
			lo, hi := max(r.Offset, off), min(r.Offset+r.Length, end)
			if lo >= hi {
				continue
			}
			if at < lo && !yield(vhdx.Extent{Offset: at, Length: lo - at, Kind: vhdx.Zero}, nil) {
				return
			}
			if !yield(vhdx.Extent{Offset: lo, Length: hi - lo, Kind: vhdx.Data}, nil) {
				return
			}
			at = hi
		}
		if at < end {
			yield(vhdx.Extent{Offset: at, Length: end - at, Kind: vhdx.Zero}, nil)
		}
	}
}

// setDataWriteGUID gives a closed VHDX the identity of the version that it holds, by one header in
// the place of the older one (MS-VHDX 2.2.2).
func setDataWriteGUID(path, id string) (err error) {
	guid, err := vhdx.ParseGUID(id)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h, slot, err := vhdx.ReadHeaders(f)
	if err != nil {
		return err
	}
	h.DataWriteGUID, h.SequenceNumber = guid, h.SequenceNumber+1
	other := int64(vhdx.Header2Offset)
	if slot == 1 {
		other = vhdx.Header1Offset
	}
	if _, err := f.WriteAt(h.Marshal(), other); err != nil {
		return err
	}
	return f.Sync()
}
