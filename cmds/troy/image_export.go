package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"troy/image"
	"troy/image/export"
	"troy/internal/cli"
	"troy/internal/progress"
	"troy/trial"
)

// errTrialStore: what a trial made is exported nowhere.
var errTrialStore = errors.New("this is the store of a trial (troy try): the Windows in it has a program that reports and shuts down")

// jsonExport is what "image export --json" prints.
type jsonExport struct {
	Image           string `json:"image"`
	Version         int    `json:"version"`
	Destination     string `json:"destination"`
	VirtualDiskSize int64  `json:"virtual_disk_size"`
	FileSize        int64  `json:"file_size"`
	DataWriteGUID   string `json:"data_write_guid"` // that of the version: a child of the file can be added to the image
}

// exporting is one "image export".
type exporting struct {
	*imageCall
	keys  keyFlags
	force bool
}

func newExport(s *cli.Streams) *cobra.Command {
	i := &exporting{imageCall: newImageCall(s)}
	cmd := leaf("export NAME VERSION OUT.vhdx", "write a version as a dynamic VHDX", i.run)
	cmd.Flags().BoolVar(&i.force, "force", false, "replace OUT.vhdx")
	i.keys.defineTrust(cmd.Flags())
	return i.withStoreJSON(cmd)
}

func (i *exporting) run(ctx context.Context, args []string) error {
	number, err := versionNumber(args[1], 1)
	if err != nil {
		return err
	}
	if err := i.open(); err != nil {
		return err
	}
	if trial.Owns(i.dir) {
		return &cli.Fault{Err: errTrialStore, Fate: cli.NothingChanged, Advice: "export from the store that your PCs use"}
	}
	t, err := cli.NewTarget(args[2], i.force)
	if err != nil {
		return explain(err, cli.NothingChanged)
	}
	src, err := i.signed(ctx, &i.keys)
	if err != nil {
		return err
	}
	doc, err := i.export(ctx, src, args[0], number, t.Path, i.force)
	if err != nil {
		return explain(err, t.Fate())
	}
	if i.json {
		return i.JSON(doc)
	}
	fmt.Fprintf(i.Out, "made %s: %s version %d, disk of %d bytes, file of %d bytes\n", cli.Clean(t.Path), doc.Image, doc.Version, doc.VirtualDiskSize, doc.FileSize)
	return nil
}

func (i *imageCall) export(ctx context.Context, src image.Source, name string, number int, path string, replace bool) (*jsonExport, error) {
	v, err := image.OpenVersion(ctx, src, name, number)
	if err != nil {
		return nil, err
	}
	meter := progress.New(i.Err, "exporting", v.Size())
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
