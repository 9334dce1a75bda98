package rooms

import (
	"context"
	"sync"
	"time"

	"troy/server/protocol"
)

// Live is how far a machine says that it is.
type Live struct {
	At    time.Time `json:"at"`
	Phase string    `json:"phase"`
	Done  int64     `json:"done"`  // bytes
	Total int64     `json:"total"` // bytes; 0 = not known
	Rate  int64     `json:"rate"`  // bytes per second

	moved time.Time // when it said something new
}

// rateMost is what a machine is believed to move, in bytes per second: a room's sum fits then.
const rateMost = 1 << 40

// fetches says whether the bytes come over the network: a merge moves them on the disk.
func (v *Live) fetches() bool { return v != nil && (v.Phase == "fetch" || v.Phase == "reinstall") }

// live holds the progress of machines, in memory only.
type live struct {
	mu sync.Mutex
	// since is when the server started, or its clock was set back: silence counts from then.
	since time.Time
	last  map[string]Live
}

func (l *live) put(key string, v Live) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == nil {
		l.last = map[string]Live{}
	}
	v.moved = v.At
	if old, ok := l.last[key]; ok && old.Phase == v.Phase && old.Done == v.Done {
		v.moved = old.moved
	}
	l.last[key] = v
}

func (l *live) get(key string) (Live, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, ok := l.last[key]
	return v, ok
}

// again forgets how far a machine was before it started again.
func (l *live) again(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v, ok := l.last[key]; ok {
		l.last[key] = Live{At: v.At, moved: v.moved}
	}
}

func (l *live) end(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.last, key)
}

// heard returns when something was heard of a machine's work at last, at least when the server
// started.
func (l *live) heard(key string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v, ok := l.last[key]; ok {
		return v.At
	}
	return l.since
}

// moved returns when a machine's work got on at last, at least when the server started.
func (l *live) moved(key string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v, ok := l.last[key]; ok {
		return v.moved
	}
	return l.since
}

// past is a time that is kept; one that is still to come was written by a clock that was ahead, and
// says no more than that it was before this clock counts.
func (l *live) past(t, now time.Time) time.Time {
	if !t.After(now) {
		return t
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.since
}

// setBack begins to count anew: the clock was set back.
func (l *live) setBack(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.since = now
	clear(l.last)
}

// Progress takes how far a machine is. It is not kept, and only believed from the connection's key
// with which the machine checked in.
func (k *Keeper) Progress(peer protocol.Peer, p protocol.Progress) {
	id := k.speaks(peer, &p.Machine, false)
	if id == "" {
		return
	}
	k.live.put(id, Live{At: k.o.Now(), Phase: p.Phase, Done: p.Done, Total: p.Total, Rate: min(max(p.Rate, 0), rateMost)})
	k.changed.tell()
}

// Changed returns when something is other than at the revision seen, and the revision of now. Begin
// with 0, which returns at once.
func (k *Keeper) Changed(ctx context.Context, seen uint64) (revision uint64, err error) {
	for {
		rev, c := k.changed.wait()
		if rev != seen {
			return rev, nil
		}
		select {
		case <-c:
		case <-ctx.Done():
			return rev, ctx.Err()
		}
	}
}

// broadcast wakes all that wait.
type broadcast struct {
	mu  sync.Mutex
	rev uint64 // changes so far
	c   chan struct{}
}

func (b *broadcast) wait() (uint64, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.c == nil {
		b.c = make(chan struct{})
	}
	return b.rev + 1, b.c
}

func (b *broadcast) tell() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rev++
	if b.c != nil {
		close(b.c)
		b.c = nil
	}
}
