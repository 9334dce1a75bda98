package main

import (
	"context"
	"fmt"
	"os"

	"troy/image"
	"troy/image/export"
	"troy/internal/progress"
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
	doc, err := i.export(ctx, args[0], number, t.path, *force)
	if err != nil {
		return explain(err, t.fate())
	}
	if i.json {
		return i.printJSON(doc)
	}
	fmt.Fprintf(i.stdout, "made %s: %s version %d, disk of %d bytes, file of %d bytes\n", clean(t.path), doc.Image, doc.Version, doc.VirtualDiskSize, doc.FileSize)
	return nil
}

func (i *imageCall) export(ctx context.Context, name string, number int, path string, replace bool) (*jsonExport, error) {
	v, err := image.OpenVersion(ctx, i.store, name, number)
	if err != nil {
		return nil, err
	}
	meter := progress.New(i.stderr, "exporting", v.Size())
	err = export.Write(ctx, path, v, &export.Options{Replace: replace, Progress: meter})
	meter.Done()
	if err != nil {
		return nil, err
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	return &jsonExport{Image: name, Version: number, Destination: path, VirtualDiskSize: v.Size(), FileSize: st.Size(), DataWriteGUID: v.Manifest().DataWriteGUID}, nil
}
