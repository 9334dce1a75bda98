package netfetch

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"sync"
	"time"
)

const (
	benchFirst = 5 * time.Second // how long a mirror that failed is asked last; doubles
	benchMost  = 2 * time.Minute
	lacksTime  = time.Minute // how long a mirror that lacks an object is asked last for it
	lacksMost  = 4096        // objects remembered as lacking
	givenMost  = 1024        // ranges remembered for Reject
)

// memory is what Mirrors know of their sources; those made by Sub share it.
type memory struct {
	mu     sync.Mutex
	bench  []benched // one per source
	lacks  map[lack]time.Time
	given  map[span][]int // which ones brought it
	recent []span         // keys of given, oldest first
	wrong  map[span][]int // mirrors whose bytes were rejected
	caller int            // which one answered the last PostJSON; -1 = none yet
}

func newMemory(sources int) *memory {
	return &memory{bench: make([]benched, sources), lacks: map[lack]time.Time{}, given: map[span][]int{}, wrong: map[span][]int{}, caller: -1}
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
	slow    slowness
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
// last call first); then those that are slow, the fastest first; then those that lack the object;
// then those that failed, the longest ago first.
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
			return 4, int64(slices.Index(wrong, i))
		case m.bench[i].until.After(now):
			return 3, m.bench[i].until.UnixNano()
		case lacks.After(now):
			return 2, lacks.UnixNano()
		case m.bench[i].slow.until.After(now) && key.n != aCall:
			return 1, -m.bench[i].slow.rate
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

// worked records which mirrors returned a range, for Reject. An answer ends a mirror's time on the
// bench, unless it is there for wrong bytes: those also came as proper answers.
func (m *memory) worked(i int, key span, givers []int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bench[i].probing = false
	if !m.bench[i].liar {
		m.bench[i] = benched{slow: m.bench[i].slow}
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
	m.given[key] = givers
}

// failed puts a mirror on the bench. One that lacks the object may have all others, and one that
// takes no calls may be a plain web server: they stay off it.
func (m *memory) failed(i int, key span, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := &m.bench[i]
	b.probing = false
	if errors.Is(err, errSlow) {
		return // leave has noted it
	}
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

// Reject implements Rejecter: the mirrors that gave this range are asked last for it from now on, and
// last for everything for a while. It returns false when each of them was rejected before, or all
// mirrors are: what is asked again then begins with all of them.
func (m *Mirrors) Reject(name string, off, n int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := m.span(name, off, n)
	wrong, more := m.wrong[key], false
	for _, i := range m.given[key] {
		m.bench[i].penalise()
		m.bench[i].liar = true
		if !slices.Contains(wrong, i) {
			wrong, more = append(wrong, i), true
		}
	}
	if m.wrong[key] = wrong; !more || len(wrong) == len(m.sources) {
		delete(m.wrong, key)
		return false
	}
	return true
}

// rejected says that the mirror's answer was rejected.
func (m *memory) rejected(i int, key span) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Contains(m.wrong[key], i)
}
