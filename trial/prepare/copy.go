package prepare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"troy/diskwriter/ntfs"
	"troy/image"
	"troy/image/publish"
	"troy/internal/block"
	"troy/internal/errline"
	"troy/internal/progress"
	"troy/internal/space"
	"troy/trial/inside"
)

// copyUnit is what is read at once, in bytes; zeroUnit what becomes a hole when it is zeros.
const (
	copyUnit = 1 << 20
	zeroUnit = 64 << 10
)

// copyDisk copies a disk to a raw image with holes. What was copied is gone if it fails.
func copyDisk(ctx context.Context, path string, d *publish.Disk, start progress.Start) (err error) {
	ranges, total, err := dataOf(d)
	if err != nil {
		return err
	}
	if err := space.Check(filepath.Dir(path), "the copy of the disk", total); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errline.Join(err, f.Close()); err != nil {
			err = errline.Join(err, os.Remove(path))
		}
	}()
	if err := f.Truncate(d.Size); err != nil {
		return err
	}
	stage := start.Begin("copying the disk", total)
	defer stage.Done()
	buffer := make([]byte, copyUnit)
	for _, r := range ranges {
		for at := r.Offset; at < r.Offset+r.Length; at += copyUnit {
			if err := ctx.Err(); err != nil {
				return err
			}
			part := buffer[:min(copyUnit, r.Offset+r.Length-at)]
			if err := copyPart(f, d.Reader, part, at); err != nil {
				return err
			}
			stage.Add(int64(len(part)))
		}
	}
	return nil
}

// dataOf lists what of a disk may be other than zeros, and its bytes.
func dataOf(d *publish.Disk) (list []image.Range, total int64, err error) {
	if d.Data == nil {
		return []image.Range{{Offset: 0, Length: d.Size}}, d.Size, nil
	}
	for r, err := range d.Data {
		if err != nil {
			return nil, 0, err
		}
		list, total = append(list, r), total+r.Length
	}
	return list, total, nil
}

func copyPart(w io.WriterAt, r io.ReaderAt, part []byte, at int64) error {
	if err := block.ReadFull(r, part, at); err != nil {
		return err
	}
	for i := 0; i < len(part); i += zeroUnit {
		unit := part[i:min(i+zeroUnit, len(part))]
		if block.IsZero(unit) {
			continue
		}
		if _, err := w.WriteAt(unit, at+int64(i)); err != nil {
			return err
		}
	}
	return nil
}

// errWritten: the copy does not hold what was written to it.
var errWritten = errors.New("the copy of the disk does not hold what was written to it")

// compare looks with our own code at what Linux made of the volume: it is clean, and the files are
// there, whole.
func (w *windows) compare(path string, j *job, files map[string][]byte) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	v, err := ntfs.Open(io.NewSectionReader(f, w.start, w.size), w.size)
	if err != nil {
		return fmt.Errorf("%w: %w", errWritten, err)
	}
	if verdict := v.Judge().Except(ntfs.ErrSecondWindows); verdict.Condition != ntfs.Clean {
		return fmt.Errorf("%w: %s", errWritten, verdict)
	}
	for name, want := range files {
		got, err := content(v, name)
		if err != nil || !bytes.Equal(got, want) {
			return errline.Join(fmt.Errorf("%w: %s differs", errWritten, name), err)
		}
	}
	if j.Order == nil {
		return nil
	}
	return compareFiles(v, j.Order)
}

func content(v *ntfs.Volume, name string) ([]byte, error) {
	f, err := v.OpenFile(name)
	if err != nil {
		return nil, err
	}
	b := make([]byte, f.Size())
	return b, block.ReadFull(f, b, 0)
}

// compareFiles looks at the two files of the trial: they have no holes, and hold what they should.
func compareFiles(v *ntfs.Volume, o *inside.Order) error {
	for _, name := range []string{inside.RecordFile, inside.BallastFile} {
		runs, err := v.Runs(name)
		if err != nil {
			return err
		}
		for _, r := range runs {
			if r.Hole() {
				return fmt.Errorf("%w: %s has a hole", errWritten, name)
			}
		}
	}
	ballast, err := v.OpenFile(inside.BallastFile)
	if err != nil {
		return err
	}
	stamps, err := inside.ReadBallast(ballast, ballast.Size())
	if err != nil || !stamps.One(o.Stamp) || ballast.Size() != int64(o.BallastMiB)<<20 {
		return errline.Join(fmt.Errorf("%w: %s: %s", errWritten, inside.BallastFile, stamps), err)
	}
	records, err := v.OpenFile(inside.RecordFile)
	if err != nil {
		return err
	}
	all, err := inside.All(records)
	if err != nil || len(all) != 0 || records.Size() != inside.FileSize {
		return errline.Join(fmt.Errorf("%w: %s", errWritten, inside.RecordFile), err)
	}
	return nil
}
