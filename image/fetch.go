package image

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"

	"troy/image/internal/fault"
	"troy/image/internal/layer"
	"troy/internal/progress"
)

// The defaults of FetchOptions.
const (
	defaultWorkers      = 8
	defaultAttempts     = 3
	defaultRequestBytes = 4 << 20
)

// FetchOptions are the options of Plan.Fetch. The zero value is right.
type FetchOptions struct {
	// Workers is how many requests and writes are under way at once at most; 0 means 8. Each holds
	// up to RequestBytes + 4 MiB. On a slow line there are fewer requests, down to one.
	Workers int
	// RequestBytes is up to how many bytes of neighbouring chunks are asked for in one request; 0
	// means 4 MiB. On a slow line each request is one chunk.
	RequestBytes int64
	// SkipZeros leaves the runs that are zeros unwritten: for a sink that sees to them itself, or a
	// disk that holds zeros already.
	SkipZeros bool
	// Local reads the version that the disk holds, for plans of LoadLocalPlan. It is read
	// concurrently and must not change.
	Local io.ReaderAt
	// Have says that the sink holds bytes off to off+length of the wanted version already, all of
	// them: from an earlier Fetch that was cut off. A chunk of which all pages of the plan are held
	// is neither asked for nor written, one held in part is brought whole; copies and zeros are
	// left out in pieces of up to 1 MiB. It may be called from several goroutines, for whole pages
	// of Plan.Runs. nil: nothing is held.
	Have func(off, length int64) bool
	// Progress is told the bytes fetched and found right, and those of held chunks; their sum is
	// Plan.FetchBytes.
	Progress progress.Adder

	attempts int // how often a chunk is asked for before Fetch gives up; 0 means 3
}

func (o *FetchOptions) fill() FetchOptions {
	var f FetchOptions
	if o != nil {
		f = *o
	}
	if f.Workers <= 0 {
		f.Workers = defaultWorkers
	}
	if f.attempts <= 0 {
		f.attempts = defaultAttempts
	}
	if f.RequestBytes <= 0 {
		f.RequestBytes = defaultRequestBytes
	}
	return f
}

// Stats says what Fetch did, in bytes.
type Stats struct {
	// FetchedBytes were received, those of repeated requests included.
	FetchedBytes int64
	// WrittenBytes went to the sink, ZeroBytes of them zeros, CopiedBytes of them from the disk
	// itself.
	WrittenBytes, ZeroBytes, CopiedBytes int64
	// HeldBytes of the plan's WriteBytes were left out because FetchOptions.Have knew them;
	// HeldFetchBytes of its FetchBytes therefore were not asked for.
	HeldBytes, HeldFetchBytes int64
	// Retries is how many chunks had to be asked for again.
	Retries int64
}

// Fetch brings the pages of the plan to sink. The sink gets whole pages at offsets of the virtual
// disk, each once, in any order and from several goroutines; nothing of a chunk reaches it before
// the SHA-256 of that chunk was found right. It returns when all is written or at the first error,
// with no goroutine left; a chunk that stays bad gives an ObjectError. The sink is not synced. A
// source that is a Rejecter hears of wrong bytes before they are asked for again.
func (p *Plan) Fetch(ctx context.Context, src Source, sink io.WriterAt, o *FetchOptions) (Stats, error) {
	f := fetcher{plan: p, src: src, sink: sink, o: o.fill()}
	f.streams = newStreams(f.o.Workers)
	if len(p.local) > 0 && f.o.Local == nil {
		return Stats{}, fault.Invalidf("the plan copies pages of the disk and FetchOptions.Local is nil")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan func(context.Context, *zstd.Decoder) error)
	var wg sync.WaitGroup
	for range f.o.Workers {
		wg.Go(func() {
			if err := f.worker(ctx, work); err != nil {
				cancel(err)
			}
		})
	}
	f.send(ctx, work)
	close(work)
	wg.Wait()
	return f.stats(), context.Cause(ctx)
}

