package source

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"troy/internal/tool"
	"troy/vhdx"
)

// partclone is an image of one volume that partclone wrote, in one or more files, compressed or
// not.
type partclone struct {
	files []string
	notes []string
}

const partcloneMark = "partclone-image"

// Kind implements Source.
func (partclone) Kind() string { return "partclone image" }

// Open implements Source: partclone restores the volume, then as a bare one.
func (p partclone) Open(ctx context.Context, o *Options) (*Disk, error) {
	h, err := p.header(ctx)
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(h.fs, "NTFS") {
		return nil, fmt.Errorf("%w: %s holds a volume of type %s, and Windows is on NTFS", ErrUnknown, p.files[0], h.fs)
	}
	dir, err := o.room("the volume", h.used)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "volume")
	defer os.Remove(path)
	if err := p.restore(ctx, path, h.used, o); err != nil {
		return nil, err
	}
	f, err := vhdx.OpenUnnamed(path)
	if err != nil {
		return nil, err
	}
	d, err := volumeDisk(f, p.files[0])
	if err == nil {
		d.note("from a partclone image in %d files", len(p.files))
		d.Notes = append(d.Notes, p.notes...)
	}
	return d, err
}

func (p partclone) restore(ctx context.Context, path string, total int64, o *Options) error {
	r, err := openParts(ctx, p.files)
	if err != nil {
		return err
	}
	defer r.Close()
	// What is read is the volume and a little besides.
	stage := o.Progress.Rough("restoring", total)
	in := &failing{r: io.TeeReader(r, counter{stage})}
	err = tool.Run(ctx, &tool.Command{
		Name: "partclone.restore", Args: []string{"-s", "-", "-o", path, "-W", "-L", os.DevNull, "-B", "-f", "1"}, Stdin: in,
	})
	stage.End(err)
	if in.err != nil && ctx.Err() == nil {
		err = in.err // why partclone failed
	}
	if err != nil {
		return fmt.Errorf("%s: %w", p.files[0], err)
	}
	return nil
}

// failing remembers why reading ended.
type failing struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

// partcloneHeader is what is read of the start of an image.
type partcloneHeader struct {
	fs   string
	used int64 // bytes of the clusters in use
}

func (p partclone) header(ctx context.Context) (*partcloneHeader, error) {
	r, err := openParts(ctx, p.files)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b := make([]byte, 96)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("%s: %w", p.files[0], err)
	}
	h, ok := parsePartclone(b)
	if !ok {
		return nil, fmt.Errorf("%w: %s is no partclone image of format 1 or 2", ErrUnknown, p.files[0])
	}
	return h, nil
}

// parsePartclone reads a header of format 0001 or 0002 (partclone, src/partclone.h).
func parsePartclone(b []byte) (*partcloneHeader, bool) {
	if len(b) < 96 || string(b[:len(partcloneMark)]) != partcloneMark {
		return nil, false
	}
	le := binary.LittleEndian
	var fs []byte
	var blocks uint64
	var size uint32
	switch string(b[30:34]) {
	case "0001":
		fs, size, blocks = b[15:30], le.Uint32(b[36:]), le.Uint64(b[56:])
	case "0002":
		fs, blocks, size = b[36:52], le.Uint64(b[68:]), le.Uint32(b[84:])
	default:
		return nil, false
	}
	name, _, _ := bytes.Cut(fs, []byte{0})
	if size == 0 || size > 1<<20 || blocks > 1<<40/uint64(size)*1024 {
		return nil, false
	}
	return &partcloneHeader{string(name), int64(blocks) * int64(size)}, true
}
