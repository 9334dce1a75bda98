package vhdxcmd

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"troy/internal/cli"
	"troy/internal/progress"
	"troy/vhdx"
	"troy/vhdx/foreign"
)

// Converted is what "convert --json" prints.
type Converted struct {
	Source          string   `json:"source"`
	SourceFormat    string   `json:"source_format"` // raw, vhdx, vhd, differencing vhd, vmdk, vdi, qcow2
	Chain           []string `json:"chain"`         // the files that were read, SRC first
	Destination     string   `json:"destination"`
	To              string   `json:"to"` // raw, fixed, dynamic
	VirtualDiskSize int64    `json:"virtual_disk_size"`
	FileSize        int64    `json:"file_size"` // of the destination
}

type convert struct {
	*base
	parents cli.List
	to      string
	sector  uint
	force   bool
}

func newConvert(b *base) *Command {
	v := &convert{base: b}
	c := b.command("convert", "--to FORMAT SRC DST", "copy a disk of any format, or a chain, into one new file", 2, 2, v.run)
	c.Flags.Var(&v.parents, "parent", "a `file` of SRC's chain, nearest first (default: the name in the child, in its own folder)")
	c.Flags.StringVar(&v.to, "to", "", "`format` of DST: raw, fixed or dynamic")
	c.Flags.UintVar(&v.sector, "logical-sector-size", 0, "`bytes` of a sector of a VHDX, 512 or 4096 (default: as SRC's partition table lies)")
	c.Flags.BoolVar(&v.force, "force", false, "replace DST")
	return c
}

func (v *convert) run(ctx context.Context, args []string) error {
	format, ok := map[string]vhdx.Format{"raw": vhdx.ToRaw, "fixed": vhdx.ToFixed, "dynamic": vhdx.ToDynamic}[v.to]
	if !ok {
		return cli.Usagef("--to %q: want raw, fixed or dynamic", v.to)
	}
	if v.sector != 0 && (v.sector != 512 && v.sector != 4096 || format == vhdx.ToRaw) {
		return cli.Usagef("--logical-sector-size %d: want 512 or 4096, for a VHDX", v.sector)
	}
	t, err := cli.NewTarget(args[1], v.force)
	if err != nil {
		return v.explain(err, cli.NothingChanged)
	}
	res, err := v.write(ctx, args[0], t, &vhdx.Parents{Named: v.parents}, &vhdx.ConvertOptions{To: format, Overwrite: v.force})
	if err != nil {
		return v.explain(err, t.Fate())
	}
	res.To = v.to
	if v.json {
		return v.JSON(res)
	}
	fmt.Fprintf(v.Out, "made %s: %s, disk of %d bytes, file of %d bytes\n", cli.Clean(t.Path), v.to, res.VirtualDiskSize, res.FileSize)
	return nil
}

func (v *convert) write(ctx context.Context, src string, t *cli.Target, parents *vhdx.Parents, o *vhdx.ConvertOptions) (*Converted, error) {
	if cli.SameFile(src, t.Path) {
		return nil, fmt.Errorf("%s would be replaced while it is read", src)
	}
	res := &Converted{Source: src, Destination: t.Path, SourceFormat: "raw", Chain: []string{src}}
	source, err := v.open(ctx, res, parents)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	if err := t.NotOneOf(slices.Concat(res.Chain, parents.Named)...); err != nil {
		return nil, err
	}
	if chain, ok := source.(*vhdx.Chain); ok {
		NoteChain(v.Streams, chain, parents)
	} else if o.LogicalSectorSize, err = foreign.SectorSize(source); err != nil {
		return nil, err
	}
	if v.sector != 0 {
		o.LogicalSectorSize = uint32(v.sector)
	}
	meter := progress.New(v.Err, "converting", source.Size())
	o.Progress = meter
	err = vhdx.Convert(ctx, t.Path, source, o)
	meter.Done()
	if err != nil {
		return nil, err
	}
	res.VirtualDiskSize = source.Size()
	st, err := os.Stat(t.Path)
	if err != nil {
		return nil, err
	}
	res.FileSize = st.Size()
	return res, nil
}

// open opens the source and says in the result what it is.
func (v *convert) open(ctx context.Context, res *Converted, parents *vhdx.Parents) (Source, error) {
	raw, i, err := openForeign(ctx, res.Source, res.Destination, v.Err)
	if err != nil {
		return nil, err
	}
	if i != nil {
		res.SourceFormat, res.Chain = strings.ToLower(i.Kind), i.Files
		return raw, nil
	}
	source, err := OpenSource(res.Source, parents)
	if _, ok := source.(*vhdx.Chain); ok {
		res.SourceFormat, res.Chain = "vhdx", append(res.Chain, parents.Found()...)
	}
	return source, err
}
