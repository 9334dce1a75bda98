package testdisk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"troy/internal/durable"
	"troy/internal/errline"
	"troy/internal/format"
	"troy/internal/guid"
	"troy/vhdx"
)

// Sizes of the virtual disks of machine/ and merged/, in bytes: a machine has blocks of 2 MiB.
const (
	defaultSize = 4 * mib
	blockSize   = 2 * mib
	leastSize   = 4 * mib
)

var (
	// ErrNotEmpty: the folder to make the disks in holds something.
	ErrNotEmpty = errors.New("the folder is not empty")
	// ErrSize: the disks cannot have that size.
	ErrSize = errors.New("bad size of the test disks")
)

// MakeOptions are for Make.
type MakeOptions struct {
	// Size is that of the virtual disks with slots or a boot child, whose files are about as long, in
	// bytes; a multiple of 2 MiB, 4 MiB at least. 0: 4 MiB. Disks whose files hold only what was
	// written have eight times as much.
	Size int64
}

// maker makes the disks. They are built in a folder below, and copied: files that were written with
// holes become whole.
type maker struct {
	dir, work string
	size      int64
	plainSize int64 // of disks whose files hold only what was written
	seed      uint64
	disks     []Disk
	sums      map[string]File // of the files that were copied
}

// Make fills a folder, which is made if need be, with test disks. The manifest comes last: a folder
// without it is not finished. Errors: ErrNotEmpty, ErrSize, those of the disk.
func Make(ctx context.Context, dir string, o *MakeOptions) (m *Manifest, err error) {
	k := &maker{dir: dir, work: filepath.Join(dir, ".making"), size: defaultSize, sums: map[string]File{}}
	if o.Size != 0 {
		k.size = o.Size
	}
	if k.size < leastSize || k.size%blockSize != 0 || k.size > maxSize/8 {
		return nil, fmt.Errorf("%w: %d bytes, want a multiple of %d, %d at least", ErrSize, k.size, blockSize, leastSize)
	}
	k.plainSize = 8 * k.size
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
		return nil, errors.Join(err, fmt.Errorf("%s: %w", dir, ErrNotEmpty))
	}
	defer func() { err = errline.Join(err, os.RemoveAll(k.work)) }()
	for _, step := range []func(context.Context) error{k.plain, k.machine, k.cut, k.timed} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return k.finish(ctx)
}

// finish compares each disk with what it has to show, and writes the manifest.
func (k *maker) finish(ctx context.Context) (*Manifest, error) {
	m := &Manifest{Disks: k.disks}
	ManifestKind.Stamp(&m.Head)
	for i := range m.Disks {
		d := &m.Disks[i]
		if err := k.prove(ctx, d); err != nil {
			return nil, fmt.Errorf("%s: %w", d.Name(), err)
		}
	}
	b, err := format.Indent(m)
	if err != nil {
		return nil, err
	}
	return m, durable.WriteFile(filepath.Join(k.dir, ManifestName), b, 0o644)
}

// prove reads a disk back and notes its hashes.
func (k *maker) prove(ctx context.Context, d *Disk) error {
	if err := d.check(); err != nil {
		return err
	}
	c, err := openChain(k.dir, d.Files)
	if err != nil {
		return err
	}
	defer c.Close()
	at, err := differs(ctx, c, d.before(), d.Size)
	if err != nil {
		return err
	}
	if at >= 0 || c.Size() != d.Size {
		return errors.New("the disk does not show what was written")
	}
	if d.SHA256, err = sum(ctx, c, d.Size); err != nil {
		return err
	}
	d.After = d.SHA256
	if len(d.Writes) > 0 {
		d.After, err = sum(ctx, d.after(), d.Size)
	}
	return err
}

// openChain opens the files of a disk for reading.
func openChain(dir string, files []File) (*vhdx.Chain, error) {
	named := make([]string, len(files))
	for i, f := range files {
		named[i] = filepath.Join(dir, filepath.FromSlash(f.Path))
	}
	return vhdx.OpenChain(named[0], &vhdx.ChainOptions{Parents: &vhdx.Parents{Named: named[1:]}})
}

// next is a piece with a pattern of its own.
func (k *maker) next(offset, length int64) Piece {
	k.seed++
	return Piece{offset, length, k.seed}
}

// writes are what may be written to a disk: a page, sectors across the edge of a page, a whole
// block if there is one in the middle, the last page.
func (k *maker) writes(size int64) []Piece {
	return []Piece{k.next(unit, unit), k.next(mib+7*sector, 3*sector), k.next(blockSize, min(blockSize, size-blockSize)), k.next(size-unit, unit)}
}

// folder makes a folder of the result, and of the workshop.
func (k *maker) folder(name string) error {
	return errors.Join(os.MkdirAll(filepath.Join(k.dir, name), 0o755), os.MkdirAll(filepath.Join(k.work, name), 0o755))
}

// at is a file of the workshop.
func (k *maker) at(name string) string { return filepath.Join(k.work, filepath.FromSlash(name)) }

// add copies the files of a disk out of the workshop, those that are not there yet.
func (k *maker) add(d Disk, names ...string) error {
	for _, name := range names {
		f, ok := k.sums[name]
		if !ok {
			var err error
			if f, err = k.take(name, name); err != nil {
				return err
			}
		}
		d.Files = append(d.Files, f)
	}
	k.disks = append(k.disks, d)
	return nil
}

// take copies a file out of the workshop under a name, without holes.
func (k *maker) take(from, name string) (f File, err error) {
	path := filepath.Join(k.dir, filepath.FromSlash(name))
	if err := copyFile(path, k.at(from)); err != nil {
		return f, err
	}
	if f, err = describe(k.dir, name); err != nil {
		return f, err
	}
	k.sums[name] = f
	return f, nil
}

// describe reads what the manifest says of a file.
func describe(dir, name string) (f File, err error) {
	file, err := os.Open(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil {
		return f, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return f, err
	}
	f = File{Path: name, Size: info.Size()}
	if f.SHA256, err = sum(context.Background(), file, f.Size); err != nil {
		return f, err
	}
	f.DataWriteGUID, err = dataWriteGUID(file)
	return f, err
}

func dataWriteGUID(r io.ReaderAt) (guid.GUID, error) {
	h, _, err := vhdx.ReadHeaders(r)
	if err != nil {
		return guid.GUID{}, err
	}
	return h.DataWriteGUID, nil
}

// copyFile copies a file, and writes every byte: the copy has no holes, as Windows asks for.
func copyFile(to, from string) (err error) {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errline.Join(err, w.Close()) }()
	// Without the methods by which the copy would be left to the system, which keeps holes.
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, mib))
	return err
}

// sameFile reports whether a file is as it was made.
func sameFile(ctx context.Context, dir string, f File) (bool, error) {
	file, err := os.Open(filepath.Join(dir, filepath.FromSlash(f.Path)))
	if errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("%s is missing: the set of test disks is not whole", f.Path)
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || info.Size() != f.Size {
		return false, err
	}
	s, err := sum(ctx, file, f.Size)
	return s == f.SHA256, err
}

// writeTo writes pieces to a disk.
func writeTo(w io.WriterAt, pieces []Piece) error {
	for _, p := range pieces {
		b := p.bytes()
		if n, err := w.WriteAt(b, p.Offset); err != nil || n < len(b) {
			return errors.Join(err, fmt.Errorf("byte %d: %d of %d bytes were written", p.Offset, n, len(b)))
		}
	}
	return nil
}
