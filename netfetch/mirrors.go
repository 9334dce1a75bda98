package netfetch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	benchFirst = 5 * time.Second // how long a mirror that failed is asked last; doubles
	benchMost  = 2 * time.Minute
	givenMost  = 1024 // ranges remembered for Reject
)

// MirrorsOptions holds what may be chosen; the zero value is right.
type MirrorsOptions struct {
	// GiveUpAfter is how long a read goes on while every mirror fails. 0 = 2 minutes.
	GiveUpAfter time.Duration
	// OnFailover, if set, is told when a read turns from one mirror to another.
	// It must be safe for concurrent use.
	OnFailover func(from, to Source, err error)
}

// Mirrors reads from the first of several sources that works. Order is
// preference: a mirror that failed is asked last for a while, then first
// again. It implements
// Source, Documents and Rejecter and is safe for concurrent use.
type Mirrors struct {
	o       MirrorsOptions
	sources []Source

	mu     sync.Mutex
	bench  []benched // one per source
	given  map[span]int
	recent []span         // keys of given, oldest first
	wrong  map[span][]int // mirrors whose bytes were rejected
}

type span struct {
	name   string
	off, n int64
}

type benched struct {
	until time.Time
	term  time.Duration // the last one; 0 = it worked since
	liar  bool          // put here by Reject: only time lifts it, and the terms grow
}

// MirrorsError says what each mirror answered. errors.Is finds every cause.
type MirrorsError struct {
	Object         string
	Offset, Length int64   // Length 0 = the whole object
	Errs           []error // one per mirror asked, in the order they were asked the last time
}

// Error gives one line.
func (e *MirrorsError) Error() string {
	if len(e.Errs) == 1 {
		return e.Errs[0].Error()
	}
	parts := make([]string, len(e.Errs))
	for i, err := range e.Errs {
		parts[i] = err.Error()
	}
	where := e.Object
	if e.Length > 0 {
		where = fmt.Sprintf("%s bytes %d-%d", e.Object, e.Offset, e.Offset+e.Length-1)
	}
	return fmt.Sprintf("%s: all %d mirrors failed: %s", where, len(e.Errs), strings.Join(parts, "; "))
}

// Unwrap gives the mirrors' errors.
func (e *MirrorsError) Unwrap() []error { return e.Errs }

// NewMirrors joins sources; at least one is needed (else ErrName). Each should give up
// soon by itself (HTTPOptions.GiveUpAfter of some seconds).
func NewMirrors(o *MirrorsOptions, sources ...Source) (*Mirrors, error) {
	if len(sources) == 0 {
		return nil, fmt.Errorf("%w: no mirror is given", ErrName)
	}
	m := &Mirrors{sources: slices.Clone(sources), bench: make([]benched, len(sources)),
		given: map[span]int{}, wrong: map[span][]int{}}
	if o != nil {
		m.o = *o
	}
	setDefault(&m.o.GiveUpAfter, 2*time.Minute)
	return m, nil
}

// String names all mirrors in their order.
func (m *Mirrors) String() string {
	names := make([]string, len(m.sources))
	for i, s := range m.sources {
		names[i] = s.String()
	}
	return strings.Join(names, ", ")
}

// ReadRange implements Source; the error is a *MirrorsError, or the context's.
func (m *Mirrors) ReadRange(ctx context.Context, name string, off, n int64) ([]byte, error) {
	return m.read(ctx, span{name, off, n}, func(src Source) ([]byte, error) {
		return src.ReadRange(ctx, name, off, n)
	})
}

// Get implements Documents; the error is as of ReadRange.
func (m *Mirrors) Get(ctx context.Context, name string, max int64) ([]byte, error) {
	return m.read(ctx, span{name, 0, 0}, func(src Source) ([]byte, error) {
		return getFrom(ctx, src, name, max)
	})
}

// read goes round until a mirror answers or GiveUpAfter is over.
func (m *Mirrors) read(ctx context.Context, key span, ask func(Source) ([]byte, error)) ([]byte, error) {
	start := time.Now()
	for limit := time.Second; ; limit = min(2*limit, 10*time.Second) {
		b, err := m.round(ctx, key, ask)
		if err == nil {
			return b, nil
		}
		wait := rand.N(limit)
		if ctx.Err() != nil || !m.again(err) || time.Since(start)+wait > m.o.GiveUpAfter || !sleep(ctx, wait) {
			return nil, err
		}
	}
}

// again reports whether any mirror failed in a way that may pass.
func (m *Mirrors) again(err *MirrorsError) bool {
	return slices.ContainsFunc(err.Errs, temporary)
}

// round asks each mirror once.
func (m *Mirrors) round(ctx context.Context, key span, ask func(Source) ([]byte, error)) ([]byte, *MirrorsError) {
	failed := &MirrorsError{Object: key.name, Offset: key.off, Length: key.n}
	last := -1
	for _, i := range m.order(key) {
		if last >= 0 && m.o.OnFailover != nil {
			m.o.OnFailover(m.sources[last], m.sources[i], failed.Errs[len(failed.Errs)-1])
		}
		b, err := ask(m.sources[i])
		if err == nil {
			m.worked(i, key)
			return b, nil
		}
		failed.Errs = append(failed.Errs, err)
		if ctx.Err() != nil {
			return nil, failed
		}
		m.failed(i, err)
		last = i
	}
	return nil, failed
}

// order lists the mirrors to ask: those that work, as given; then those that
// failed, the longest ago first. Those whose bytes for this range were wrong come last.
func (m *Mirrors) order(key span) []int {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	wrong := m.wrong[key]
	rank := func(i int) (int, int64) {
		switch {
		case slices.Contains(wrong, i):
			return 2, int64(slices.Index(wrong, i))
		case m.bench[i].until.After(now):
			return 1, m.bench[i].until.UnixNano()
		}
		return 0, int64(i)
	}
	all := make([]int, len(m.sources))
	for i := range all {
		all[i] = i
	}
	slices.SortStableFunc(all, func(a, b int) int {
		ra, sa := rank(a)
		rb, sb := rank(b)
		if ra != rb {
			return ra - rb
		}
		return int(max(-1, min(1, sa-sb)))
	})
	return all
}

// worked notes who gave a range, for Reject. An answer ends a mirror's time on
// the bench, unless it sits there for wrong bytes: these came in good order too.
func (m *Mirrors) worked(i int, key span) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.bench[i].liar {
		m.bench[i] = benched{}
	}
	if _, known := m.given[key]; !known {
		if len(m.recent) >= givenMost {
			delete(m.given, m.recent[0])
			delete(m.wrong, m.recent[0])
			m.recent = m.recent[1:]
		}
		m.recent = append(m.recent, key)
	}
	m.given[key] = i
}

// failed puts a mirror on the bench. One that lacks the object may have all others.
func (m *Mirrors) failed(i int, err error) {
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrOutOfRange) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.penalise(i)
}

func (m *Mirrors) penalise(i int) {
	b := &m.bench[i]
	b.term = min(max(benchFirst, 2*b.term), benchMost)
	b.until = time.Now().Add(b.term)
}

// Reject implements Rejecter: the mirror that gave this range is asked last for it from
// now on, and last for everything for a while.
func (m *Mirrors) Reject(name string, off, n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := span{name, off, n}
	i, ok := m.given[key]
	if !ok {
		return
	}
	m.penalise(i)
	m.bench[i].liar = true
	m.wrong[key] = append(slices.DeleteFunc(m.wrong[key], func(j int) bool { return j == i }), i)
}
