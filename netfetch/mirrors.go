package netfetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"troy/internal/errline"
	"troy/internal/wait"
)

const (
	benchFirst = 5 * time.Second // how long a mirror that failed is asked last; doubles
	benchMost  = 2 * time.Minute
	lacksTime  = time.Minute // how long a mirror that lacks an object is asked last for it
	lacksMost  = 4096        // objects remembered as lacking
	givenMost  = 1024        // ranges remembered for Reject
)

// MirrorsOptions holds what may be chosen; the zero value is right.
type MirrorsOptions struct {
	// GiveUpAfter is how long a read goes on while every mirror fails. 0 = 2 minutes.
	GiveUpAfter time.Duration
	// OnFailover, if set, is called when a read turns from one mirror to another. It must be safe
	// for concurrent use.
	OnFailover func(from, to Source, err error)
}

// Mirrors reads from the first of several sources that works. Order is preference. A mirror that
// failed is asked last for a while; then one read tries it, and when that succeeds, it is first
// again: a dead mirror costs its patience once, and one stream of many now and then. One that lacks
// an object is asked last for that object. One that sent Retry-After is not asked before that time.
// Mirrors implements Source, Documents, Caller and Rejecter and is safe for concurrent use.
type Mirrors struct {
	o       MirrorsOptions
	sources []Source
	prefix  string // path that Sub added; keys of the memory begin with it
	*memory
}

// memory is what Mirrors know of their sources; those made by Sub share it.
type memory struct {
	mu     sync.Mutex
	bench  []benched // one per source
	lacks  map[lack]time.Time
	given  map[span]int
	recent []span         // keys of given, oldest first
	wrong  map[span][]int // mirrors whose bytes were rejected
	caller int            // which one answered the last PostJSON; -1 = none yet
}

// span is what is asked for: a range, a document (n = wholeDocument) or a call (n = aCall).
type span struct {
	name   string
	off, n int64
}

const wholeDocument, aCall = 0, -1

type lack struct {
	mirror int
	name   string
}

type benched struct {
	until   time.Time
	term    time.Duration // the last one; 0 = it worked since
	liar    bool          // put here by Reject: only time lifts it, and the terms grow
	held    time.Time     // not asked before: it sent Retry-After
	err     error         // that answer
	probing bool          // its time is over, and a read tries it
}

// MirrorsError contains what each mirror answered. errors.Is finds every cause.
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
	where := e.Object
	if e.Length > 0 {
		where = fmt.Sprintf("%s bytes %d-%d", e.Object, e.Offset, e.Offset+e.Length-1)
	}
	return fmt.Sprintf("%s: all %d mirrors failed: %v", where, len(e.Errs), errline.Join(e.Errs...))
}

// Unwrap gives the mirrors' errors.
func (e *MirrorsError) Unwrap() []error { return e.Errs }

