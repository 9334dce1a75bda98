package vhdxcmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"troy/internal/cli"
	"troy/internal/progress"
	"troy/vhdx"
)

// Converted is what "convert --json" prints.
type Converted struct {
	Source          string   `json:"source"`
	SourceFormat    string   `json:"source_format"` // raw, vhdx
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
	force   bool
}

func newConvert(b *base) *Command {
	v := &convert{base: b}
	c := b.command("convert", "--to FORMAT SRC DST", "copy a raw image, a disk or a chain into one new file", 2, 2, v.run)
	c.Flags.Var(&v.parents, "parent", "a `file` of SRC's chain, nearest first (default: the name in the child, in its own folder)")
	c.Flags.StringVar(&v.to, "to", "", "`format` of DST: raw, fixed or dynamic")
	c.Flags.BoolVar(&v.force, "force", false, "replace DST")
	return c
}

func (v *convert) run(ctx context.Context, args []string) error {
	format, ok := map[string]vhdx.Format{"raw": vhdx.ToRaw, "fixed": vhdx.ToFixed, "dynamic": vhdx.ToDynamic}[v.to]
	if !ok {
		return cli.Usagef("--to %q: want raw, fixed or dynamic", v.to)
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
	source, err := OpenSource(src, parents)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	chain, isVHDX := source.(*vhdx.Chain)
	if isVHDX {
		res.SourceFormat, res.Chain = "vhdx", append(res.Chain, parents.Found()...)
	}
	if err := t.NotOneOf(slices.Concat(res.Chain, parents.Named)...); err != nil {
		return nil, err
	}
	if isVHDX {
		NoteChain(v.Streams, chain, parents)
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

// Source is a disk to be read.
type Source interface {
	vhdx.Source
	io.Closer
}

// OpenSource opens a VHDX with its parents, or a raw image. It tells them apart by the signature,
// and refuses what is neither.
func OpenSource(path string, parents *vhdx.Parents) (Source, error) {
	isVHDX, err := detect(path)
	if err != nil {
		return nil, err
	}
	if !isVHDX {
		if len(parents.Named) > 0 {
			return nil, fmt.Errorf("--parent was given, but %s is a raw image and has none", path)
		}
		return vhdx.OpenRaw(path)
	}
	chain, err := openChain(path, parents)
	if err != nil {
		return nil, err // not a nil *Chain in an interface
	}
	return chain, nil
}

// detect reports whether the file is a VHDX. What bears the mark of another format, or of a damaged
// VHDX, is no raw image: its bytes would pass for those of a disk.
func detect(path string) (isVHDX bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return false, err
	}
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return false, fmt.Errorf("%s is a folder", path)
	}
	head := make([]byte, 8)
	if _, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	if string(head) == "vhdxfile" {
		return true, nil
	}
	return false, refuseFormat(f, size, head, path)
}

// foreign are the signatures of other formats.
var foreign = []struct{ magic, name string }{
	{"conectix", "VHD"}, {"QFI\xfb", "QCOW"}, {"KDMV", "VMDK"}, {"# Disk D", "VMDK descriptor"}, {"<<< ", "VDI"},
}

func refuseFormat(f *os.File, size int64, head []byte, path string) error {
	if size == 0 {
		return fmt.Errorf("%s is empty", path)
	}
	for _, x := range foreign {
		if bytes.HasPrefix(head, []byte(x.magic)) {
			return fmt.Errorf("%s is a %s file, neither VHDX nor raw", path, x.name)
		}
	}
	tail := make([]byte, 8)
	if _, err := f.ReadAt(tail, max(size-512, 0)); err == nil && string(tail) == "conectix" {
		return fmt.Errorf("%s is a fixed VHD file, neither VHDX nor raw", path)
	}
	_, _, err := vhdx.ReadHeaders(f)
	ext := strings.ToLower(filepath.Ext(path))
	if err == nil || ext == ".vhdx" || ext == ".avhdx" {
		return fmt.Errorf("%s: %w", path, &vhdx.FormatError{Structure: "file identifier", Reason: `it does not start with "vhdxfile", though the file is a VHDX by its name or its headers`})
	}
	return nil
}
