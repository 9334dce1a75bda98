package medium

import (
	"context"
	"fmt"
	"io"
	"os"

	"troy/image/source"
	"troy/image/startable"
	"troy/internal/errline"
)

// Disk makes the raw disk of size bytes that troy image import makes of a medium, with an answer
// file for its setup. A disk that would not be published is an error.
func Disk(ctx context.Context, iso string, size int64, answers []byte, raw string) (err error) {
	src, err := source.Recognise(iso)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "medium-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	d, err := src.Open(ctx, &source.Options{Scratch: func() (string, error) { return scratch, nil },
		Windows: source.Windows{Size: size, AnswerFile: answers}})
	if err != nil {
		return err
	}
	defer func() { err = errline.Join(err, d.Close()) }()
	verdict := startable.Check(d.Reader, d.Size, int(d.SectorSize))
	if len(verdict.Findings) > 0 {
		return fmt.Errorf("medium: %s: it would not be published as it is: %v", iso, verdict.Notes())
	}
	out, err := os.Create(raw)
	if err != nil {
		return err
	}
	defer func() { err = errline.Join(err, out.Close()) }()
	if err := out.Truncate(d.Size); err != nil {
		return err
	}
	for r, err := range d.Data {
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(out, r.Offset), io.NewSectionReader(d.Reader, r.Offset, r.Length)); err != nil {
			return err
		}
	}
	return nil
}
