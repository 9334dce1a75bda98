package pcdisk

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"troy/diskwriter/machine"
	"troy/internal/block"
	"troy/internal/progress"
)

// Version is what Fill brings to the parent.
type Version interface {
	// Size returns the bytes of the virtual disk.
	Size() int64
	// Runs returns what the version defines, ascending and disjoint. Pages in no run may hold
	// anything.
	Runs() []machine.Run
	// Fetch writes whatever of the runs lies in [from, to) and is not Zero to the sink: whole
	// pages, each once, in any order, concurrently if it likes. from and to are multiples of 1 MiB
	// or the end of the disk.
	Fetch(ctx context.Context, from, to int64, sink io.WriterAt) error
}

// FillOptions are for Fill. The zero value is right.
type FillOptions struct {
	pieceBytes int64          // of data, after which the progress is made durable; 0: 256 MiB
	Progress   progress.Adder // of the bytes of the virtual disk that the version defines; may be nil. Called concurrently
}

// Fill brings a version into the parent, from where the reinstall is: data is written, zeros are
// made by the disk's own command where it has one, and pages that the version does not define stay
// as they are. After every piece the progress is durable, so that a Fill that was cut off goes on
// there, in this process or after a start. Finish of the Reinstaller is the caller's, after he
// looked at the content and has put the boot files on the ESP.
//
// Errors: machine.ErrOtherSize, machine.ErrIncomplete if Fetch left something out, those of Fetch and of
// the disk.
func (t *Target) Fill(ctx context.Context, r *machine.Reinstaller, v Version, o *FillOptions) error {
	if o == nil {
		o = &FillOptions{}
	}
	if v.Size() != r.Size() {
		return fmt.Errorf("%w: it has %d bytes, the files were made for %d", machine.ErrOtherSize, v.Size(), r.Size())
	}
	f, err := t.newFiller(r, o)
	if err != nil {
		return err
	}
	defer f.z.Close()
	runs := v.Runs()
	for off := r.Offset(); off < r.Size(); {
		var piece []machine.Run
		end := f.cut(&runs, &piece, off)
		if err := f.fill(ctx, v, piece, off, end); err != nil {
			return err
		}
		if err := r.Advance(ctx, end); err != nil {
			return err
		}
		off = end
	}
	return nil
}

// filler is one call of Fill.
type filler struct {
	t   *Target
	r   *machine.Reinstaller
	o   FillOptions
	z   *zeroer
	put atomic.Int64 // bytes that Fetch gave
}

const (
	pieceBytes = 256 * mib
	// zerosPerByte: making zeros is at worst writing them, so they count for the size of a piece,
	// but less.
	zerosPerByte = 16
	// smallZero is up to which length zeros are written like data: a command of the disk costs more
	// than that.
	smallZero = 256 << 10
	// zeroers make zeros at once.
	zeroers = 8
)

func (t *Target) newFiller(r *machine.Reinstaller, o *FillOptions) (*filler, error) {
	f := &filler{t: t, r: r, o: *o}
	if f.o.pieceBytes <= 0 {
		f.o.pieceBytes = pieceBytes
	}
	var err error
	f.z, err = newZeroer(t.Device.Path())
	return f, err
}

// cut takes the next piece off runs: it begins at off and ends on a whole MiB, or with the disk.
func (f *filler) cut(runs, piece *[]machine.Run, off int64) int64 {
	list, size := *runs, f.r.Size()
	for len(list) > 0 && list[0].Offset+list[0].Length <= off {
		list = list[1:]
	}
	end, bytes := off, int64(0)
	for i := 0; bytes < f.o.pieceBytes && end < size; i++ {
		if i == len(list) {
			end = size
			break
		}
		run, weight := list[i], int64(1)
		if run.Zero {
			weight = zerosPerByte
		}
		n := min(run.Offset+run.Length-max(run.Offset, off), (f.o.pieceBytes-bytes)*weight)
		bytes += (n + weight - 1) / weight
		end = min(size, (max(run.Offset, off)+n+mib-1)&^(mib-1))
	}
	for _, run := range list {
		from, to := max(run.Offset, off), min(run.Offset+run.Length, end)
		if from >= end {
			break
		}
		*piece = append(*piece, machine.Run{Offset: from, Length: to - from, Zero: run.Zero})
	}
	*runs = list
	return end
}

// fill writes one piece.
func (f *filler) fill(ctx context.Context, v Version, piece []machine.Run, from, to int64) error {
	want := int64(0)
	for _, run := range piece {
		if !run.Zero {
			want += run.Length
		}
	}
	if err := f.zeroRuns(ctx, piece); err != nil {
		return err
	}
	f.put.Store(0)
	if want == 0 {
		return ctx.Err()
	}
	sink := sinkFunc(func(p []byte, off int64) (int, error) { return f.write(ctx, p, off) })
	if err := v.Fetch(ctx, from, to, sink); err != nil {
		return err
	}
	if have := f.put.Load(); have != want {
		return fmt.Errorf("%w: %d of %d bytes came between %d and %d", machine.ErrIncomplete, have, want, from, to)
	}
	return nil
}

// sinkFunc is an io.WriterAt.
type sinkFunc func(p []byte, off int64) (int, error)

// WriteAt implements io.WriterAt.
func (f sinkFunc) WriteAt(p []byte, off int64) (int, error) { return f(p, off) }

// write takes what Fetch brings. Zeros that were not announced are zeros all the same.
func (f *filler) write(ctx context.Context, p []byte, off int64) (int, error) {
	f.put.Add(int64(len(p)))
	f.add(int64(len(p)))
	if len(p) > smallZero && block.IsZero(p) {
		return len(p), f.zero(ctx, off, off+int64(len(p)))
	}
	return f.r.WriteAt(p, off)
}

func (f *filler) add(n int64) {
	if f.o.Progress != nil {
		f.o.Progress.Add(n)
	}
}

// zeroRuns makes the Zero runs zeros, several at once.
func (f *filler) zeroRuns(ctx context.Context, piece []machine.Run) error {
	work := make(chan machine.Run)
	failed := make(chan error, zeroers)
	var wg sync.WaitGroup
	for range zeroers {
		wg.Go(func() {
			var err error
			for run := range work { // goes on taking after an error, for the sender goes on
				if err == nil {
					err = f.zeroRun(ctx, run)
				}
			}
			failed <- err
		})
	}
	for _, run := range piece {
		if run.Zero {
			work <- run
		}
	}
	close(work)
	wg.Wait()
	close(failed)
	for err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}

// zeroRun makes one run zeros.
func (f *filler) zeroRun(ctx context.Context, run machine.Run) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f.add(run.Length)
	if run.Length > smallZero {
		return f.zero(ctx, run.Offset, run.Offset+run.Length)
	}
	_, err := f.r.WriteAt(make([]byte, run.Length), run.Offset)
	return err
}

// zero makes a range of the virtual disk zeros, at the places where the parent has it.
func (f *filler) zero(ctx context.Context, from, to int64) error {
	for from < to {
		at, n, err := f.r.Place(from, to-from)
		if err != nil {
			return err
		}
		if err := f.t.zeroFile(ctx, f.z, f.t.files[machine.BaseName], at, at+n); err != nil {
			return err
		}
		from += n
	}
	return nil
}
