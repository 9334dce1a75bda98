package onwindows

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"troy/internal/durable"
	"troy/internal/errline"
)

// copyProgram copies a program, unless it is the file itself.
func copyProgram(to, from string) error {
	if same(to, from) {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := durable.Create(to, 0o755)
	if err != nil {
		return err
	}
	defer out.Abandon()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Commit()
}

func same(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// Sizes of what fills a volume, in bytes.
const (
	stuffFile  = 1 << 30
	stuffWrite = 1 << 20
	stuffLeast = 4096
)

// fill writes files of noise into a folder until full says that an error means a full volume, and
// leaves them there. The last writes are small, so that nothing is left.
func fill(ctx context.Context, dir string, full func(error) bool) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	noise := rand.NewChaCha8([32]byte{})
	buffer := make([]byte, stuffWrite)
	for i := 0; ; i++ {
		path := filepath.Join(dir, fmt.Sprintf("%05d.bin", i))
		switch err := fillFile(ctx, path, noise, buffer); {
		case err == nil:
		case full(err):
			return nil
		default:
			return err
		}
	}
}

// fillFile writes one file. The error of a full volume comes when not even the least write fits.
func fillFile(ctx context.Context, path string, noise *rand.ChaCha8, buffer []byte) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errline.Join(err, f.Sync(), f.Close()) }()
	for at, n := int64(0), len(buffer); at < stuffFile; {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		noise.Read(buffer[:n]) // never fails
		k, err := f.WriteAt(buffer[:n], at)
		at += int64(k)
		if err != nil && n <= stuffLeast {
			return err
		}
		if err != nil {
			n /= 2
		}
	}
	return nil
}
