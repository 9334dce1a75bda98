package publish

import (
	"context"
	"crypto/sha256"
	"fmt"
	"iter"

	"github.com/klauspost/compress/zstd"

	"troy/image"
	"troy/image/internal/fault"
	"troy/image/internal/layer"
	"troy/image/internal/pipeline"
)

// layerWriter collects what a version changed, in disk order: data goes into chunks that workers
// compress and one goroutine writes to the pack, everything goes into the table. The bytes written
// depend on the input and the level alone.
type layerWriter struct {
	table   layer.Table
	enc     *zstd.Encoder
	pack    *newPack
	raw     []byte // of the chunk being filled
	rawRuns uint32
	sent    int // chunks
	buffers buffers
	send    chan rawChunk
	cancel  context.CancelFunc
	ended   chan struct{}
	packed  []layer.Chunk // written by the goroutine, read after ended, as err is
	err     error
}

type rawChunk struct {
	number int
	data   []byte
	runs   uint32
}

type packedChunk struct {
	layer.Chunk
	number int
	known  bool // from a pack that was begun before
	data   []byte
	raw    []byte // or what else came of it, for the next use
}

// DefaultLevel is the level of zstd used when Options does not name one.
const DefaultLevel = 7

// chunkPages is how many pages this program puts into one chunk at most; readers take more.
const chunkPages = 256

func newEncoder(level, workers int) (*zstd.Encoder, error) {
	if level < 1 || level > 22 {
		return nil, fault.Invalidf("compression level %d: zstd has 1 to 22", level)
	}
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)), zstd.WithEncoderConcurrency(workers),
		zstd.WithEncoderCRC(true), zstd.WithSingleSegment(true), zstd.WithWindowSize(chunkPages*image.PageSize))
}

func newLayerWriter(ctx context.Context, s *store, virtualSize int64, level, workers int) (*layerWriter, error) {
	enc, err := newEncoder(level, workers)
	if err != nil {
		return nil, err
	}
	pack, err := s.newPack(level)
	if err != nil {
		return nil, err
	}
	w := &layerWriter{
		table: layer.Table{VirtualSize: virtualSize, PackSize: layer.PackHeaderSize}, enc: enc, pack: pack,
		send: make(chan rawChunk), ended: make(chan struct{}),
	}
	ctx, w.cancel = context.WithCancel(ctx)
	go func() {
		defer close(w.ended)
		w.err = pipeline.Ordered(ctx, workers, w.chunks(ctx), w.compress, w.write)
	}()
	return w, nil
}

func (w *layerWriter) chunks(ctx context.Context) iter.Seq2[rawChunk, error] {
	return func(yield func(rawChunk, error) bool) {
		for {
			select {
			case c, ok := <-w.send:
				if !ok || !yield(c, nil) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

func (w *layerWriter) compress(_ context.Context, c rawChunk) (packedChunk, error) {
	p := packedChunk{Chunk: layer.Chunk{Pages: uint32(len(c.data) / image.PageSize), Runs: c.runs, Method: layer.Zstd, Raw: sha256.Sum256(c.data)}, number: c.number}
	buf := w.buffers.get(chunkPages * image.PageSize)
	if known, data, ok := w.pack.find(c.number, &p.Chunk, buf); ok {
		p.Packed, p.Method, p.Sum, p.known, p.data, p.raw = known.Packed, known.Method, known.Sum, true, data, c.data
		return p, nil
	}
	p.data, p.raw = w.enc.EncodeAll(c.data, buf[:0]), c.data
	if len(p.data) >= len(c.data) {
		p.data, p.raw, p.Method = c.data, p.data, layer.Stored
	}
	p.Packed, p.Sum = uint32(len(p.data)), sha256.Sum256(p.data)
	return p, nil
}

func (w *layerWriter) write(p packedChunk) error {
	p.Offset = w.table.PackSize
	if err := w.pack.add(p.number, &p.Chunk, p.data, p.known); err != nil {
		return fmt.Errorf("image: pack: %w", err)
	}
	w.table.PackSize += int64(p.Packed)
	w.packed = append(w.packed, p.Chunk)
	w.buffers.put(p.data)
	w.buffers.put(p.raw)
	return nil
}

// add appends a run that starts after all runs before. data holds its pages if it is layer.Data; cp
// is its source if it is layer.Copied.
func (w *layerWriter) add(kind layer.Kind, page, count int64, data []byte, cp *foundCopy) error {
	if kind == layer.Data {
		return w.addData(page, data)
	}
	for count > 0 {
		n := min(count, 1<<31)
		w.extend(kind, page, n, kind != layer.Copied)
		page, count = page+n, count-n
	}
	if kind == layer.Copied {
		w.table.Copies = append(w.table.Copies, layer.Copy{Source: cp.source, First: uint32(w.table.Keys.Count())})
		w.table.Keys = append(w.table.Keys, cp.keys...)
	}
	return nil
}

func (w *layerWriter) addData(page int64, data []byte) error {
	for len(data) > 0 {
		n := min(len(data), chunkPages*image.PageSize-len(w.raw))
		if w.extend(layer.Data, page, int64(n/image.PageSize), len(w.raw) > 0) {
			w.rawRuns++
		}
		w.raw = append(w.raw, data[:n]...)
		page, data = page+int64(n/image.PageSize), data[n:]
		if len(w.raw) == chunkPages*image.PageSize {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// extend adds pages to the last run if that may be, and says whether it began a new one.
func (w *layerWriter) extend(kind layer.Kind, page, n int64, join bool) bool {
	if i := len(w.table.Runs) - 1; join && i >= 0 {
		if r := &w.table.Runs[i]; r.Kind == kind && r.End() == page && int64(r.Count)+n <= 1<<31 {
			r.Count += uint32(n)
			return false
		}
	}
	w.table.Runs = append(w.table.Runs, layer.Run{Page: page, Count: uint32(n), Kind: kind})
	return true
}

func (w *layerWriter) flush() error {
	if len(w.raw) == 0 {
		return nil
	}
	c := rawChunk{w.sent, w.raw, w.rawRuns}
	w.sent++
	w.raw, w.rawRuns = w.buffers.get(chunkPages * image.PageSize)[:0], 0
	select {
	case w.send <- c:
		return nil
	case <-w.ended: // only an error ends it before finish
		return w.err
	}
}

// finish waits until everything is written and returns the table without the hash of the pack.
func (w *layerWriter) finish() (*layer.Table, error) {
	defer w.abort()
	if err := w.flush(); err != nil {
		return nil, err
	}
	close(w.send)
	<-w.ended
	w.table.Chunks = w.packed
	return &w.table, w.err
}

// abort stops without finishing. It may be called again.
func (w *layerWriter) abort() {
	w.cancel()
	<-w.ended
}
