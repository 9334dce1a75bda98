package main

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

	"troy/internal/progress"
	"troy/vhdx"
)

// jsonConvert is what "vhdx convert --json" prints.
type jsonConvert struct {
	Source          string   `json:"source"`
	SourceFormat    string   `json:"source_format"` // raw, vhdx
	Chain           []string `json:"chain"`         // the files that were read, SRC first
	Destination     string   `json:"destination"`
	To              string   `json:"to"` // raw, fixed, dynamic
	VirtualDiskSize int64    `json:"virtual_disk_size"`
	FileSize        int64    `json:"file_size"` // of the destination
}

func runVHDXConvert(ctx context.Context, c *call) error {
	v := newVHDXCall(c)
	var parents paths
	v.fs.Var(&parents, "parent", "a `file` of SRC's chain, nearest first (default: the name in the child, in its own folder)")
	to := v.fs.String("to", "", "raw, fixed or dynamic")
	force := v.fs.Bool("force", false, "replace DST")
	args, err := v.parse(v.fs, 2, 2)
	if err != nil {
		return err
	}
	format, ok := map[string]vhdx.Format{"raw": vhdx.ToRaw, "fixed": vhdx.ToFixed, "dynamic": vhdx.ToDynamic}[*to]
	if !ok {
		return &usageError{fmt.Sprintf("--to %q: want raw, fixed or dynamic", *to)}
	}
	t, err := newTarget(args[1], *force)
	if err != nil {
		return explain(err, nothingChanged)
	}
	res, err := v.convert(ctx, args[0], t, &vhdx.Parents{Named: parents}, &vhdx.ConvertOptions{To: format, Overwrite: *force})
	if err != nil {
		return explain(err, t.fate())
	}
	res.To = *to
	if v.json {
		return v.printJSON(res)
	}
	fmt.Fprintf(v.stdout, "made %s: %s, disk of %d bytes, file of %d bytes\n", clean(t.path), *to, res.VirtualDiskSize, res.FileSize)
	return nil
}

func (v *vhdxCall) convert(ctx context.Context, src string, t *target, parents *vhdx.Parents, o *vhdx.ConvertOptions) (*jsonConvert, error) {
	if sameFile(src, t.path) {
		return nil, fmt.Errorf("%s would be replaced while it is read", src)
	}
	res := &jsonConvert{Source: src, Destination: t.path, Chain: []string{src}}
	source, err := openSource(src, parents, res)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	if err := t.isOneOf(slices.Concat(res.Chain, parents.Named)...); err != nil {
		return nil, err
	}
	if chain, ok := source.(*vhdx.Chain); ok {
		v.noteChain(chain, parents)
	}
	meter := progress.New(v.stderr, "converting", source.Size())
	o.Progress = meter
	err = vhdx.Convert(ctx, t.path, source, o)
	meter.Done()
	if err != nil {
		return nil, err
	}
	res.VirtualDiskSize = source.Size()
	st, err := os.Stat(t.path)
	if err != nil {
		return nil, err
	}
	res.FileSize = st.Size()
	return res, nil
}

// source is a disk to be converted.
type source interface {
	vhdx.Source
	io.Closer
}

// openSource tells VHDX from raw by the signature, and refuses what is neither.
func openSource(path string, parents *vhdx.Parents, res *jsonConvert) (source, error) {
	isVHDX, err := detect(path)
	if err != nil {
		return nil, err
	}
	if !isVHDX {
		if len(parents.Named) > 0 {
			return nil, fmt.Errorf("--parent was given, but %s is a raw image and has none", path)
		}
		res.SourceFormat = "raw"
		return vhdx.OpenRaw(path)
	}
	res.SourceFormat = "vhdx"
	chain, err := openChain(path, parents)
	if err != nil {
		return nil, err
	}
	res.Chain = append(res.Chain, parents.Found()...)
	return chain, nil
}

// detect reports whether the file is a VHDX. What bears the mark of another format, or of a damaged VHDX, is no raw
// image: its bytes would pass for those of a disk.
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
