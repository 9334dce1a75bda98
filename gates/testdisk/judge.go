package testdisk

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"troy/gates"
	"troy/internal/guid"
	"troy/vhdx"
)

// Judge looks at what is in a folder of test disks now, and adds to r what speaks for and against
// each gate. It changes no file. r may hold what Run said: a disk that Run says it wrote to has to
// show it. A set that nobody touched is not run. The errors are those of the folder, and ctx's.
func Judge(ctx context.Context, dir string, r *gates.Result) error {
	m, err := Load(dir)
	if err != nil {
		return err
	}
	j := &judge{ctx: ctx, dir: dir, same: map[string]bool{}, said: r}
	for i := range m.Disks {
		if err := j.disk(&m.Disks[i]); err != nil {
			return err
		}
	}
	return enter(r, j.trials)
}

// judge is one look at a folder.
type judge struct {
	ctx    context.Context
	dir    string
	same   map[string]bool // files by name: whether each is as it was made
	said   *gates.Result   // what Run said
	trials []trial
}

// untouched reports whether a file is as it was made.
func (j *judge) untouched(f File) (bool, error) {
	if same, ok := j.same[f.Path]; ok {
		return same, nil
	}
	same, err := sameFile(j.ctx, j.dir, f)
	j.same[f.Path] = same
	return same, err
}

// disk judges one disk: its leaf, its parents, and copies that were merged.
func (j *judge) disk(d *Disk) error {
	t := trial{gate: d.Gate, status: gates.NotRun}
	same, err := j.untouched(d.Files[0])
	if err != nil {
		return err
	}
	switch {
	case !same:
		t.status = gates.Pass
		if err := j.leaf(d, &t); err != nil {
			return err
		}
		if err := j.parents(d, &t); err != nil {
			return err
		}
	case j.written(d):
		t.fail("%s: was reported as written, and is as it was made", d.Name())
	}
	if d.Merge > 0 {
		if err := j.merges(d, &t); err != nil {
			return err
		}
	}
	j.trials = append(j.trials, t)
	return nil
}

// written reports whether Run said that it wrote to a disk.
func (j *judge) written(d *Disk) bool {
	return slices.Contains(j.said.Answer(d.Gate).Evidence, wrote(d))
}

// parents fails a disk whose parents were written to.
func (j *judge) parents(d *Disk, t *trial) error {
	for _, f := range d.Files[1:] {
		same, err := j.untouched(f)
		if err != nil {
			return err
		}
		if !same {
			t.fail("%s: its parent %s was changed; parents are only read", d.Name(), f.Path)
		}
	}
	return nil
}

// leaf judges a file that was written to. Errors of reading it are failures of the gate.
func (j *judge) leaf(d *Disk, t *trial) error {
	path := filepath.Join(j.dir, filepath.FromSlash(d.Name()))
	f, err := vhdx.Open(path, nil)
	if err != nil {
		j.size(d, path)
		t.fail("%s: cannot be read any more: %v", d.Name(), bare(err))
		return nil
	}
	j.places(d, f)
	if f.LogPending() {
		t.fail("%s: its log was not closed", d.Name())
	}
	guids := f.Header()
	if err := f.Close(); err != nil {
		return err
	}
	if err := j.check(d, path, t); err != nil {
		return err
	}
	return j.content(d, guids.DataWriteGUID, t)
}

// bare is an error without the path of the file, which names the user's folders.
func bare(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// size notes that an anchored child has another size than it had.
func (j *judge) size(d *Disk, path string) {
	info, err := os.Stat(path)
	if err == nil && d.Anchors != nil && info.Size() != d.Files[0].Size {
		j.moved("%s: the file has %d bytes, and had %d: an anchored child must not grow or shrink", d.Name(), info.Size(), d.Files[0].Size)
	}
}

func (j *judge) moved(format string, args ...any) {
	t := trial{gate: "W6"}
	t.fail(format, args...)
	j.trials = append(j.trials, t)
}

// places notes what moved in an anchored child.
func (j *judge) places(d *Disk, f *vhdx.File) {
	if d.Anchors == nil {
		return
	}
	j.size(d, f.Path())
	geo := f.Geometry()
	for block := range min(geo.Blocks(), int64(len(d.Anchors))) {
		e, err := f.BATEntry(geo.PayloadIndex(block))
		switch {
		case err != nil:
			j.moved("%s: block %d: %v", d.Name(), block, bare(err))
			return
		case e.FileOffset() != d.Anchors[block]:
			j.moved("%s: block %d lay at byte %d of the file and is at %d (%v)", d.Name(), block, d.Anchors[block], e.FileOffset(), e.State())
			return
		case e.State() != vhdx.PayloadPartiallyPresent && e.State() != vhdx.PayloadFullyPresent:
			j.moved("%s: block %d is %v", d.Name(), block, e.State())
			return
		}
	}
	t := trial{gate: "W6", status: gates.Pass}
	t.say("%s: size and places of the blocks are what they were", d.Name())
	j.trials = append(j.trials, t)
}

// check runs the checker over the leaf and its link.
func (j *judge) check(d *Disk, path string, t *trial) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	o := &vhdx.CheckOptions{}
	if len(d.Files) > 1 {
		if o.Parent, err = vhdx.Open(filepath.Join(j.dir, filepath.FromSlash(d.Files[1].Path)), nil); err != nil {
			t.fail("%s: its parent cannot be read any more: %v", d.Name(), bare(err))
			return nil
		}
		defer o.Parent.Close()
	}
	report, err := vhdx.Check(file, info.Size(), o)
	if err != nil {
		t.fail("%s: vhdx check: %v", d.Name(), bare(err))
		return nil
	}
	for _, f := range report.Findings {
		if f.Severity != vhdx.Note {
			t.fail("%s: vhdx check: %v", d.Name(), f)
			break // the rest mostly follows from it
		}
	}
	return nil
}

