package image

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"iter"

	"github.com/klauspost/compress/zstd"
)

// layerWriter collects what a version changed, in disk order: data goes into chunks that workers compress and one goroutine
// writes to the pack, everything goes into the table. The bytes written depend on the input and the level alone.
type layerWriter struct {
	t       table
	enc     *zstd.Encoder
	pack    io.Writer
	raw     []byte // of the chunk being filled
	rawRuns uint32
	buffers buffers
	send    chan rawChunk
	done    chan error
	ctx     context.Context
	cancel  context.CancelCauseFunc
	packed  []chunk // written by the goroutine, read after done
}

type rawChunk struct {
	data []byte
	runs uint32
}

type packedChunk struct {
	chunk
	data []byte
	raw  []byte // or what else came of it, for the next use
}

// DefaultLevel is the level of zstd used when PublishOptions does not name one.
const DefaultLevel = 7

func newEncoder(level, workers int) (*zstd.Encoder, error) {
	if level == 0 {
		level = DefaultLevel
	}
	if level < 1 || level > 22 {
		return nil, invalidf("compression level %d: zstd has 1 to 22", level)
	}
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)), zstd.WithEncoderConcurrency(workers),
		zstd.WithEncoderCRC(true), zstd.WithSingleSegment(true), zstd.WithWindowSize(chunkPages*PageSize))
}

func packHeader() []byte {
	b := make([]byte, packHeaderSize)
	copy(b, packMagic)
	binary.LittleEndian.PutUint32(b[8:], formatVersion)
	return b
}

func newLayerWriter(ctx context.Context, pack io.Writer, virtualSize int64, level, workers int) (*layerWriter, error) {
	enc, err := newEncoder(level, workers)
	if err != nil {
		return nil, err
	}
	if _, err := pack.Write(packHeader()); err != nil {
		return nil, fmt.Errorf("image: pack: %w", err)
	}
	w := &layerWriter{t: table{virtualSize: virtualSize, packSize: packHeaderSize}, enc: enc, pack: pack, send: make(chan rawChunk), done: make(chan error, 1)}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	go func() {
		err := ordered(w.ctx, workers, w.sent(), w.compress, w.write)
		w.cancel(err)
		w.done <- err
	}()
	return w, nil
}

func (w *layerWriter) sent() iter.Seq2[rawChunk, error] {
	return func(yield func(rawChunk, error) bool) {
		for {
			select {
			case c, ok := <-w.send:
				if !ok || !yield(c, nil) {
					return
				}
			case <-w.ctx.Done():
				return
			}
		}
	}
}

func (w *layerWriter) compress(_ context.Context, c rawChunk) (packedChunk, error) {
	p := packedChunk{chunk: chunk{pages: uint32(len(c.data) / PageSize), runs: c.runs, method: methodZstd}}
	p.data, p.raw = w.enc.EncodeAll(c.data, w.buffers.get(chunkPages * PageSize)[:0]), c.data
	if len(p.data) >= len(c.data) {
		p.data, p.raw, p.method = c.data, p.data, methodStored
	}
	p.packed, p.sum = uint32(len(p.data)), sha256.Sum256(p.data)
	return p, nil
}

func (w *layerWriter) write(p packedChunk) error {
	if _, err := w.pack.Write(p.data); err != nil {
		return fmt.Errorf("image: pack: %w", err)
	}
	p.offset = w.t.packSize
	w.t.packSize += int64(p.packed)
	w.packed = append(w.packed, p.chunk)
	w.buffers.put(p.data)
	w.buffers.put(p.raw)
	return nil
}

// add appends a run that starts after all runs before. data holds its pages if it is runData; cp is its source if it is runCopy.
func (w *layerWriter) add(kind runKind, page, count int64, data []byte, cp *foundCopy) error {
	if kind == runData {
		return w.addData(page, data)
	}
	for count > 0 {
		n := min(count, 1<<31)
		w.extend(kind, page, n, kind != runCopy)
		page, count = page+n, count-n
	}
	if kind == runCopy {
		w.t.copies = append(w.t.copies, copyRecord{cp.source, uint32(w.t.keys.count())})
		w.t.keys = append(w.t.keys, cp.keys...)
	}
	return nil
}

func (w *layerWriter) addData(page int64, data []byte) error {
	for len(data) > 0 {
		n := min(len(data), chunkPages*PageSize-len(w.raw))
		if w.extend(runData, page, int64(n/PageSize), len(w.raw) > 0) {
			w.rawRuns++
		}
		w.raw = append(w.raw, data[:n]...)
		page, data = page+int64(n/PageSize), data[n:]
		if len(w.raw) == chunkPages*PageSize {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// extend adds pages to the last run if that may be, and says whether it began a new one.
func (w *layerWriter) extend(kind runKind, page, n int64, join bool) bool {
	if i := len(w.t.runs) - 1; join && i >= 0 {
		if r := &w.t.runs[i]; r.kind == kind && r.end() == page && int64(r.count)+n <= 1<<31 {
			r.count += uint32(n)
			return false
		}
	}
	w.t.runs = append(w.t.runs, layerRun{page: page, count: uint32(n), kind: kind})
	return true
}

func (w *layerWriter) flush() error {
	if len(w.raw) == 0 {
		return nil
	}
	c := rawChunk{w.raw, w.rawRuns}
	w.raw, w.rawRuns = w.buffers.get(chunkPages * PageSize)[:0], 0
	select {
	case w.send <- c:
		return nil
	case <-w.ctx.Done():
		return context.Cause(w.ctx)
	}
}

// finish waits until everything is written and returns the table without the hash of the pack.
func (w *layerWriter) finish() (*table, error) {
	err := w.flush()
	if err == nil {
		close(w.send)
	} else {
		w.cancel(err)
	}
	if e := <-w.done; err == nil {
		err = e
	}
	w.t.chunks = w.packed
	w.cancel(nil)
	return &w.t, err
}

// abort stops without finishing.
func (w *layerWriter) abort() {
	w.cancel(context.Canceled)
	<-w.done
}
