package publish

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"troy/image"
	"troy/image/internal/layer"
	"troy/internal/errline"
)

// What a publisher that was cut leaves for the next: the pack as far as it came, and a journal with
// the record of each chunk in it. The next one reads and cuts up its disk in the same way, and
// takes a chunk from the pack instead of compressing it as long as chunk after chunk has the same
// content. Nothing is believed: what is taken has the hash of the pages that were just read, and of
// the packed bytes. So it does not matter which disk the pack was begun for, nor what a power cut
// left of it.
const (
	packName    = string(image.KindPack)
	journalName = "chunks"
	journalMark = "TROYCUT1"
)

// newPack is the pack of a version while it is written.
type newPack struct {
	*temp
	journal *temp
	known   []layer.Chunk // of a pack that was begun before, from its start
	old     *os.File      // reads that one; nil: there is none
	behind  bool          // what is written lies behind the known chunks, or in their place
}

// newPack goes on with the pack that a cut publisher left, or begins one.
func (s *store) newPack(level int) (*newPack, error) {
	head := append([]byte(journalMark), byte(level))
	p := &newPack{known: s.left(head)}
	var err error
	if len(p.known) == 0 {
		if err := s.clean(); err != nil {
			return nil, err
		}
	} else if p.old, err = os.Open(s.tmp(packName)); err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	if p.temp, err = s.openTemp(packName); err == nil {
		p.journal, err = s.openTemp(journalName)
	}
	if err == nil {
		err = errline.Join(p.put(p.temp, layer.PackHeader()), p.put(p.journal, head))
	}
	if err != nil {
		p.discard()
		return nil, err
	}
	return p, nil
}

// left returns the chunks of the pack that was left, as far as its journal can be right.
func (s *store) left(head []byte) (known []layer.Chunk) {
	b, err := os.ReadFile(s.tmp(journalName))
	if err != nil || !bytes.HasPrefix(b, head) {
		return nil
	}
	f, err := os.Open(s.tmp(packName))
	if err != nil {
		return nil
	}
	defer f.Close()
	start := make([]byte, layer.PackHeaderSize)
	st, err := f.Stat()
	if n, _ := f.ReadAt(start, 0); err != nil || !bytes.Equal(start[:n], layer.PackHeader()) {
		return nil
	}
	next := int64(layer.PackHeaderSize)
	for b = b[len(head):]; len(b) >= layer.ChunkRecordSize; b = b[layer.ChunkRecordSize:] {
		c := layer.ParseChunk(b)
		if c.Offset != next || c.Packed == 0 || c.Packed > chunkPages*image.PageSize || next+int64(c.Packed) > st.Size() {
			break
		}
		known, next = append(known, c), next+int64(c.Packed)
	}
	return known
}

// put writes to one of the files, or passes over what it holds from before.
func (p *newPack) put(t *temp, b []byte) error {
	if len(p.known) > 0 && !p.behind {
		return t.pass(b)
	}
	_, err := t.Write(b)
	return err
}

// find returns the packed bytes of the n-th chunk of the pack, if it is known and the same.
func (p *newPack) find(n int, c *layer.Chunk, buf []byte) (layer.Chunk, []byte, bool) {
	if n >= len(p.known) {
		return layer.Chunk{}, nil, false
	}
	k := p.known[n]
	if k.Raw != c.Raw || k.Pages != c.Pages {
		return k, nil, false
	}
	b := buf[:k.Packed]
	if _, err := p.old.ReadAt(b, k.Offset); err != nil || k.Verify(b) != nil {
		return k, nil, false
	}
	return k, b, true
}

// add writes the n-th chunk.
func (p *newPack) add(n int, c *layer.Chunk, packed []byte, known bool) error {
	if !p.behind && (!known || n >= len(p.known)) {
		if err := p.cut(); err != nil {
			return err
		}
	}
	return errline.Join(p.put(p.temp, packed), p.put(p.journal, c.Append(nil)))
}

// cut ends what is passed over: what the files hold behind goes.
func (p *newPack) cut() error {
	p.behind = true
	return errline.Join(p.temp.cut(), p.journal.cut())
}

// finish makes the pack an object. The journal goes with it.
func (p *newPack) finish() (image.Object, error) {
	if err := p.cut(); err != nil {
		return image.Object{}, err
	}
	o, err := p.commitObject(image.KindPack)
	p.journal.discard()
	p.release()
	return o, err
}

// release closes the pack that was begun before.
func (p *newPack) release() {
	if p.old != nil {
		p.old.Close()
		p.old = nil
	}
}

// keep leaves the files for the next publisher.
func (p *newPack) keep() {
	p.temp.leave()
	p.journal.leave()
	p.release()
}

// discard removes the files. After finish it does nothing.
func (p *newPack) discard() {
	for _, t := range []*temp{p.temp, p.journal} {
		if t != nil {
			t.discard()
		}
	}
	p.release()
}

// tmp returns the path of a file that is not yet part of the tree.
func (s *store) tmp(label string) string { return filepath.Join(s.String(), tmpName, label) }

// openTemp is temp for a file that may be there: nothing of it is changed.
func (s *store) openTemp(label string) (*temp, error) {
	f, err := s.ops.open(s.tmp(label))
	if errors.Is(err, fs.ErrNotExist) {
		return s.temp(label)
	}
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	return &temp{s: s, f: f, path: s.tmp(label), hash: sha256.New()}, nil
}

// pass counts bytes that the file holds already.
func (t *temp) pass(p []byte) error {
	t.hash.Write(p)
	t.size += int64(len(p))
	return nil
}

// cut takes away what the file holds behind what was written and passed.
func (t *temp) cut() error {
	if err := t.f.Truncate(t.size); err != nil {
		return err
	}
	_, err := t.f.Seek(t.size, io.SeekStart)
	return err
}

// leave closes the file and lets it lie.
func (t *temp) leave() {
	if !t.done {
		t.done = true
		t.f.Close()
	}
}
