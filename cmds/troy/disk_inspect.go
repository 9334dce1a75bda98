package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/ntfs"
	"troy/diskwriter/pcdisk"
	"troy/internal/cli"
	"troy/internal/guid"
	"troy/internal/progress"
	"troy/vhdx"
)

// jsonDisk is what "disk inspect --json" prints.
type jsonDisk struct {
	Device             string              `json:"device"`
	Size               int64               `json:"size"`
	SectorSize         int                 `json:"sector_size"`
	PhysicalSectorSize int                 `json:"physical_sector_size"`
	GUID               string              `json:"guid"`
	TableWarning       string              `json:"table_warning,omitempty"`
	Partitions         []jsonDiskPartition `json:"partitions"`
	Data               int                 `json:"data_partition,omitempty"` // number of the one with \Troy\
	Volume             string              `json:"volume,omitempty"`         // verdict: clean, unclean or refused, and why
	Files              []jsonDiskFile      `json:"files"`
	Note               string              `json:"note,omitempty"`
	State              *jsonDiskState      `json:"state,omitempty"`
	Problem            string              `json:"problem,omitempty"` // why the agent would leave this disk alone
}

// jsonDiskPartition is one entry of the partition table.
type jsonDiskPartition struct {
	Number     int    `json:"number"`
	Type       string `json:"type"`
	GUID       string `json:"guid"`
	Name       string `json:"name"`
	Attributes uint64 `json:"attributes"`
	Start      int64  `json:"start"` // bytes
	Size       int64  `json:"size"`
}

// jsonDiskFile is one file of \Troy\.
type jsonDiskFile struct {
	Path          string         `json:"path"`
	Reference     string         `json:"mft_reference"`
	Size          int64          `json:"size"`
	Runs          []jsonDiskSpan `json:"runs"`                      // in the order of the file
	FileWriteGUID string         `json:"file_write_guid,omitempty"` // of a VHDX
	DataWriteGUID string         `json:"data_write_guid,omitempty"`
	Parent        string         `json:"parent,omitempty"`         // relative_path of the locator
	Linkage       string         `json:"parent_linkage,omitempty"` // zeros: poisoned, no chain
	LogPending    bool           `json:"log_pending,omitempty"`
	Problem       string         `json:"problem,omitempty"` // it is no readable VHDX
}

// jsonDiskSpan is a piece of a file on the disk.
type jsonDiskSpan struct {
	Offset int64 `json:"offset"` // of the disk, bytes
	Length int64 `json:"length"`
}

func newDiskInspect(s *cli.Streams) *cobra.Command {
	c := newCall(s)
	return c.withJSON(leaf("inspect DEVICE", "show partitions, volume, files and the machine's state", c.inspect))
}

func (v *call) inspect(_ context.Context, args []string) error {
	d, err := inspectDisk(args[0])
	if err != nil {
		return explainDisk(err, fateOf(nil))
	}
	if v.json {
		return v.JSON(d)
	}
	d.print(v.Out)
	return nil
}

