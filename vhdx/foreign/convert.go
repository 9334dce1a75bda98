package foreign

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"troy/internal/block"
	"troy/internal/errline"
	"troy/internal/progress"
	"troy/internal/space"
	"troy/internal/tool"
	"troy/vhdx"
)

// Open writes the disk to a raw file in a folder and opens it. The file has no name any more when
// Open returns: it is gone when it is closed. The error is space.ErrShort if the folder has no
// room, a *tool.Error, ErrDamaged, or that of the disk.
func (i *Image) Open(ctx context.Context, dir string, p progress.Start) (*vhdx.Raw, error) {
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

func (i *Image) write(ctx context.Context, path string, p progress.Start) error {
	need, err := i.need(ctx)
	if err == nil {
		err = space.Check(filepath.Dir(path), "a raw copy of the disk", need)
	}
	if err != nil {
		return err
	}
	if i.driver == "" {
		stage := p.Rough("converting", i.Size)
		err = i.unpack(ctx, path, stage)
		stage.End(err)
		return err
	}
	stage := p.Rough("converting", need)
	err = tool.Run(ctx, &tool.Command{
		Name: "qemu-img", Args: []string{"convert", "-p", "--image-opts", i.options(), "-O", "raw", path},
		Percent: percentDone, Done: stage.Percent,
	})
	stage.End(err)
	return err
}

// percentDone is how qemu-img says how far it is.
var percentDone = regexp.MustCompile(`\(([0-9.]+)/100%\)`)

// options tell qemu-img the file and its format.
func (i *Image) options() string {
	spec := "driver=" + i.driver + ",file.driver=file,file.filename=" + strings.ReplaceAll(i.Path, ",", ",,")
	if i.driver == "vpc" {
		spec += ",force_size_calc=current_size"
	}
	return spec
}

// need returns how many bytes the raw file will take: what qemu-img says that the image holds, of
// what it does not read no more than the files have.
func (i *Image) need(ctx context.Context) (n int64, err error) {
	if i.driver != "" {
		return i.held(ctx)
	}
	for _, path := range i.Files {
		st, err := os.Stat(path)
		if err != nil {
			return 0, err
		}
		n += st.Size()
	}
	return min(n, i.Size), nil
}

// held asks qemu-img for the parts of the disk that are in the image.
func (i *Image) held(ctx context.Context) (n int64, err error) {
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := tool.Run(ctx, &tool.Command{Name: "qemu-img", Args: []string{"map", "--output=json", "--image-opts", i.options()}, Stdout: w})
		w.CloseWithError(err)
		ended <- err
	}()
	n, err = sumMap(r)
	r.CloseWithError(err) // else it waits for a reader
	return n, cmp.Or(<-ended, err)
}

// sumMap adds up the parts with data in a list of them, which may be long.
func sumMap(r io.Reader) (n int64, err error) {
	d := json.NewDecoder(r)
	if _, err := d.Token(); err != nil {
		return 0, err
	}
	for d.More() {
		var part struct {
			Length int64
			Data   bool
		}
		if err := d.Decode(&part); err != nil {
			return 0, err
		}
		if part.Data {
			n += part.Length
		}
	}
	_, err = io.Copy(io.Discard, r)
	return n, err
}

// unpack has 7zz read the disk.
func (i *Image) unpack(ctx context.Context, path string, stage *progress.Rough) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	w := &sparseWriter{f: f, stage: stage}
	err = tool.Run(ctx, &tool.Command{Name: "7zz", Args: []string{"e", "-so", "-bd", "-tvhd", "--", i.Path}, Stdout: w})
	return errline.Join(err, f.Truncate(w.at), f.Close())
}

// holeUnit is the smallest hole that is looked for, in bytes.
const holeUnit = 64 << 10

// sparseWriter leaves holes where it is given zeros.
type sparseWriter struct {
	f     *os.File
	at    int64
	stage *progress.Rough
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
	w.stage.Add(int64(len(p)))
	return len(p), nil
}
