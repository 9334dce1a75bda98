package source

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/klauspost/compress/zstd"

	"troy/internal/errline"
	"troy/internal/tool"
)

// compressions are those that Clonezilla and FOG use, and what unpacks them: nothing, or a program
// that does so with -dc.
var compressions = []struct{ mark, program string }{
	{gzipMark, ""}, {zstdMark, ""}, {"\xfd7zXZ\x00", "xz"}, {"\x5d\x00\x00", "xz"}, {"BZh", "bzip2"}, {"\x04\x22\x4d\x18", "lz4"},
	{"LZIP", "lzip"}, {"\x89LZO", "lzop"},
}

const (
	gzipMark = "\x1f\x8b"
	zstdMark = "\x28\xb5\x2f\xfd"
)

// compressed tells how a file is compressed by its head: the mark, and the program for it.
func compressed(head []byte) (mark, program string) {
	for _, c := range compressions {
		if bytes.HasPrefix(head, []byte(c.mark)) {
			return c.mark, c.program
		}
	}
	return "", ""
}

// parts reads files behind one another, unpacked.
type parts struct {
	io.Reader
	close []func() error // in the order in which they were opened
}

// Close closes the files, and ends the program that unpacks them.
func (p *parts) Close() error {
	var err error
	for _, c := range slices.Backward(p.close) {
		err = errline.Join(err, c())
	}
	return err
}

// openParts opens files that follow each other, and unpacks what is in them.
func openParts(ctx context.Context, files []string) (*parts, error) {
	p := &parts{}
	var list []io.Reader
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			return nil, errline.Join(err, p.Close())
		}
		p.close = append(p.close, f.Close)
		list = append(list, f)
	}
	b := bufio.NewReaderSize(io.MultiReader(list...), 1<<20)
	if err := p.unpack(ctx, b); err != nil {
		return nil, errline.Join(fmt.Errorf("%s: %w", files[0], err), p.Close())
	}
	return p, nil
}

func (p *parts) unpack(ctx context.Context, b *bufio.Reader) error {
	head, err := b.Peek(8)
	if err != nil && err != io.EOF {
		return err
	}
	mark, program := compressed(head)
	switch {
	case mark == gzipMark:
		z, err := gzip.NewReader(b)
		if err != nil {
			return err
		}
		p.Reader, p.close = z, append(p.close, z.Close)
	case mark == zstdMark:
		z, err := zstd.NewReader(b, zstd.WithDecoderMaxWindow(1<<27))
		if err != nil {
			return err
		}
		p.Reader, p.close = z, append(p.close, func() error { z.Close(); return nil })
	case program != "":
		p.pipe(ctx, program, b)
	default:
		p.Reader = b
	}
	return nil
}

// pipe has a program unpack what it reads.
func (p *parts) pipe(ctx context.Context, program string, in io.Reader) {
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.CloseWithError(tool.Run(ctx, &tool.Command{Name: program, Args: []string{"-dc"}, Stdin: in, Stdout: w}))
	}()
	p.Reader = r
	p.close = append(p.close, func() error {
		cancel()
		err := r.Close()
		<-ended
		return err
	})
}
