package netfetch

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// idleMost is how many windows a stream may be without a byte while others of the same server
// bring enough: a server that shares out a slow line gives each its turn.
const idleMost = 3

// watchdog ends a request that makes no progress: at the end of each window it looks how many bytes
// came during it, to this stream and to all of the server. It runs from before the request is sent,
// so that connecting, the wait for headers and the body are all covered.
type watchdog struct {
	window time.Duration
	min    int64         // bytes that each window must bring to all streams together
	all    *atomic.Int64 // bytes of all streams
	cancel context.CancelCauseFunc
	count  atomic.Int64

	mu            sync.Mutex
	timer         *time.Timer // nil = stopped
	seen, seenAll int64
	idle          int // windows without a byte
}

func startWatchdog(ctx context.Context, window time.Duration, all *atomic.Int64) (context.Context, *watchdog) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watchdog{window: window, min: max(1, int64(minRate*window.Seconds())), all: all, seenAll: all.Load(), cancel: cancel}
	w.mu.Lock()
	w.timer = time.AfterFunc(window, w.look)
	w.mu.Unlock()
	return ctx, w
}

func (w *watchdog) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer == nil {
		return
	}
	n, all := w.count.Load(), w.all.Load()
	if w.idle++; n > w.seen {
		w.idle = 0
	}
	if all-w.seenAll < w.min || w.idle == idleMost {
		w.cancel(fmt.Errorf("%w: %d bytes in %v", ErrStalled, n-w.seen, w.window))
		return
	}
	w.seen, w.seenAll = n, all
	w.timer.Reset(w.window)
}

// restart begins a new window: the headers came, the body has not begun.
func (w *watchdog) restart() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.seen, w.seenAll = w.count.Load(), w.all.Load()
		w.timer.Reset(w.window)
	}
}

// stop ends the watch and frees the request's context.
func (w *watchdog) stop() {
	w.mu.Lock()
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	w.mu.Unlock()
	w.cancel(context.Canceled)
}

// reader counts what is read from r.
func (w *watchdog) reader(r io.Reader) io.Reader { return &watchedReader{r, w} }

type watchedReader struct {
	r io.Reader
	w *watchdog
}

func (r *watchedReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.w.count.Add(int64(n))
	r.w.all.Add(int64(n))
	return n, err
}
