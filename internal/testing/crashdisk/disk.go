package crashdisk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"syscall"
)

// SectorSize is the unit of a torn write, in bytes.
const SectorSize = 512

const pageSize = 4096

// ErrAlign is returned by a write that is not whole units of [Disk.Align] at a multiple of it.
var ErrAlign = errors.New("crashdisk: misaligned write")

// ErrBounds is returned by a write beyond the end of a file.
var ErrBounds = errors.New("crashdisk: write beyond the end of the file")

// Fill gives the content of places that were never written; off is a multiple of 4096 and p one
// page. Nil means zeros.
type Fill func(p []byte, off int64)

// Disk is a set of files under one power switch. Its methods and those of its files may be called
// concurrently.
type Disk struct {
	// Align is what every write has to be a multiple of; 0 means SectorSize.
	Align int64

	mu     sync.Mutex
	files  map[string]*File
	names  []string
	log    []Op
	calls  int
	syncs  int
	hook   Hook
	origin map[string]*layer
	bad    map[badPage]bool
}

// Op is one recorded call: a write of Data at Off, or a flush of File.
type Op struct {
	File string
	Off  int64
	Data []byte
	Sync bool

	id uint64 // place in the log, kept by its parts
}

// File is one file of a Disk. It has ReadAt, WriteAt and Sync, and never changes its size.
type File struct {
	disk *Disk
	name string
	size int64
	top  *layer
}

// layer is a set of pages over another one. Pages are never changed in place, so layers and the log
// share them.
type layer struct {
	parent *layer
	pages  map[int64][]byte
	fill   Fill
}

// New returns an empty disk.
func New() *Disk {
	return &Disk{files: map[string]*File{}, origin: map[string]*layer{}, bad: map[badPage]bool{}}
}

// Create adds a file of size bytes; an older file of that name is replaced.
func (d *Disk) Create(name string, size int64, fill Fill) *File {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.add(name, size, &layer{fill: fill})
}

func (d *Disk) add(name string, size int64, below *layer) *File {
	if d.files[name] == nil {
		d.names = append(d.names, name)
	}
	f := &File{disk: d, name: name, size: size, top: &layer{parent: below, pages: map[int64][]byte{}}}
	d.files[name], d.origin[name] = f, below
	return f
}

// File returns the file of that name, nil if there is none.
func (d *Disk) File(name string) *File {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.files[name]
}

// Names lists the files in the order of their making.
func (d *Disk) Names() []string { return append([]string(nil), d.names...) }

// Start takes everything as durable and restarts the recording.
func (d *Disk) Start() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, f := range d.files {
		if len(f.top.pages) > 0 {
			f.top = &layer{parent: f.top, pages: map[int64][]byte{}}
		}
		d.origin[name] = f.top.parent
	}
	d.log, d.calls, d.syncs = nil, 0, 0
}

// Fork returns a disk of the same content, with everything durable and nothing recorded. Both go
// their own ways.
func (d *Disk) Fork() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	nd := New()
	nd.Align, nd.bad = d.Align, maps.Clone(d.bad)
	for _, name := range d.names {
		f := d.files[name]
		if len(f.top.pages) > 0 {
			f.top = &layer{parent: f.top, pages: map[int64][]byte{}}
		}
		nd.add(name, f.size, f.top.parent)
	}
	return nd
}

// Log returns the recorded writes and flushes; do not change them.
func (d *Disk) Log() []Op {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.log
}

// Calls and Syncs count the calls since Start: all of them (reads too), and the flushes that
// succeeded.
func (d *Disk) Calls() int { d.mu.Lock(); defer d.mu.Unlock(); return d.calls }

// Syncs counts the successful flushes since Start.
func (d *Disk) Syncs() int { d.mu.Lock(); defer d.mu.Unlock(); return d.syncs }

// Written sums the bytes written since Start to the named files (all files if none is named).
func (d *Disk) Written(names ...string) (n int64) {
	for _, op := range d.Log() {
		if op.Sync {
			continue
		}
		hit := len(names) == 0
		for _, name := range names {
			hit = hit || name == op.File
		}
		if hit {
			n += int64(len(op.Data))
		}
	}
	return n
}