type fetcher struct {
	plan *Plan
	src  Source
	sink io.WriterAt
	o    FetchOptions

	streams *streams

	fetched, written, zeros, copied, retries, held, heldFetch atomic.Int64
}

func (f *fetcher) stats() Stats {
	return Stats{
		FetchedBytes: f.fetched.Load(), WrittenBytes: f.written.Load(), ZeroBytes: f.zeros.Load(), CopiedBytes: f.copied.Load(),
		HeldBytes: f.held.Load(), HeldFetchBytes: f.heldFetch.Load(), Retries: f.retries.Load(),
	}
}

func (f *fetcher) worker(ctx context.Context, work <-chan func(context.Context, *zstd.Decoder) error) error {
	dec, err := layer.NewDecoder()
	if err != nil {
		return err
	}
	defer dec.Close()
	for do := range work {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := do(ctx, dec); err != nil {
			return err
		}
	}
	return nil
}

// send hands out the chunks in groups that one request can bring, then the copies, then the zeros.
func (f *fetcher) send(ctx context.Context, work chan<- func(context.Context, *zstd.Decoder) error) {
	give := func(do func(context.Context, *zstd.Decoder) error) bool {
		select {
		case work <- do:
			return true
		case <-ctx.Done():
			return false
		}
	}
	for jobs := f.plan.jobs; len(jobs) > 0; {
		if f.leaveOut(&jobs[0]) {
			jobs = jobs[1:]
			continue
		}
		g := jobs[:f.group(jobs)]
		jobs = jobs[len(g):]
		if !give(func(ctx context.Context, d *zstd.Decoder) error { return f.fetchGroup(ctx, d, g) }) {
			return
		}
	}
	for _, c := range f.plan.local {
		if !give(func(ctx context.Context, _ *zstd.Decoder) error { return f.copy(ctx, c) }) {
			return
		}
	}
	for _, r := range f.plan.runs {
		if r.Zero && !f.o.SkipZeros && !give(func(ctx context.Context, _ *zstd.Decoder) error { return f.writeZeros(ctx, r) }) {
			return
		}
	}
}

// group returns how many of the first jobs lie one after the other in one pack, fit in a request
// and are not held.
func (f *fetcher) group(jobs []chunkJob) int {
	n, size := 1, int64(jobs[0].chunk.Packed)
	for ; n < len(jobs) && f.streams.all(); n++ {
		last, c := &jobs[n-1], &jobs[n]
		size += int64(c.chunk.Packed)
		if c.pack != last.pack || c.chunk.Offset != last.chunk.Offset+int64(last.chunk.Packed) || size > f.o.RequestBytes || f.heldChunk(c) {
			break
		}
	}
	return n
}

// fetchGroup asks for a group in one request. Chunks that are bad, or did not come before it failed,
// are asked for again one by one.
func (f *fetcher) fetchGroup(ctx context.Context, d *zstd.Decoder, g []chunkJob) error {
	first, last := &g[0].chunk, &g[len(g)-1].chunk
	length := last.Offset + int64(last.Packed) - first.Offset
	b, err := f.read(ctx, g[0].pack, first.Offset, length)
	rejected := false
	for i := range g {
		c := &g[i].chunk
		at := c.Offset - first.Offset
		came := b[min(at, int64(len(b))):min(at+int64(c.Packed), int64(len(b)))]
		packed, e := came, err
		if len(came) == int(c.Packed) {
			if e = c.Verify(came); e != nil && !rejected {
				f.reject(g[i].pack, first.Offset, length)
				rejected = true
			}
			came = nil
		}
		if e != nil {
			if packed, e = f.again(ctx, &g[i], came, e); e != nil {
				return e
			}
		}
		if err := f.writeChunk(d, &g[i], packed); err != nil {
			return err
		}
		progress.Add(f.o.Progress, int64(c.Packed))
	}
	return nil
}

