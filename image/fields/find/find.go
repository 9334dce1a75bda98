package find

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/ntfs"
	"troy/image"
	"troy/image/fields"
	"troy/internal/acl"
	"troy/internal/block"
)

const (
	windowsFolder = `\Windows`
	machinePath   = `\Troy\machine.json`
	systemPath    = windowsFolder + `\System32\config\SYSTEM`
	// maxFields bounds what one version gets: its manifest has to hold them.
	maxFields = 100
)

// finder collects the fields of one volume.
type finder struct {
	disk   io.ReaderAt
	size   int64
	start  int64 // of the volume
	volume *ntfs.Volume
	fields []image.Field
	notes  []string
}

// Fields looks for the fields of the Windows on a virtual disk of size bytes with logical sectors of
// that size, and says in notes what has none, and why.
func Fields(disk io.ReaderAt, size int64, sector int) ([]image.Field, []string) {
	f := &finder{disk: disk, size: size}
	if reason := f.open(sector); reason != "" {
		f.note("no PC gets a name or settings: %s", reason)
		return nil, f.notes
	}
	f.registry()
	f.machineFile()
	f.answerFile()
	return f.fields, f.notes
}

// note says something once.
func (f *finder) note(format string, args ...any) {
	if n := "fields: " + fmt.Sprintf(format, args...); !slices.Contains(f.notes, n) {
		f.notes = append(f.notes, n)
	}
}

// open finds the volume with Windows; reason says why there is none whose bytes may be overwritten.
func (f *finder) open(sector int) (reason string) {
	list, err := blockdev.Volumes(f.disk, f.size, sector)
	if err != nil {
		return err.Error()
	}
	for _, e := range list {
		v, err := ntfs.Open(io.NewSectionReader(f.disk, e.Start, e.Size), e.Size)
		if err != nil {
			continue // another file system, or one that nothing starts from
		}
		if _, err := v.Lookup(windowsFolder); err != nil {
			continue
		}
		if f.volume != nil {
			return "the disk has more than one Windows"
		}
		f.volume, f.start = v, e.Start
	}
	if f.volume == nil {
		return "the disk has no Windows"
	}
	if d := f.volume.Judge().Except(ntfs.ErrSecondWindows); d.Condition != ntfs.Clean {
		return "the " + d.String()
	}
	return ""
}

// place finds a file. A file that is not there is nil, and so is one that cannot hold a field; then
// a note says what is missing.
func (f *finder) place(path, what string) *ntfs.PlacedFile {
	file, err := f.volume.Place(path)
	switch {
	case err == nil:
		return file
	case !errors.Is(err, ntfs.ErrNotExist):
		f.note("no %s: %v", what, err)
	}
	return nil
}

// add takes a field whose bytes are n at off of a file. Its pages are read here.
func (f *finder) add(x image.Field, file *ntfs.PlacedFile, off, n int64) {
	if err := f.placed(&x, file, off, n); err != nil {
		f.note("no %s in %s: %v", x.Name, x.Where, err)
		return
	}
	f.fields = append(f.fields, x)
}

// isPrivate tells whether nobody but SYSTEM and administrators can read a file.
func (f *finder) isPrivate(path string) bool {
	d, err := f.volume.SecurityDescriptor(path)
	if err != nil && !errors.Is(err, ntfs.ErrNotExist) {
		f.note("it is not known who can read %s, so it takes no secret: %v", path, err)
	}
	return err == nil && acl.IsPrivate(d)
}

var (
	errMany    = fmt.Errorf("%d places are found already", maxFields)
	errOverlap = errors.New("it shares bytes with another place")
	errPieces  = errors.New("it lies in too many pieces")
	errOutside = errors.New("it does not lie within its file")
)

// placed fills in where a field is, and what stands there. SizeAt is an offset in the file, before
// and on the disk after.
func (f *finder) placed(x *image.Field, file *ntfs.PlacedFile, off, n int64) error {
	if len(f.fields) == maxFields {
		return errMany
	}
	if n > image.MaxRoom {
		return fmt.Errorf("%d bytes, at most %d", n, image.MaxRoom)
	}
	x.At = f.onDisk(file.Spans(off, n))
	if x.SizeAt != 0 {
		at := f.onDisk(file.Spans(x.SizeAt, 4))
		if len(at) != 1 {
			return errOutside
		}
		x.SizeAt = at[0].Offset
	}
	switch {
	case len(x.At) == 0:
		return errOutside
	case len(x.At) > image.MaxPieces:
		return errPieces
	case slices.ContainsFunc(f.fields, func(other image.Field) bool { return overlap(&other, x) }):
		return errOverlap
	}
	page := make([]byte, image.PageSize)
	for _, at := range x.PageOffsets() {
		if err := block.ReadFull(f.disk, page, at); err != nil {
			return err
		}
		x.Pages = append(x.Pages, sha256.Sum256(page))
	}
	return nil
}

// onDisk moves pieces of the volume to where they are on the disk.
func (f *finder) onDisk(spans []ntfs.Span) (out []image.Range) {
	for _, s := range spans {
		out = append(out, image.Range{Offset: f.start + s.Offset, Length: s.Length})
	}
	return out
}

func overlap(a, b *image.Field) bool {
	for _, x := range a.Pieces() {
		for _, y := range b.Pieces() {
			if x.Offset < y.Offset+y.Length && y.Offset < x.Offset+x.Length {
				return true
			}
		}
	}
	return false
}

// machineFile adds the file for what is a machine's own.
func (f *finder) machineFile() {
	if file := f.place(machinePath, fields.MachineFile); file != nil {
		f.add(image.Field{Kind: image.FieldFile, Name: fields.MachineFile, Where: machinePath, Private: f.isPrivate(machinePath)}, file, 0, file.Size())
	}
}
