package state

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"unicode/utf8"
)

// ErrDamaged is the class of a state file that a power cut, a full copy or a bad disk has spoiled.
var ErrDamaged = errors.New("is damaged")

// Check reads the file at path, also while a server has it open, and returns a DamagedError if
// bbolt could not work on it: bbolt maps the file and believes it, so that a page of zeros would
// end the process with a signal or a panic in a goroutine of its own.
func Check(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := check(f, info.Size()); err != nil {
		return &DamagedError{Path: path, Err: err}
	}
	return nil
}

// flux bounds how often a file is read that changes meanwhile.
const flux = 5

// check walks through the file as its newest meta page names it. A walk during which a meta page
// was written says nothing: pages of the state before may be in use again.
func check(f io.ReaderAt, size int64) error {
	for range flux {
		w := &walk{f: f, size: size, seen: map[uint64]bool{}}
		err := w.file()
		again, metaErr := newestMeta(f)
		if err == nil || metaErr == nil && w.meta != nil && again.txid == w.meta.txid {
			return err
		}
		if metaErr != nil {
			return metaErr
		}
	}
	return nil // a server works on it
}

// The format of bbolt (go.etcd.io/bbolt/internal/common): pages with a header of 16 bytes, two of
// them meta pages with a checksum, the others parts of B+ trees.
const (
	headerSize  = 16
	elementSize = 16
	metaMagic   = 0xED0CDAED
	metaVersion = 2
	metaLength  = 64 // with its checksum
	noFreelist  = 1<<64 - 1
	flagBranch  = 1
	flagLeaf    = 2
	pageLeast   = 1 << 10
	pageMost    = 16 << 20
)

// bolt is the byte order of the files that this machine's bbolt writes.
var bolt = binary.NativeEndian

// meta is what a meta page says.
type meta struct {
	pageSize          int64
	root, pages, txid uint64
}

// parseMeta reads a meta page without its header; nil if it is not valid.
func parseMeta(b []byte) *meta {
	sum := fnv.New64a()
	sum.Write(b[:metaLength-8])
	m := &meta{pageSize: int64(bolt.Uint32(b[8:])), root: bolt.Uint64(b[16:]), pages: bolt.Uint64(b[40:]), txid: bolt.Uint64(b[48:])}
	if bolt.Uint32(b) != metaMagic || bolt.Uint32(b[4:]) != metaVersion || bolt.Uint64(b[metaLength-8:]) != sum.Sum64() || bolt.Uint64(b[32:]) != noFreelist ||
		m.pageSize < pageLeast || m.pageSize > pageMost || m.pageSize&(m.pageSize-1) != 0 {
		return nil
	}
	return m
}

// newestMeta finds the meta page in force. The second one lies a page behind the first; where the
// first is lost, pages are taken to be as large as those of this machine.
func newestMeta(f io.ReaderAt) (newest *meta, err error) {
	second := int64(os.Getpagesize())
	for i := range int64(2) {
		b := make([]byte, metaLength)
		if _, err := f.ReadAt(b, i*second+headerSize); err != nil && err != io.EOF {
			return nil, err
		}
		m := parseMeta(b)
		if m == nil {
			continue
		}
		if second = m.pageSize; newest == nil || m.txid > newest.txid {
			newest = m
		}
	}
	if newest == nil {
		return nil, errors.New("no page at its beginning says where the rest is")
	}
	return newest, nil
}

// walk is one reading of a file.
type walk struct {
	f    io.ReaderAt
	size int64
	meta *meta
	seen map[uint64]bool // pages
}

func (w *walk) file() (err error) {
	if w.meta, err = newestMeta(w.f); err != nil {
		return err
	}
	if w.size/w.meta.pageSize < int64(min(w.meta.pages, 1<<62)) {
		return fmt.Errorf("it is cut short: %d bytes, want %d pages of %d", w.size, w.meta.pages, w.meta.pageSize)
	}
	return w.tree(w.meta.root, nil, nil, func(e element) error {
		if e.flags != 1 || len(e.value) < headerSize {
			return fmt.Errorf("%q is no bucket", e.key)
		}
		return w.bucket(string(e.key), e.value)
	})
}

