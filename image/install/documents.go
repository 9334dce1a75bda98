package install

import (
	"context"
	"fmt"
	"sync"

	"troy/image"
)

// documents keeps what was read of a source, so that planning piece by piece reads every document
// and table once, and all pieces are of the same version whatever is published meanwhile. Packs are
// not read through it.
type documents struct {
	image.Source
	mu   sync.Mutex
	kept map[string][]byte
}

func newDocuments(src image.Source) *documents {
	return &documents{Source: src, kept: map[string][]byte{}}
}

// ReadRange implements image.Source.
func (d *documents) ReadRange(ctx context.Context, name string, off, n int64) ([]byte, error) {
	return d.keep(rangeKey(name, off, n), func() ([]byte, error) { return d.Source.ReadRange(ctx, name, off, n) })
}

// Get implements image.Documents.
func (d *documents) Get(ctx context.Context, name string, max int64) ([]byte, error) {
	whole, ok := d.Source.(image.Documents)
	if !ok {
		return nil, fmt.Errorf("%w: %s cannot read documents of unknown length", image.ErrUnsupported, d.Source)
	}
	return d.keep(name, func() ([]byte, error) { return whole.Get(ctx, name, max) })
}

// Reject implements image.Rejecter: what was wrong is not kept.
func (d *documents) Reject(name string, off, n int64) bool {
	d.mu.Lock()
	delete(d.kept, rangeKey(name, off, n))
	d.mu.Unlock()
	r, ok := d.Source.(image.Rejecter)
	return ok && r.Reject(name, off, n)
}

func rangeKey(name string, off, n int64) string { return fmt.Sprintf("%s@%d+%d", name, off, n) }

// keep reads once. Two that ask at the same time may read twice, which does no harm.
func (d *documents) keep(key string, read func() ([]byte, error)) ([]byte, error) {
	d.mu.Lock()
	b, ok := d.kept[key]
	d.mu.Unlock()
	if ok {
		return b, nil
	}
	b, err := read()
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept[key] = b
	return b, nil
}