// NewMirrors joins sources; at least one is needed (else ErrName). Each should give up
// soon by itself (HTTPOptions.GiveUpAfter of some seconds), as those of NewHTTPMirrors do.
func NewMirrors(o *MirrorsOptions, sources ...Source) (*Mirrors, error) {
	if len(sources) == 0 {
		return nil, fmt.Errorf("%w: no mirror is given", ErrName)
	}
	m := &Mirrors{sources: slices.Clone(sources), memory: &memory{bench: make([]benched, len(sources)), lacks: map[lack]time.Time{},
		given: map[span]int{}, wrong: map[span][]int{}, caller: -1}}
	if o != nil {
		m.o = *o
	}
	m.o.GiveUpAfter = cmp.Or(m.o.GiveUpAfter, 2*time.Minute)
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
func (m *Mirrors) ReadRange(ctx context.Context, name string, off, n int64) (b []byte, err error) {
	if n <= 0 {
		return m.sources[0].ReadRange(ctx, name, off, n)
	}
	err = m.ask(ctx, m.span(name, off, n), func(src Source) (err error) {
		b, err = src.ReadRange(ctx, name, off, n)
		return err
	})
	return b, err
}

// Get implements Documents; the error is as of ReadRange. A document that one working mirror lacks
// is not waited for until the dead ones are back.
func (m *Mirrors) Get(ctx context.Context, name string, max int64) (b []byte, err error) {
	err = m.ask(ctx, m.span(name, 0, wholeDocument), func(src Source) (err error) {
		b, err = getFrom(ctx, src, name, max)
		return err
	})
	return b, err
}

func (m *Mirrors) span(name string, off, n int64) span {
	return span{path.Join(m.prefix, name), off, n}
}

// ask makes rounds until a mirror answers or GiveUpAfter is over.
func (m *Mirrors) ask(ctx context.Context, key span, ask func(Source) error) error {
	start := time.Now()
	for limit := time.Second; ; limit = min(2*limit, 10*time.Second) {
		err := m.round(ctx, key, ask)
		if err == nil {
			return nil
		}
		delay := rand.N(limit) + m.heldFor()
		if ctx.Err() != nil || !again(key, err) || time.Since(start)+delay > m.o.GiveUpAfter || wait.For(ctx, delay) != nil {
			return err
		}
	}
}

// again reports whether any mirror failed in a way that may pass.
func again(key span, err *MirrorsError) bool {
	if key.n == wholeDocument && errors.Is(err, ErrNotFound) {
		return false
	}
	return slices.ContainsFunc(err.Errs, temporary)
}

// round asks each mirror once: first those in good standing, then those that another read is trying
// just now.
func (m *Mirrors) round(ctx context.Context, key span, ask func(Source) error) *MirrorsError {
	failed := &MirrorsError{Object: key.name, Offset: key.off, Length: max(0, key.n)}
	last := -1
	order, held := m.order(key)
	failed.Errs = append(failed.Errs, held...)
	for turn, once := 0, len(order); turn < len(order); turn++ {
		i := order[turn]
		standing := m.admit(i, turn >= once)
		switch {
		case standing == tried:
			order = append(order, i)
			continue
		case standing == failing && key.n == wholeDocument && errors.Is(failed, ErrNotFound):
			continue // a working mirror has said that there is none
		}
		if last >= 0 && m.o.OnFailover != nil {
			m.o.OnFailover(m.sources[last], m.sources[i], failed.Errs[len(failed.Errs)-1])
		}
		err := ask(m.sources[i])
		if err == nil {
			m.worked(i, key)
			return nil
		}
		failed.Errs = append(failed.Errs, err)
		if ctx.Err() != nil {
			m.release(i)
			return failed
		}
		m.failed(i, key, err)
		last = i
	}
	return failed
}

// standing of a mirror.
type standing int

const (
	working standing = iota // as far as is known; or this read tries whether it is back
	failing                 // on the bench
	tried                   // another read tries whether it is back
)

// admit gives the standing, and makes this read the one that tries a mirror whose time on the bench
// is over.
func (m *memory) admit(i int, anyway bool) standing {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := &m.bench[i]
	switch {
	case b.term == 0:
		return working
	case time.Now().Before(b.until):
		return failing
	case b.probing && !anyway:
		return tried
	}
	b.probing = true
	return working
}

func (m *memory) release(i int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bench[i].probing = false
}

// order lists the mirrors to ask: those that work, as given (for a call, the one that answered the
// last call first); then those that lack the object, then those that failed, the longest ago first.
// Those whose bytes for this range were wrong come last. Mirrors that sent Retry-After are skipped;
// their answers are returned instead.
func (m *memory) order(key span) (order []int, held []error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	wrong := m.wrong[key]
	rank := func(i int) (int, int64) {
		lacks := m.lacks[lack{i, key.name}]
		switch {
		case slices.Contains(wrong, i):
			return 3, int64(slices.Index(wrong, i))
		case m.bench[i].until.After(now):
			return 2, m.bench[i].until.UnixNano()
		case lacks.After(now):
			return 1, lacks.UnixNano()
		case key.n == aCall && i == m.caller:
			return 0, -1
		}
		return 0, int64(i)
	}
	for i := range m.bench {
		if m.bench[i].held.After(now) {
			held = append(held, m.bench[i].err)
			continue
		}
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(a, b int) int {
		ra, sa := rank(a)
		rb, sb := rank(b)
		return cmp.Or(cmp.Compare(ra, rb), cmp.Compare(sa, sb))
	})
	return order, held
}

// heldFor is how long it takes until any mirror may be asked; 0 = one may be asked now.
func (m *memory) heldFor() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	least := time.Duration(math.MaxInt64)
	for _, b := range m.bench {
		least = min(least, max(0, b.held.Sub(now)))
	}
	return least
}

// worked records which mirror returned a range, for Reject. An answer ends a mirror's time on the
// bench, unless it is there for wrong bytes: those also came as proper answers.
func (m *memory) worked(i int, key span) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bench[i].probing = false
	if !m.bench[i].liar {
		m.bench[i] = benched{}
	}
	if key.n == aCall {
		m.caller = i
		return
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

// failed puts a mirror on the bench. One that lacks the object may have all others, and one that
// takes no calls may be a plain web server: they stay off it.
func (m *memory) failed(i int, key span, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := &m.bench[i]
	b.probing = false
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrOutOfRange) || key.n == aCall && !temporary(err) {
		if len(m.lacks) >= lacksMost {
			clear(m.lacks)
		}
		m.lacks[lack{i, key.name}] = time.Now().Add(lacksTime)
		return
	}
	b.penalise()
	var s *statusError
	if errors.As(err, &s) && s.retryAfter > 0 {
		b.held, b.err = time.Now().Add(s.retryAfter), err
	}
}

func (b *benched) penalise() {
	b.term = min(max(benchFirst, 2*b.term), benchMost)
	b.until = time.Now().Add(b.term)
}

// Reject implements Rejecter: the mirror that gave this range is asked last for it from
// now on, and last for everything for a while.
func (m *Mirrors) Reject(name string, off, n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := m.span(name, off, n)
	i, ok := m.given[key]
	if !ok {
		return
	}
	m.bench[i].penalise()
	m.bench[i].liar = true
	m.wrong[key] = append(slices.DeleteFunc(m.wrong[key], func(j int) bool { return j == i }), i)
}
