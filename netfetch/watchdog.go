package netfetch

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// watchdog ends a request that makes no progress: at the end of each window it
// looks how many bytes came during it. It runs from before the request is sent,
// so that connecting, the wait for headers and the body are all covered.
type watchdog struct {
	window time.Duration
	min    int64 // bytes that each window must bring
	cancel context.CancelCauseFunc
	count  atomic.Int64

	mu    sync.Mutex
	timer *time.Timer // nil = stopped
	seen  int64
}

func startWatchdog(ctx context.Context, window time.Duration) (context.Context, *watchdog) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watchdog{window: window, min: max(1, int64(minRate*window.Seconds())), cancel: cancel}
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
	n := w.count.Load()
	if n-w.seen < w.min {
		w.cancel(fmt.Errorf("%w: %d bytes in %v", ErrStalled, n-w.seen, w.window))
		return
	}
	w.seen = n
	w.timer.Reset(w.window)
}

// restart begins a new window: the headers came, the body has not begun.
func (w *watchdog) restart() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.seen = w.count.Load()
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
func (w *watchdog) reader(r io.Reader, total *atomic.Int64) io.Reader {
	return &watchedReader{r, w, total}
}

type watchedReader struct {
	r     io.Reader
	w     *watchdog
	total *atomic.Int64
}

func (r *watchedReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.w.count.Add(int64(n))
	r.total.Add(int64(n))
	return n, err
}
