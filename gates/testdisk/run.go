package testdisk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"troy/gates"
	"troy/internal/errline"
	"troy/vhdx"
)

// API is what Windows does with virtual disks.
type API interface {
	// Attach attaches the chain of a leaf without a drive letter, for reading only or for writing
	// to the leaf, and opens the disk. Closing it detaches the chain.
	Attach(leaf string, write bool) (Attached, error)
	// Merge merges a leaf into its parent: MergeVirtualDisk.
	Merge(leaf string) error
	// Size is the size of the virtual disk: GetVirtualDiskInformation.
	Size(leaf string) (int64, error)
}

// Attached is a disk that Windows shows.
type Attached interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
}

// ErrNoAPI: this system does not attach virtual disks. Nothing was tried.
var ErrNoAPI = errors.New("virtual disks cannot be attached here")

// ErrPlace: the files lie where Windows attaches none: they are sparse, compressed or encrypted, or
// not on NTFS. That is no answer.
var ErrPlace = errors.New("the files are sparse, compressed, encrypted or not on NTFS: copy them to a folder on drive C")

// errOurs is what went wrong in the folder, and not in what Windows was asked.
var errOurs = errors.New("could not be prepared")

// Folders of copies that were merged, in the folder of the test disks.
const (
	byWindows = "windows"
	byTroy    = "troy"
)

// trial is what came out of one disk.
type trial struct {
	gate   string
	status gates.Status
	lines  []string
}

// say adds a line about the disk.
func (t *trial) say(format string, args ...any) {
	t.lines = append(t.lines, fmt.Sprintf(format, args...))
}

// fail makes it a failure.
func (t *trial) fail(format string, args ...any) {
	t.status = gates.Fail
	t.say(format, args...)
}

// enter adds trials to a result: a gate passes when all of its disks did.
func enter(r *gates.Result, trials []trial) error {
	all := map[string][]gates.Status{}
	for _, t := range trials {
		all[t.gate] = append(all[t.gate], t.status)
		for _, line := range t.lines {
			if err := r.Add(gates.Disks, t.gate, gates.NotRun, line); err != nil {
				return err
			}
		}
	}
	for _, g := range gates.All() {
		if err := r.Add(gates.Disks, g.ID, gates.Together(all[g.ID]...), ""); err != nil {
			return err
		}
	}
	return nil
}

// Run tries all disks of a folder and adds what came out to r. What Windows refuses is an answer,
// not an error: the errors are those of the folder, and ctx's. Where the API is missing (ErrNoAPI),
// all gates of the disks stay not run, with the reason. Progress, if not nil, gets a line for each
// disk.
func Run(ctx context.Context, dir string, api API, r *gates.Result, progress func(string)) error {
	m, err := Load(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(filepath.Join(dir, byWindows)), os.RemoveAll(filepath.Join(dir, byTroy))); err != nil {
		return err
	}
	var trials []trial
	for i := range m.Disks {
		d := &m.Disks[i]
		if err := ctx.Err(); err != nil {
			return err
		}
		x := &run{ctx: ctx, dir: dir, api: api, d: d, trial: trial{gate: d.Gate, status: gates.Pass}}
		if err := x.all(); err != nil {
			if err := x.refused(err); err != nil {
				return err
			}
		}
		if x.times != nil && (r.Merge == nil || r.Merge.Bytes < x.times.Bytes) {
			r.Merge = x.times
		}
		trials = append(trials, x.trial)
		if progress != nil {
			progress(fmt.Sprintf("%-4s %-8s %s", d.Gate, x.status, d.Name()))
		}
	}
	return enter(r, trials)
}

// run is the trial of one disk.
type run struct {
	ctx context.Context
	dir string
	api API
	d   *Disk
	trial
	times *gates.MergeTimes
}

// refused makes an answer of an error, unless it is none of Windows.
func (x *run) refused(err error) error {
	switch {
	case x.ctx.Err() != nil:
		return x.ctx.Err()
	case errors.Is(err, errOurs):
		return err
	case errors.Is(err, ErrNoAPI), errors.Is(err, ErrPlace):
		x.status = gates.NotRun
		x.say("%v", err)
	default:
		x.fail("%s: %s: %v", x.d.Name(), x.d.About, err)
	}
	return nil
}

// path is where a file of the folder is.
func (x *run) path(name string) string { return filepath.Join(x.dir, filepath.FromSlash(name)) }

