package golden

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/ntfs"
	"troy/image"
	"troy/image/fields/find"
	"troy/internal/block"
)

// Clear gives back to what is the golden PC's own what stands there in the version below, and
// returns the fields of the new version, with lines for people. Errors: *ClearError, those of
// reading; the disk is then not fit to be published.
func (d *Disk) Clear() ([]image.Field, []string, error) {
	m := d.below.Manifest()
	found, said := find.Fields(d, m.VirtualSize, int(m.SectorSize))
	var notes []string
	for i := range m.Fields {
		f := &m.Fields[i]
		if slices.ContainsFunc(found, func(now image.Field) bool { return clears(f, &now) }) {
			continue
		}
		note, err := d.missing(f, said)
		if err != nil {
			return nil, nil, err
		}
		if note != "" && !slices.Contains(notes, note) {
			notes = append(notes, note)
		}
	}
	for i := range found {
		now := &found[i]
		f := standing(m.Fields, now)
		if f == nil {
			continue
		}
		if err := d.putBack(f, now); err != nil {
			return nil, nil, err
		}
	}
	slices.SortFunc(d.edits, func(a, b edit) int { return cmp.Compare(a.off, b.off) })
	again, said := find.Fields(d, m.VirtualSize, int(m.SectorSize))
	return again, append(notes, said...), nil
}

// standing returns the field of the version below whose content a place gets: that of the same
// place, else one of the same name. Nil: the version below has none.
func standing(list []image.Field, now *image.Field) (other *image.Field) {
	for i := range list {
		f := &list[i]
		if f.Name == now.Name && f.Where == now.Where && f.Kind == now.Kind {
			return f
		}
		if other == nil && clears(f, now) {
			other = f
		}
	}
	return other
}

// clears tells whether a place that was found is one that a field of the version below stands for.
// A name is one name in all places of the registry; Windows may have turned to another control set.
func clears(f, now *image.Field) bool {
	return f.Name == now.Name && f.Kind == now.Kind && (f.Kind == image.FieldText || f.Where == now.Where)
}

// missing judges a field of the version below for which no place was found now.
func (d *Disk) missing(f *image.Field, said []string) (note string, err error) {
	reason := strings.Join(said, "; ")
	switch f.Kind {
	case image.FieldNumber: // a setting is nothing of the PC's own
		return "", nil
	case image.FieldText:
		return "", &ClearError{f.Name, f.Where, cmp.Or(reason, "it is not found")}
	}
	v, _, err := windowsOf(d, d.below.Size(), d.Below().SectorSize)
	if err == nil {
		_, err = v.Lookup(f.Where)
	}
	if errors.Is(err, ntfs.ErrNotExist) {
		return fmt.Sprintf("golden PC: %s is gone, so no PC gets a %s of its own", f.Where, f.Name), nil
	}
	if err != nil {
		reason = err.Error()
	}
	return "", &ClearError{f.Name, f.Where, cmp.Or(reason, "its place is not found")}
}

// putBack writes what stands in a field of the version below to a place.
func (d *Disk) putBack(f, now *image.Field) error {
	was, err := readField(d.old, f)
	if err != nil {
		return err
	}
	fill := byte(0)
	switch f.Kind {
	case image.FieldText:
		size, err := readRange(d.old, image.Range{Offset: f.SizeAt, Length: 4})
		if err != nil {
			return err
		}
		was = was[:min(int64(binary.LittleEndian.Uint32(size)), int64(len(was)))]
	case image.FieldFile, image.FieldAnswers:
		was, fill = bytes.TrimRight(was, " "), ' '
	}
	if need, room := int64(len(was)), now.Room(); need > room {
		reason := fmt.Sprintf("what stood there has %d bytes, and there is room for %d", need, room)
		if f.Kind == image.FieldAnswers {
			reason += "; when setup has run, the file can be deleted"
		}
		return &ClearError{now.Name, now.Where, reason}
	}
	if f.Kind == image.FieldText {
		d.edits = append(d.edits, edit{now.SizeAt, binary.LittleEndian.AppendUint32(nil, uint32(len(was)))})
	}
	content := append(was, bytes.Repeat([]byte{fill}, int(now.Room())-len(was))...)
	for _, r := range now.At {
		d.edits = append(d.edits, edit{r.Offset, content[:r.Length:r.Length]})
		content = content[r.Length:]
	}
	return nil
}

// readField reads all bytes of a field.
func readField(r io.ReaderAt, f *image.Field) (b []byte, err error) {
	for _, at := range f.At {
		part, err := readRange(r, at)
		if err != nil {
			return nil, err
		}
		b = append(b, part...)
	}
	return b, nil
}

func readRange(r io.ReaderAt, at image.Range) ([]byte, error) {
	b := make([]byte, at.Length)
	if err := block.ReadFull(r, b, at.Offset); err != nil {
		return nil, fmt.Errorf("reading bytes %d+%d of the version below: %w", at.Offset, at.Length, err)
	}
	return b, nil
}

var errNoWindows = errors.New("the disk has no Windows")

// windowsOf opens the volume with Windows on a disk, and tells where it begins.
func windowsOf(r io.ReaderAt, size int64, sector uint32) (*ntfs.Volume, int64, error) {
	list, err := blockdev.Volumes(r, size, int(sector))
	if err != nil {
		return nil, 0, err
	}
	for _, e := range list {
		v, err := ntfs.Open(io.NewSectionReader(r, e.Start, e.Size), e.Size)
		if err != nil {
			continue // another file system
		}
		if _, err := v.Lookup(`\Windows`); err == nil {
			return v, e.Start, nil
		}
	}
	return nil, 0, errNoWindows
}
