package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"troy/image"
	"troy/internal/guid"
	"troy/internal/progress"
	"troy/vhdx"
)

// jsonExport is what "image export --json" prints.
type jsonExport struct {
	Image           string `json:"image"`
	Version         int    `json:"version"`
	Destination     string `json:"destination"`
	VirtualDiskSize int64  `json:"virtual_disk_size"`
	FileSize        int64  `json:"file_size"`
	DataWriteGUID   string `json:"data_write_guid"` // that of the version: a child of the file can be added to the image
}

func runExport(ctx context.Context, c *call) error {
	i := newImageCall(c)
	force := i.fs.Bool("force", false, "replace OUT.vhdx")
	args, err := i.open(3, 3)
	if err != nil {
		return err
	}
	number, err := version(args[1], 1)
	if err != nil {
		return err
	}
	t, err := newTarget(args[2], *force)
	if err != nil {
		return explain(err, nothingChanged)
	}
	doc, err := i.export(ctx, args[0], number, t, *force)
	if err != nil {
		return explain(err, t.fate())
	}
	if i.json {
		return i.printJSON(doc)
	}
	fmt.Fprintf(i.stdout, "made %s: %s version %d, disk of %d bytes, file of %d bytes\n", clean(t.path), doc.Image, doc.Version, doc.VirtualDiskSize, doc.FileSize)
	return nil
}

func (i *imageCall) export(ctx context.Context, name string, number int, t *target, force bool) (*jsonExport, error) {
	v, err := image.OpenVersion(ctx, i.store, name, number)
	if err != nil {
		return nil, err
	}
	m := v.Manifest()
	// The file gets its name when it is complete, identity and all: killed before, the command leaves a folder .NAME.*.part and nothing else.
	part, err := os.MkdirTemp(filepath.Dir(t.path), "."+filepath.Base(t.path)+".*.part")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(part)
	disk := filepath.Join(part, filepath.Base(t.path))
	meter := progress.New(i.stderr, "exporting", v.Size())
	err = vhdx.Convert(ctx, disk, versionDisk{v}, &vhdx.ConvertOptions{LogicalSectorSize: m.SectorSize, Progress: meter})
	meter.Done()
	if err == nil {
		err = setDataWriteGUID(disk, m.DataWriteGUID)
	}
	if err == nil {
		err = nameFile(disk, t.path, force)
	}
	if err != nil {
		return nil, err
	}
	st, err := os.Stat(t.path)
	if err != nil {
		return nil, err
	}
	return &jsonExport{Image: name, Version: number, Destination: t.path, VirtualDiskSize: v.Size(), FileSize: st.Size(), DataWriteGUID: m.DataWriteGUID}, nil
}

// nameFile gives a finished file its name, durably; it replaces another file only by force.
func nameFile(from, to string, force bool) error {
	err := errors.ErrUnsupported
	if !force {
		err = os.Link(from, to)
	}
	if errors.Is(err, fs.ErrExist) {
		return err
	}
	if err != nil { // by force, or on a file system without links
		if _, e := os.Lstat(to); e == nil && !force {
			return &fs.PathError{Op: "create", Path: to, Err: fs.ErrExist}
		}
		if err := os.Rename(from, to); err != nil {
			return err
		}
	}
	d, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// versionDisk is a version as a source of a conversion.
type versionDisk struct{ *image.VersionReader }

// Extents yields what lies in a range of the disk.
func (d versionDisk) Extents(off, length int64) iter.Seq2[vhdx.Extent, error] {
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

// setDataWriteGUID gives a closed VHDX the identity of the version that it holds, by one header in the place of the older one (MS-VHDX 2.2.2).
func setDataWriteGUID(path, id string) (err error) {
	guid, err := guid.Parse(id)
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