// inspectDisk fails only when there is no partition table to read: whatever else is wrong is a
// finding.
func inspectDisk(path string) (*jsonDisk, error) {
	dev, err := blockdev.Open(path, &blockdev.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer dev.Close()
	table, err := dev.ReadTable()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	d := &jsonDisk{Device: path, Size: dev.Size(), SectorSize: dev.SectorSize(), PhysicalSectorSize: dev.PhysicalSectorSize(),
		GUID: table.DiskGUID.String(), TableWarning: table.Warning, Partitions: []jsonDiskPartition{}, Files: []jsonDiskFile{}}
	for _, e := range table.Partitions {
		d.Partitions = append(d.Partitions, jsonDiskPartition{e.Number, typeName(e.Type), e.GUID.String(), e.Name, e.Attributes, e.Start, e.Size})
	}
	if err := d.addMachine(path); err != nil {
		d.Problem = err.Error()
	}
	return d, nil
}

func typeName(g guid.GUID) string {
	switch g {
	case blockdev.TypeESP:
		return "EFI system"
	case blockdev.TypeMSR:
		return "Microsoft reserved"
	case blockdev.TypeBasicData:
		return "basic data"
	case blockdev.TypeWinRecovery:
		return "Windows recovery"
	}
	return g.String()
}

// addMachine adds what the agent would see.
func (d *jsonDisk) addMachine(path string) error {
	t, err := pcdisk.Look(path, &blockdev.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer t.Close()
	d.Data = t.Data.Number
	verdict := t.Judge()
	d.Volume = verdict.String()
	m, note, err := t.Open()
	d.Note = note
	d.addFiles(t)
	if err != nil {
		return err
	}
	d.State = newJSONState(m.State())
	return nil
}

func (d *jsonDisk) addFiles(t *pcdisk.Target) {
	f := t.Files()
	storage := map[string]io.ReaderAt{pcdisk.Base: f.Base, pcdisk.LayerA: f.LayerA, pcdisk.LayerB: f.LayerB, pcdisk.Boot: f.Boot}
	for i, m := range t.Mappings() {
		file := jsonDiskFile{Path: m.Path, Reference: m.Reference.String(), Size: m.Size, Runs: spans(m, t.Data.Start)}
		if r := storage[pcdisk.Names()[i]]; r != nil {
			file.addVHDX(r)
		}
		d.Files = append(d.Files, file)
	}
}

func spans(m ntfs.Mapping, start int64) []jsonDiskSpan {
	out := []jsonDiskSpan{}
	for _, r := range m.Runs {
		out = append(out, jsonDiskSpan{start + r.LCN*int64(m.ClusterSize), r.Length * int64(m.ClusterSize)})
	}
	return out
}

func (f *jsonDiskFile) addVHDX(r io.ReaderAt) {
	v, err := vhdx.NewFile(r, f.Size)
	if err != nil {
		f.Problem = err.Error()
		return
	}
	h := v.Header()
	f.FileWriteGUID, f.DataWriteGUID, f.LogPending = h.FileWriteGUID.String(), h.DataWriteGUID.String(), v.LogPending()
	if l := v.Metadata().ParentLocator; l != nil {
		f.Parent, _ = l.Get(vhdx.KeyRelativePath)
		if g, err := l.Linkage(); err == nil {
			f.Linkage = g.String()
		}
	}
}

func (d *jsonDisk) print(w io.Writer) {
	fmt.Fprintf(w, "%s: %s, sectors of %d (physical %d), GPT %s\n", cli.Clean(d.Device), progress.Bytes(d.Size), d.SectorSize, d.PhysicalSectorSize, d.GUID)
	if d.TableWarning != "" {
		fmt.Fprintf(w, "partition table: %s\n", cli.Clean(d.TableWarning))
	}
	for _, p := range d.Partitions {
		fmt.Fprintf(w, "  %d  %-18s %s  at %14d  %10s  %s\n", p.Number, p.Type, p.GUID, p.Start, progress.Bytes(p.Size), cli.Clean(p.Name))
	}
	if d.Volume != "" {
		fmt.Fprintf(w, "volume on partition %d: %s\n", d.Data, cli.Clean(d.Volume))
	}
	for _, f := range d.Files {
		f.print(w)
	}
	for _, line := range []string{d.Note, d.Problem} {
		if line != "" {
			fmt.Fprintf(w, "note: %s\n", cli.Clean(line))
		}
	}
	if d.State != nil {
		fmt.Fprintf(w, "%s\n", d.State)
	}
}

func (f *jsonDiskFile) print(w io.Writer) {
	first := int64(0)
	if i := slices.IndexFunc(f.Runs, func(s jsonDiskSpan) bool { return s.Length > 0 }); i >= 0 {
		first = f.Runs[i].Offset
	}
	fmt.Fprintf(w, "  %-20s %10s  in %d runs, first at %d", cli.Clean(f.Path), progress.Bytes(f.Size), len(f.Runs), first)
	switch {
	case f.Problem != "":
		fmt.Fprintf(w, "  no VHDX: %s", cli.Clean(f.Problem))
	case f.Linkage == guid.GUID{}.String():
		fmt.Fprintf(w, "  empty slot")
	case f.DataWriteGUID != "":
		fmt.Fprintf(w, "  data %s", f.DataWriteGUID)
	}
	if f.Linkage != "" && f.Linkage != (guid.GUID{}).String() {
		fmt.Fprintf(w, " over %s (%s)", cli.Clean(f.Parent), f.Linkage)
	}
	if f.LogPending {
		fmt.Fprintf(w, "  log pending")
	}
	fmt.Fprintln(w)
}