// content compares what the disk shows with what was made and with what may have been written.
func (j *judge) content(d *Disk, now guid.GUID, t *trial) error {
	c, err := openChain(j.dir, d.Files)
	if err != nil {
		t.fail("%s: the chain does not open any more: %v", d.Name(), bare(err))
		return nil
	}
	defer c.Close()
	before, err := differs(j.ctx, c, d.before(), min(d.Size, c.Size()))
	if err != nil {
		return j.unreadable(err, d, t)
	}
	fresh := now != d.Files[0].DataWriteGUID
	if c.Size() != d.Size {
		t.fail("%s: the virtual disk has %d bytes, and had %d", d.Name(), c.Size(), d.Size)
	}
	if before < 0 {
		if t.status == gates.Pass {
			t.status = gates.NotRun
		}
		if fresh {
			t.say("%s: DataWriteGuid is new, and the content is not", d.Name())
		}
		if j.written(d) {
			t.fail("%s: was reported as written, and shows what it showed", d.Name())
		}
		t.say("%s: the file was changed, and not what it shows", d.Name())
		return nil
	}
	if !fresh {
		t.fail("%s: the content is another one under the same DataWriteGuid", d.Name())
	}
	at, err := differs(j.ctx, c, d.after(), min(d.Size, c.Size()))
	switch {
	case err != nil:
		return j.unreadable(err, d, t)
	case at < 0:
		t.say("%s: shows what was written and nothing else", d.Name())
	case slices.ContainsFunc(d.Writes, func(p Piece) bool { return at >= p.Offset && at < p.Offset+p.Length }):
		t.fail("%s: byte %d is not what was written there", d.Name(), at)
	default:
		t.fail("%s: byte %d was changed, where nothing was written", d.Name(), at)
	}
	return nil
}

// unreadable makes a failure of an error of reading, if it is not that the work was given up.
func (j *judge) unreadable(err error, d *Disk, t *trial) error {
	if j.ctx.Err() != nil {
		return j.ctx.Err()
	}
	t.fail("%s: cannot be read any more: %v", d.Name(), bare(err))
	return nil
}

// merges judges the copies that Windows and package vhdx merged: the parent alone has to show what
// the child showed, under a new DataWriteGuid.
func (j *judge) merges(d *Disk, t *trial) error {
	for _, who := range []string{byWindows, byTroy} {
		parent := d.Files[1]
		parent.Path = who + "/" + parent.Path
		if _, err := os.Stat(filepath.Join(j.dir, filepath.FromSlash(parent.Path))); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if t.status == gates.NotRun {
			t.status = gates.Pass
		}
		if err := j.merged(d, parent, t); err != nil {
			return err
		}
	}
	return nil
}

func (j *judge) merged(d *Disk, parent File, t *trial) error {
	c, err := openChain(j.dir, append([]File{parent}, d.Files[2:]...))
	if err != nil {
		t.fail("%s: cannot be read after the merge: %v", parent.Path, bare(err))
		return nil
	}
	defer c.Close()
	f := c.Files()[0]
	if f.LogPending() {
		t.fail("%s: its log was not closed by the merge", parent.Path)
	}
	if f.Header().DataWriteGUID == parent.DataWriteGUID && !d.Cut {
		t.fail("%s: the content is another one under the same DataWriteGuid", parent.Path)
	}
	at, err := differs(j.ctx, c, d.before(), min(d.Size, c.Size()))
	switch {
	case err != nil:
		return j.unreadable(err, d, t)
	case at >= 0 || c.Size() != d.Size:
		t.fail("%s: after the merge byte %d is not what the child showed", parent.Path, max(at, 0))
	default:
		t.say("%s: shows after the merge what the child showed", parent.Path)
	}
	return nil
}