// bucket walks through a bucket: its value is the page of its root, or the only page itself.
func (w *walk) bucket(name string, value []byte) error {
	each := func(e element) error { return checkValue(name, &e) }
	if root := bolt.Uint64(value); root != 0 {
		return w.tree(root, nil, nil, each)
	}
	if inline := value[headerSize:]; len(inline) >= headerSize && bolt.Uint16(inline[8:]) == flagLeaf {
		return w.page(inline, nil, nil, each)
	}
	return fmt.Errorf("bucket %s is cut off", name)
}

// tree walks through the page and those below it. Their keys are at least low, and below high.
func (w *walk) tree(id uint64, low, high []byte, each func(element) error) error {
	b, err := w.read(id)
	if err == nil {
		err = w.page(b, low, high, each)
	}
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

// read reads a page with the ones that belong to it.
func (w *walk) read(id uint64) ([]byte, error) {
	if id < 2 || id >= w.meta.pages {
		return nil, errors.New("it lies outside of the file")
	}
	head := make([]byte, headerSize)
	if _, err := w.f.ReadAt(head, int64(id)*w.meta.pageSize); err != nil {
		return nil, err
	}
	n := uint64(bolt.Uint32(head[12:])) + 1
	if bolt.Uint64(head) != id || n > w.meta.pages-id {
		return nil, errors.New("its header is wrong")
	}
	for i := range n {
		if w.seen[id+i] {
			return nil, errors.New("it is named twice")
		}
		w.seen[id+i] = true
	}
	b := make([]byte, int64(n)*w.meta.pageSize)
	_, err := w.f.ReadAt(b, int64(id)*w.meta.pageSize)
	return b, err
}

// element is one of a page: a key with a value, or with the page below.
type element struct {
	flags      uint32
	key, value []byte
	below      uint64
}

// page looks at a page's elements.
func (w *walk) page(b []byte, low, high []byte, each func(element) error) error {
	if len(b) < headerSize {
		return errors.New("it is too short")
	}
	branch := bolt.Uint16(b[8:]) == flagBranch
	if !branch && bolt.Uint16(b[8:]) != flagLeaf {
		return errors.New("it is of no known kind")
	}
	all := make([]element, bolt.Uint16(b[10:]))
	for i := range all {
		var ok bool
		if all[i], ok = elementOf(b, i, len(all), branch); !ok {
			return fmt.Errorf("element %d lies outside of it", i)
		}
		if k := all[i].key; len(k) == 0 || bytes.Compare(k, low) < 0 || i > 0 && bytes.Equal(k, low) || high != nil && bytes.Compare(k, high) >= 0 {
			return fmt.Errorf("the key of element %d is out of order", i)
		}
		low = all[i].key
	}
	if branch && len(all) == 0 {
		return errors.New("it leads nowhere")
	}
	for i := range all {
		err := error(nil)
		if !branch {
			err = each(all[i])
		} else if i+1 < len(all) {
			err = w.tree(all[i].below, all[i].key, all[i+1].key, each)
		} else {
			err = w.tree(all[i].below, all[i].key, high, each)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// elementOf reads element i of n, whose data lie behind all elements.
func elementOf(b []byte, i, n int, branch bool) (e element, ok bool) {
	at := headerSize + i*elementSize
	if len(b) < headerSize+n*elementSize {
		return e, false
	}
	h := b[at:]
	pos, key, value := uint64(bolt.Uint32(h[4:])), uint64(bolt.Uint32(h[8:])), uint64(bolt.Uint32(h[12:]))
	e.flags = bolt.Uint32(h)
	if branch {
		e.below = bolt.Uint64(h[8:])
		pos, key, value = uint64(bolt.Uint32(h)), uint64(bolt.Uint32(h[4:])), 0
	}
	from := uint64(at) + pos
	if from < uint64(headerSize+n*elementSize) || from+key+value > uint64(len(b)) {
		return e, false
	}
	e.key, e.value = b[from:from+key], b[from+key:from+key+value]
	return e, true
}

// checkValue looks at a value of a bucket. Logs are text in which damage does no harm.
func checkValue(bucket string, e *element) error {
	if e.flags != 0 {
		return fmt.Errorf("%s %q is no value", bucket, e.key)
	}
	switch bucket {
	case bucketMachines, bucketRooms, bucketNights:
		if !json.Valid(e.value) || !utf8.Valid(e.value) {
			return fmt.Errorf("%s %q is no JSON", bucket, e.key)
		}
	}
	return nil
}