// Name returns the file's name.
func (f *File) Name() string { return f.name }

// Size returns the file's size in bytes.
func (f *File) Size() int64 { return f.size }

// ReadAt reads what was written last, flushed or not.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if _, err := f.disk.call(Call{Kind: Read, File: f.name, Off: off, Len: len(p)}); err != nil {
		return 0, err
	}
	if f.disk.anyBad(f.name, off, len(p)) {
		return 0, syscall.EIO
	}
	if off < 0 || off > f.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), f.size-off))
	f.top.read(p[:n], off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes into the cache.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	d := f.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	align := max(d.Align, SectorSize)
	if off%align != 0 || int64(len(p))%align != 0 {
		return 0, fmt.Errorf("%w: %d bytes at %d of %s", ErrAlign, len(p), off, f.name)
	}
	if off < 0 || off+int64(len(p)) > f.size {
		return 0, fmt.Errorf("%w: %d bytes at %d of %s (%d bytes)", ErrBounds, len(p), off, f.name, f.size)
	}
	done, err := d.call(Call{Kind: Write, File: f.name, Off: off, Len: len(p)})
	if err == nil {
		done = len(p)
	}
	if done > 0 {
		op := Op{File: f.name, Off: off, Data: append([]byte(nil), p[:done]...), id: uint64(len(d.log))}
		d.log = append(d.log, op)
		d.healBad(op)
		f.top.write(op.Data, op.Off)
	}
	return done, err
}

// Sync makes every earlier write to this file durable.
func (f *File) Sync() error {
	d := f.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.call(Call{Kind: Sync, File: f.name}); err != nil {
		return err
	}
	d.syncs++
	d.log = append(d.log, Op{File: f.name, Sync: true})
	return nil
}

// Changed reports whether any byte of a range may differ from what it was at the last Start of
// origin, a disk from which this one came by States (or this disk itself).
func (f *File) Changed(origin *Disk, off, n int64) bool {
	stop := origin.origin[f.name]
	for l := f.top; l != nil && l != stop; l = l.parent {
		if len(l.pages) == 0 {
			continue
		}
		for i := off / pageSize; i*pageSize < off+n; i++ {
			if l.pages[i] != nil {
				return true
			}
		}
	}
	return false
}

func (l *layer) page(i int64) ([]byte, Fill) {
	var fill Fill
	for ; l != nil; l = l.parent {
		if p := l.pages[i]; p != nil {
			return p, nil
		}
		fill = l.fill
	}
	return nil, fill
}

func (l *layer) read(p []byte, off int64) {
	for len(p) > 0 {
		i, at := off/pageSize, off%pageSize
		n := int(min(int64(len(p)), pageSize-at))
		page, fill := l.page(i)
		switch {
		case page != nil:
			copy(p[:n], page[at:])
		case fill != nil && n == pageSize:
			fill(p[:n], off)
		case fill != nil:
			var b [pageSize]byte
			fill(b[:], i*pageSize)
			copy(p[:n], b[at:])
		default:
			clear(p[:n])
		}
		p, off = p[n:], off+int64(n)
	}
}

// write shares whole pages of p and copies the others.
func (l *layer) write(p []byte, off int64) {
	for len(p) > 0 {
		i, at := off/pageSize, off%pageSize
		n := int(min(int64(len(p)), pageSize-at))
		if n == pageSize {
			l.pages[i] = p[:n:n]
		} else {
			page := make([]byte, pageSize)
			l.read(page, i*pageSize)
			copy(page[at:], p[:n])
			l.pages[i] = page
		}
		p, off = p[n:], off+int64(n)
	}
}

// Garbage returns a Fill of repeatable noise (for whole words of 8 bytes), to catch code that takes
// unwritten places for zeros.
func Garbage(seed uint64) Fill {
	return func(p []byte, off int64) {
		x := seed ^ uint64(off)*0x9e3779b97f4a7c15 | 1
		for ; len(p) >= 8; p = p[8:] {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			binary.LittleEndian.PutUint64(p, x*0x2545f4914f6cdd1d)
		}
	}
}
