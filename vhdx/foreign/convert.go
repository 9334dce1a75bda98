package foreign

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"troy/internal/block"
	"troy/internal/errline"
	"troy/internal/progress"
	"troy/internal/tool"
	"troy/vhdx"
)

// Need estimates how many bytes the raw file will take: what the files of the image do, no more
// than the disk. A compressed image takes more.
func (i *Image) Need() (n int64, err error) {
	for _, path := range i.Files {
		st, err := os.Stat(path)
		if err != nil {
			return 0, err
		}
		n += st.Size()
	}
	return min(n, i.Size), nil
}

// Open writes the disk to a raw file in a folder and opens it. The file has no name any more when
// Open returns: it is gone when it is closed.
func (i *Image) Open(ctx context.Context, dir string, p progress.Adder) (*vhdx.Raw, error) {
	path := filepath.Join(dir, "disk.raw")
	defer os.Remove(path)
	if err := i.write(ctx, path, p); err != nil {
		return nil, fmt.Errorf("%s: %w", i.Path, err)
	}
	f, err := vhdx.OpenUnnamed(path)
	if err == nil && f.Size() != i.Size {
		err = errline.Join(fmt.Errorf("%w: %s came out as %d bytes, its header says %d", ErrDamaged, i.Path, f.Size(), i.Size), f.Close())
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (i *Image) write(ctx context.Context, path string, p progress.Adder) error {
	grown := func(n int64) { progress.Add(p, n) }
	if i.driver == "" {
		return i.unpack(ctx, path, grown)
	}
	spec := "driver=" + i.driver + ",file.driver=file,file.filename=" + strings.ReplaceAll(i.Path, ",", ",,")
	if i.driver == "vpc" {
		spec += ",force_size_calc=current_size"
	}
	return tool.Run(ctx, &tool.Command{Name: "qemu-img", Args: []string{"convert", "--image-opts", spec, "-O", "raw", path}, Output: path, Grown: grown})
}

// unpack has 7zz read the disk.
func (i *Image) unpack(ctx context.Context, path string, grown func(int64)) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	w := &sparseWriter{f: f}
	err = tool.Run(ctx, &tool.Command{Name: "7zz", Args: []string{"e", "-so", "-bd", "-tvhd", "--", i.Path}, Stdout: w, Output: path, Grown: grown})
	return errline.Join(err, f.Truncate(w.at), f.Close())
}

// holeUnit is the smallest hole that is looked for, in bytes.
const holeUnit = 64 << 10

// sparseWriter leaves holes where it is given zeros.
type sparseWriter struct {
	f  *os.File
	at int64
}

// Write implements io.Writer.
func (w *sparseWriter) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		n := min(len(p)-done, holeUnit-int(w.at%holeUnit))
		part := p[done : done+n]
		if !block.IsZero(part) {
			if _, err := w.f.WriteAt(part, w.at); err != nil {
				return done, err
			}
		}
		w.at += int64(n)
		done += n
	}
	return len(p), nil
}