// all does what is to be done with the disk. Its error is what was refused.
func (x *run) all() error {
	leaf := x.path(x.d.Name())
	size, err := x.api.Size(leaf)
	if err != nil {
		return err
	}
	if size != x.d.Size {
		return fmt.Errorf("it has %d bytes, want %d", size, x.d.Size)
	}
	began := time.Now()
	if err := x.look("read-only", x.d.before(), x.d.after()); err != nil {
		if !x.d.Dirty || errors.Is(err, ErrNoAPI) {
			return err
		}
		x.say("%s: %v", x.d.Name(), err) // a log is replayed in the file, which needs the right to write
	}
	if len(x.d.Writes) > 0 {
		if err := x.write(leaf); err != nil {
			return err
		}
		if err := x.look("again", x.d.after()); err != nil {
			return err
		}
		x.say("%s", wrote(x.d))
	}
	x.say("%s: %s: attached and read, %d bytes, in %.1f s", x.d.Name(), x.d.About, x.d.Size, time.Since(began).Seconds())
	if x.d.Merge > 0 {
		return x.merge()
	}
	return nil
}

// wrote is the line by which Judge knows that a disk was written to.
func wrote(d *Disk) string {
	return fmt.Sprintf("%s: wrote to %d places, detached, and read them again", d.Name(), len(d.Writes))
}

// look attaches the disk for reading and compares it with what it may show.
func (x *run) look(when string, may ...*content) error {
	disk, err := x.api.Attach(x.path(x.d.Name()), false)
	if err != nil {
		return fmt.Errorf("attached %s: %w", when, err)
	}
	return errline.Join(x.compare(disk, when, may...), disk.Close())
}

// compare reads all of the disk. The error names the first byte that differs from the first
// content.
func (x *run) compare(disk io.ReaderAt, when string, may ...*content) error {
	var first error
	for _, want := range may {
		at, err := differs(x.ctx, disk, want, x.d.Size)
		if err == nil && at < 0 {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("attached %s: byte %d is wrong", when, at)
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// write attaches the disk for writing, a second time for reading meanwhile, and writes.
func (x *run) write(leaf string) error {
	disk, err := x.api.Attach(leaf, true)
	if err != nil {
		return fmt.Errorf("attached for writing: %w", err)
	}
	if second, err := x.api.Attach(leaf, false); err != nil {
		x.say("%s: attached twice: refused: %v", x.d.Name(), err)
	} else {
		x.say("%s: attached twice: both are there", x.d.Name())
		if err := second.Close(); err != nil {
			return errline.Join(fmt.Errorf("detaching the second: %w", err), disk.Close())
		}
	}
	err = writeTo(disk, x.d.Writes)
	if err == nil {
		err = x.compare(disk, "for writing", x.d.after())
	}
	return errline.Join(err, disk.Close())
}

// merge has Windows and package vhdx merge copies of the same files, and takes the time.
func (x *run) merge() error {
	began := time.Now()
	theirs, err := x.copies(byWindows)
	if err != nil {
		return err
	}
	if err := x.api.Merge(theirs); err != nil {
		return fmt.Errorf("MergeVirtualDisk: %w", err)
	}
	windows := time.Since(began)
	began = time.Now()
	ours, err := x.copies(byTroy)
	if err != nil {
		return err
	}
	if err := mergeChain(x.ctx, ours); err != nil {
		return fmt.Errorf("%s: troy vhdx merge: %w: %w", x.d.Name(), errOurs, err)
	}
	x.times = &gates.MergeTimes{Bytes: x.d.Merge, Windows: windows.Seconds(), Troy: time.Since(began).Seconds()}
	x.say("%s: merged, %d bytes: MergeVirtualDisk %.2f s, troy vhdx merge %.2f s", x.d.Name(), x.d.Merge, x.times.Windows, x.times.Troy)
	return nil
}

// copies copies the files of the disk into a folder, and returns the leaf.
func (x *run) copies(folder string) (leaf string, err error) {
	for _, f := range x.d.Files {
		to := x.path(folder + "/" + f.Path)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return "", fmt.Errorf("%s: %w: %w", f.Path, errOurs, err)
		}
		if err := copyFile(to, x.path(f.Path)); err != nil {
			return "", fmt.Errorf("%s: %w: %w", f.Path, errOurs, err)
		}
	}
	return x.path(folder + "/" + x.d.Name()), nil
}

// mergeChain merges a leaf into the file that it stands on, as troy vhdx merge does.
func mergeChain(ctx context.Context, leaf string) error {
	child, err := vhdx.Open(leaf, &vhdx.OpenOptions{Writable: true})
	if err != nil {
		return err
	}
	found, err := (&vhdx.Parents{}).Find(child)
	if err != nil {
		return errline.Join(err, child.Close())
	}
	name := found.Path()
	if err := found.Close(); err != nil {
		return errline.Join(err, child.Close())
	}
	parent, err := vhdx.Open(name, &vhdx.OpenOptions{Writable: true})
	if err != nil {
		return errline.Join(err, child.Close())
	}
	return errline.Join(vhdx.Merge(ctx, child, parent, nil), child.Close(), parent.Close())
}