// again asks for the rest of one chunk, of which a part has come, until it is right, or as often as
// it may after the first attempt, which failed with e. Wrong bytes are asked for again as long as
// there is another mirror.
func (f *fetcher) again(ctx context.Context, j *chunkJob, came []byte, e error) (packed []byte, err error) {
	c, more := &j.chunk, false
	for n := 2; e != nil; n++ {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		if n > f.o.attempts && !more {
			name := f.plan.packs[j.pack].Name
			return nil, &ObjectError{Source: f.src.String(), Object: name, Offset: c.Offset, Length: int64(c.Packed), Attempts: n - 1, Err: causeOf(e, name)}
		}
		f.retries.Add(1)
		off, rest := c.Offset+int64(len(came)), int64(c.Packed)-int64(len(came))
		var b []byte
		b, e = f.read(ctx, j.pack, off, rest)
		came, more = append(came, b...), false
		if e == nil {
			if packed, e = came, c.Verify(came); e != nil {
				came, more = nil, f.reject(j.pack, off, rest)
			}
		}
	}
	return packed, nil
}

// reject tells the source that its last answer for a range was wrong, and returns whether it has
// another mirror.
func (f *fetcher) reject(pack int, off, n int64) bool {
	r, ok := f.src.(Rejecter)
	return ok && r.Reject(f.plan.packs[pack].Name, off, n)
}

// read returns the range, or what came of it and an error.
func (f *fetcher) read(ctx context.Context, pack int, off, n int64) ([]byte, error) {
	if err := f.streams.begin(ctx); err != nil {
		return nil, err
	}
	begun := time.Now()
	b, err := f.src.ReadRange(ctx, f.plan.packs[pack].Name, off, n)
	f.streams.end(time.Since(begun))
	f.fetched.Add(int64(len(b)))
	if got := int64(len(b)); got > n || err == nil && got != n {
		f.reject(pack, off, n)
		return nil, fault.Corruptf("asked for %d bytes, got %d", n, got)
	}
	return b, err
}

// writeChunk writes the plan's pages of a chunk, neighbours together.
func (f *fetcher) writeChunk(d *zstd.Decoder, j *chunkJob, packed []byte) error {
	raw, err := j.chunk.Unpack(d, packed)
	if err != nil {
		return &ObjectError{Source: f.src.String(), Object: f.plan.packs[j.pack].Name, Offset: j.chunk.Offset, Length: int64(j.chunk.Packed), Err: err}
	}
	for i := 0; i < len(j.pieces); {
		p := j.pieces[i]
		for i++; i < len(j.pieces); i++ {
			if q := j.pieces[i]; q.dst != p.dst+int64(p.count) || q.off != p.off+p.count {
				break
			}
			p.count += j.pieces[i].count
		}
		if err := f.write(raw[int64(p.off)*PageSize:int64(p.off+p.count)*PageSize], p.dst*PageSize); err != nil {
			return err
		}
	}
	if n, ok := f.sink.(Noter); ok {
		return n.Note()
	}
	return nil
}

// Noter is a sink that wants to hear when a chunk was written whole: what it has noted need not be
// fetched again after a cut.
type Noter interface {
	Note() error
}

func (f *fetcher) write(b []byte, off int64) error {
	n, err := f.sink.WriteAt(b, off)
	f.written.Add(int64(n))
	if err == nil && n != len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("image: writing bytes %d+%d of the virtual disk: %w", off, len(b), err)
	}
	return nil
}

func (f *fetcher) writeZeros(ctx context.Context, r Run) error {
	b := make([]byte, min(r.Length, RegionSize))
	for off := r.Offset; off < r.Offset+r.Length; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n := min(int64(len(b)), r.Offset+r.Length-off)
		if !f.heldRange(off, n) {
			if err := f.write(b[:n], off); err != nil {
				return err
			}
			f.zeros.Add(n)
		}
		off += n
	}
	return nil
}
