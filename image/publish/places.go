package publish

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"troy/image"
	"troy/image/internal/pages"
	"troy/internal/errline"
)

// The weak hashes of all pages of an image's newest version lie beside its index, so that the next
// publishing finds what has moved without reading all of the disk below: a 512th of that. The file
// is a help and no more. A wrong hash in it leads to a page that is then looked at, or hides one
// that is then shipped; a file that is of another version is not used.
//
// It holds placesMark, the SHA-256 of the version's map, and for each region of the map that is not
// zeros the hashes of its pages, each 8 bytes.
const (
	placesMark = "TROYPLC1"
	placesHead = len(placesMark) + 32
)

func placesName(name string) string { return "images/" + name + "/places" }

// pageHashes are the weak hashes of the pages of one region.
type pageHashes [pages.PerRegion]uint64

const hashesSize = pages.PerRegion * 8

// hash fills h with the hashes of a region.
func (h *pageHashes) hash(region []byte) *pageHashes {
	for i := 0; i < len(region)/image.PageSize; i++ {
		h[i] = weak(region[i*image.PageSize : (i+1)*image.PageSize])
	}
	return h
}

// places reads the hashes of a version.
type places struct {
	f    *os.File
	rank []int32 // by region: how many with hashes lie before; -1: it has none
}

// rank numbers the regions of a map that have hashes.
func rank(sums []image.Sum, zero image.Sum) (list []int32, n int32) {
	list = make([]int32, len(sums))
	for i, sum := range sums {
		list[i] = -1
		if sum != zero {
			list[i] = n
			n++
		}
	}
	return list, n
}

// openPlaces opens the hashes of the version with that map, nil if there are none.
func (s *store) openPlaces(m *image.Manifest, regionMap *image.Map, zero image.Sum) (*places, error) {
	f, err := os.Open(s.path(placesName(m.Image)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	p := &places{f: f}
	var n int32
	p.rank, n = rank(regionMap.Sums, zero)
	head := make([]byte, placesHead)
	st, err := f.Stat()
	if k, _ := f.ReadAt(head, 0); err != nil || k < len(head) || !bytes.Equal(head, placesHeader(m)) || st.Size() != int64(placesHead)+int64(n)*hashesSize {
		return nil, errline.Join(err, f.Close())
	}
	return p, nil
}

func placesHeader(m *image.Manifest) []byte { return append([]byte(placesMark), m.Map.SHA256[:]...) }

// read reads the hashes of a region.
func (p *places) read(region int64) (*pageHashes, error) {
	b, err := p.raw(region)
	if err != nil {
		return nil, err
	}
	h := &pageHashes{}
	for i := range h {
		h[i] = binary.LittleEndian.Uint64(b[i*8:])
	}
	return h, nil
}

// raw reads the hashes of a region as they lie in the file.
func (p *places) raw(region int64) ([]byte, error) {
	b := make([]byte, hashesSize)
	if _, err := p.f.ReadAt(b, int64(placesHead)+int64(p.rank[region])*hashesSize); err != nil {
		return nil, fmt.Errorf("image: the hashes of region %d: %w", region, err)
	}
	return b, nil
}

func (p *places) close() {
	if p != nil {
		p.f.Close()
	}
}

// placesWriter writes the hashes of the regions of a version, in their order. Those of regions that
// are not looked at are those of the version below.
type placesWriter struct {
	t     *temp
	below *places
	next  int64 // the first region that has not been written
}

func (s *store) newPlaces(label string, below *places) (*placesWriter, error) {
	t, err := s.temp(label)
	if err != nil {
		return nil, err
	}
	w := &placesWriter{t: t, below: below}
	return w, w.write(make([]byte, placesHead)) // the map is not known before the end
}

// add writes the hashes of a region, nil for one that has none, after those between.
func (w *placesWriter) add(region int64, h *pageHashes) error {
	if err := w.copyTo(region); err != nil {
		return err
	}
	w.next = region + 1
	if h == nil {
		return nil
	}
	return w.append(h)
}

// append writes hashes.
func (w *placesWriter) append(h *pageHashes) error {
	b := make([]byte, 0, hashesSize)
	for _, v := range h {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return w.write(b)
}

// copyTo copies the hashes of the regions before one from the version below.
func (w *placesWriter) copyTo(region int64) error {
	for ; w.next < region; w.next++ {
		if w.below.rank[w.next] < 0 {
			continue
		}
		b, err := w.below.raw(w.next)
		if err == nil {
			err = w.write(b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *placesWriter) write(b []byte) error {
	if _, err := w.t.Write(b); err != nil {
		return fmt.Errorf("image: places: %w", err)
	}
	return nil
}

// reopen reads what was written of the regions of a map; the file is gone when it is closed.
func (w *placesWriter) reopen(regionMap *image.Map, zero image.Sum) (*places, error) {
	f, err := os.Open(w.t.path)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	p := &places{f: f}
	p.rank, _ = rank(regionMap.Sums, zero)
	return p, nil
}

// finish puts the hashes beside the index of an image, as those of a version with so many regions.
func (w *placesWriter) finish(m *image.Manifest, regions int) error {
	if err := w.copyTo(int64(regions)); err != nil {
		return err
	}
	if _, err := w.t.f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("image: places: %w", err)
	}
	if _, err := w.t.f.Write(placesHeader(m)); err != nil {
		return fmt.Errorf("image: places: %w", err)
	}
	return w.t.commit(placesName(m.Image))
}

func (w *placesWriter) discard() {
	if w != nil {
		w.t.discard()
	}
}
