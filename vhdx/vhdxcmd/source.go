package vhdxcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"troy/internal/progress"
	"troy/vhdx"
	"troy/vhdx/foreign"
)

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
	return false, refuseFormat(f, size, path)
}

func refuseFormat(f *os.File, size int64, path string) error {
	if size == 0 {
		return fmt.Errorf("%s is empty", path)
	}
	i, err := foreign.Recognise(path)
	if err != nil {
		return err
	}
	if i != nil {
		return fmt.Errorf("%s is a %s, neither VHDX nor raw: 'convert' makes one of it", path, i.Kind)
	}
	_, _, err = vhdx.ReadHeaders(f)
	ext := strings.ToLower(filepath.Ext(path))
	if err == nil || ext == ".vhdx" || ext == ".avhdx" {
		return fmt.Errorf("%s: %w", path, &vhdx.FormatError{Structure: "file identifier", Reason: `it does not start with "vhdxfile", though the file is a VHDX by its name or its headers`})
	}
	return nil
}

// openForeign opens a disk in another program's format, nil if it is none. The copy that is read
// lies, without a name, in the folder of the target.
func openForeign(ctx context.Context, path, target string, w io.Writer) (*vhdx.Raw, *foreign.Image, error) {
	i, err := foreign.Recognise(path)
	if i == nil || err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(target), "."+filepath.Base(target)+".*.part")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	f, err := i.Open(ctx, dir, progress.On(w))
	return f, i, err
}
