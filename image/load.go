package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"troy/image/internal/fault"
	"troy/image/internal/layer"
)

// tablePlenty is up to how many bytes are allocated at once when a first range has come.
const tablePlenty = 64 << 20

// tableRange is how much of a table or map is asked for at once: what is allocated follows what has
// arrived.
const tableRange = 1 << 20

// loader reads the documents of one image through a Source and checks each before it is used.
type loader struct {
	src   Source
	image string
}

func (l *loader) fault(name string, err error) error {
	return &ObjectError{Source: l.src.String(), Object: name, Err: causeOf(err, name)}
}

// index reads the list of versions, the one document whose size and hash are not known beforehand.
func (l *loader) index(ctx context.Context) (*Index, error) {
	if err := CheckName(l.image); err != nil {
		return nil, err
	}
	name := IndexName(l.image)
	d, ok := l.src.(Documents)
	if !ok {
		return nil, l.fault(name, fault.Unsupportedf("this source cannot read documents of unknown length (it has no Get)"))
	}
	b, err := d.Get(ctx, name, maxIndexSize)
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("%w: %s has no image %q", ErrNotFound, l.src, l.image)
	}
	if err != nil {
		return nil, l.fault(name, err)
	}
	x, err := ParseIndex(b, l.image)
	if err != nil {
		return nil, l.fault(name, err)
	}
	return x, nil
}

// object reads a whole object and checks its hash; by is the document that names size and hash. A
// source that can turn to another server is told of wrong bytes and asked again.
func (l *loader) object(ctx context.Context, o *Object, by string) ([]byte, error) {
	for {
		b, err := l.bytes(ctx, o, by)
		if err != nil {
			return nil, err
		}
		got := Sum(sha256.Sum256(b))
		if got == o.SHA256 {
			return b, nil
		}
		if !l.reject(o) {
			return nil, l.fault(o.Name, fault.Corruptf("SHA-256 is %s, %s says %s", got, by, o.SHA256))
		}
	}
}

// reject tells the source that an object was wrong, and returns whether another server can be asked.
func (l *loader) reject(o *Object) (more bool) {
	r, ok := l.src.(Rejecter)
	for off := int64(0); ok && off < o.Size; off += tableRange {
		if r.Reject(o.Name, off, min(o.Size-off, tableRange)) {
			more = true
		}
	}
	return more
}

// bytes reads a whole object in ranges.
func (l *loader) bytes(ctx context.Context, o *Object, by string) ([]byte, error) {
	var b []byte
	for int64(len(b)) < o.Size {
		off := int64(len(b))
		n := min(o.Size-off, tableRange)
		p, err := l.src.ReadRange(ctx, o.Name, off, n)
		if err == nil && int64(len(p)) != n {
			err = fault.Corruptf("got %d bytes", len(p))
		}
		if err != nil {
			err = fmt.Errorf("%w (%s says it has %d bytes)", causeOf(err, o.Name), by, o.Size)
			return nil, &ObjectError{Source: l.src.String(), Object: o.Name, Offset: off, Length: n, Err: err}
		}
		if off > 0 && off == int64(cap(b)) || off == tableRange { // what is allocated follows what has come
			b = slices.Grow(b, int(min(o.Size-off, max(off, tablePlenty))))
		}
		b = append(b, p...)
	}
	return b, nil
}

func (l *loader) manifest(ctx context.Context, e *Entry) (*Manifest, error) {
	b, err := l.object(ctx, &e.Manifest, IndexName(l.image))
	if err != nil {
		return nil, err
	}
	m, err := ParseManifest(b, l.image, e)
	if err != nil {
		return nil, l.fault(e.Manifest.Name, err)
	}
	m.SHA256 = e.Manifest.SHA256
	return m, nil
}

// table reads the layer table of a version and checks that it belongs to the manifest.
func (l *loader) table(ctx context.Context, m *Manifest) (*layer.Table, error) {
	b, err := l.object(ctx, &m.Table, manifestName(m.Image, m.Version))
	if err != nil {
		return nil, err
	}
	t, err := layer.Parse(b)
	if err == nil && (t.VirtualSize != m.VirtualSize || t.PackSize != m.Pack.Size || t.PackSum != m.Pack.SHA256) {
		err = fault.Corruptf("layer table and manifest of version %d disagree", m.Version)
	}
	if err == nil && m.Parent == 0 && len(t.Copies) > 0 {
		err = fault.Corruptf("version %d stands on nothing and yet copies from the version below", m.Version)
	}
	if err != nil {
		return nil, l.fault(m.Table.Name, err)
	}
	return t, nil
}

func (l *loader) regionMap(ctx context.Context, m *Manifest) (*Map, error) {
	b, err := l.object(ctx, &m.Map, manifestName(m.Image, m.Version))
	if err != nil {
		return nil, err
	}
	r, err := parseMap(b)
	if err == nil && r.VirtualSize != m.VirtualSize {
		err = fault.Corruptf("version map and manifest of version %d disagree", m.Version)
	}
	if err != nil {
		return nil, l.fault(m.Map.Name, err)
	}
	return r, nil
}

// LoadIndex reads which versions an image has. The source must also be Documents.
func LoadIndex(ctx context.Context, src Source, image string) (*Index, error) {
	l := loader{src, image}
	return l.index(ctx)
}

// LoadManifest reads the manifest of one version, checked against the index; version 0 means the
// newest. It returns ErrNotFound if the image does not have that version.
func LoadManifest(ctx context.Context, src Source, image string, version int) (*Manifest, error) {
	l := loader{src, image}
	x, err := l.index(ctx)
	if err != nil {
		return nil, err
	}
	if version == 0 {
		version = x.Latest()
	}
	e, err := x.Entry(version)
	if err != nil {
		return nil, err
	}
	return l.manifest(ctx, e)
}

// LoadMap reads the map of one version, checked against the manifest; version 0 means the newest.
func LoadMap(ctx context.Context, src Source, image string, version int) (*Map, error) {
	l := loader{src, image}
	m, err := LoadManifest(ctx, src, image, version)
	if err != nil {
		return nil, err
	}
	return l.regionMap(ctx, m)
}

// Check reads the layer table and the version map as a client does, and checks that they belong to
// the manifest. Nothing of the pack is read.
func (m *Manifest) Check(ctx context.Context, src Source) error {
	l := loader{src, m.Image}
	if _, err := l.table(ctx, m); err != nil {
		return err
	}
	_, err := l.regionMap(ctx, m)
	return err
}
