package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// serveEvents sends the pieces that changed, as "text/event-stream" (HTML standard, section 9.2):
//
//	event: pieces   data: {"ID": "HTML", …}
//	event: layout   data: HASH      other machines, rooms or forms than before: ask for /live
func (h *Handler) serveEvents(w http.ResponseWriter, r *http.Request) {
	left, ok := h.watches(r)
	if !ok {
		w.Header().Set("Retry-After", "30")
		http.Error(w, "too many watch", http.StatusServiceUnavailable)
		return
	}
	defer left()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() {
		select {
		case <-h.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	s := &stream{w: w, control: http.NewResponseController(w), sent: map[string]uint64{}}
	// The deadline for reading the request would end the connection; a test's recorder has none.
	_ = s.control.SetReadDeadline(time.Time{})
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // of proxies
	for h.mayWatch(r) {
		now := h.pages.snapshot(false)
		if s.send(now) != nil || wait(ctx, tickLeast) != nil {
			return
		}
		// Times and phases may be others even when nothing has changed in time.
		for end := time.Now().Add(tickMost); !h.changed(ctx, now.rev) && time.Now().Before(end) && ctx.Err() == nil && h.mayWatch(r); {
		}
	}
}

// changed waits a moment for something new.
func (h *Handler) changed(ctx context.Context, rev uint64) bool {
	ctx, done := context.WithTimeout(ctx, tickLeast)
	defer done()
	now, _ := h.o.Lab.Changed(ctx, rev)
	return now != rev
}

// mayWatch says whether a viewer may still look: its session may have ended.
func (h *Handler) mayWatch(r *http.Request) bool { return h.o.Public || h.session(r) != nil }

// Close ends the streams of events, so that the server can end.
func (h *Handler) Close() { h.close() }

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stream is one viewer.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	sent    map[string]uint64 // id → hash
	layout  string
}

// send brings a viewer up to date.
func (s *stream) send(now *snapshot) error {
	if now.err != nil {
		return now.err
	}
	var b bytes.Buffer
	if now.layout != s.layout {
		fmt.Fprintf(&b, "event: layout\ndata: %s\n\n", now.layout)
		s.layout = now.layout
	}
	changed, known := map[string]string{}, make(map[string]uint64, len(now.pieces))
	for _, p := range now.pieces {
		known[p.id] = p.hash
		if old, ok := s.sent[p.id]; !ok || old != p.hash {
			changed[p.id] = string(p.HTML)
		}
	}
	s.sent = known
	if len(changed) > 0 {
		data, err := json.Marshal(changed)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "event: pieces\ndata: %s\n\n", data)
	} else if b.Len() == 0 {
		b.WriteString(": still here\n\n")
	}
	_ = s.control.SetWriteDeadline(time.Now().Add(sendTime)) // a test's recorder has none
	if _, err := s.w.Write(b.Bytes()); err != nil {
		return err
	}
	return s.control.Flush()
}
