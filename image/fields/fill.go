package fields

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"troy/diskwriter/machine"
	"troy/image"
	"troy/internal/block"
)

// Fill makes the edits by which a machine gets its values, in the order of the disk; no two share a
// byte. It reads the pages of their fields from disk, the virtual disk of the version. Errors: those
// of Check, machine.ErrPage (as *machine.PageError), and those of reading.
func Fill(list []image.Field, v *Values, disk io.ReaderAt) ([]machine.Edit, error) {
	all, err := encode(list, v)
	if err != nil {
		return nil, err
	}
	w := &writer{disk: disk, pages: map[int64][]byte{}, sums: map[int64]image.Sum{}}
	for i := range all {
		if err := w.read(all[i].Field); err != nil {
			return nil, err
		}
	}
	for i := range all {
		w.fill(&all[i])
	}
	slices.SortFunc(w.edits, func(a, b machine.Edit) int { return cmp.Compare(a.Offset, b.Offset) })
	return w.edits, nil
}

// writer collects the edits of one machine.
type writer struct {
	disk  io.ReaderAt
	pages map[int64][]byte // as published, by their offsets
	sums  map[int64]image.Sum
	edits []machine.Edit
}

// read reads the pages of a field and compares them with the manifest.
func (w *writer) read(f *image.Field) error {
	for i, at := range f.PageOffsets() {
		if w.pages[at] == nil {
			page := make([]byte, image.PageSize)
			if err := block.ReadFull(w.disk, page, at); err != nil {
				return fmt.Errorf("reading the page at byte %d, of %s: %w", at, f.Name, err)
			}
			w.pages[at], w.sums[at] = page, sha256.Sum256(page)
		}
		if w.sums[at] != f.Pages[i] {
			return fmt.Errorf("%s (%s): %w", f.Name, f.Where, &machine.PageError{Offset: at, Want: f.Pages[i], Have: w.sums[at]})
		}
	}
	return nil
}

// published returns what the pages that were read hold in a range.
func (w *writer) published(r image.Range) (b []byte) {
	for at, end := r.Offset, r.Offset+r.Length; at < end; {
		first := at / image.PageSize * image.PageSize
		part := w.pages[first][at-first : min(image.PageSize, end-first)]
		b, at = append(b, part...), at+int64(len(part))
	}
	return b
}

// fill adds what one field gets.
func (w *writer) fill(f *filling) {
	var old []byte
	for _, r := range f.At {
		old = append(old, w.published(r)...)
	}
	content := make([]byte, len(old))
	switch f.Kind {
	case image.FieldText:
		w.write(f.SizeAt, binary.LittleEndian.AppendUint32(nil, uint32(len(f.value))), f.secret)
	case image.FieldAnswers:
		f.value = f.spliced(old)
		fallthrough
	case image.FieldFile:
		copy(content, bytes.Repeat([]byte{' '}, len(content)))
	}
	copy(content, f.value)
	for _, r := range f.At {
		off, data := r.Offset, content[:r.Length]
		if f.Kind == image.FieldFile || f.Kind == image.FieldAnswers {
			// A file is mostly spaces, before and after: the journal has to hold the edits.
			skip, end := differing(old[:r.Length], data)
			off, data = off+int64(skip), data[skip:end]
		}
		w.write(off, data, f.secret)
		old, content = old[r.Length:], content[r.Length:]
	}
}

// differing returns the range in which two slices of one length differ, empty if they do not.
func differing(a, b []byte) (lo, hi int) {
	for lo < len(a) && a[lo] == b[lo] {
		lo++
	}
	for hi = len(a); hi > lo && a[hi-1] == b[hi-1]; {
		hi--
	}
	return lo, hi
}

// write adds an edit.
func (w *writer) write(off int64, b []byte, secret bool) {
	if len(b) == 0 {
		return
	}
	e := machine.Edit{Offset: off, Data: b, Secret: secret}
	for at := off / image.PageSize * image.PageSize; at < off+int64(len(b)); at += image.PageSize {
		e.Pages = append(e.Pages, w.sums[at])
	}
	w.edits = append(w.edits, e)
}

// spliced returns an answer file with the answers in its slots.
func (f *filling) spliced(old []byte) (out []byte) {
	at := int64(0)
	for _, s := range f.Slots {
		if text, ok := f.answers[s.Name]; ok {
			out = append(append(out, old[at:s.Offset]...), text...)
			at = s.Offset + s.Length
		}
	}
	return append(out, old[at:f.Used]...)
}
