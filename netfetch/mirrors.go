package netfetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"time"

	"troy/internal/errline"
	"troy/internal/wait"
)

// How long one of several mirrors may make no progress before the next is asked, and be silent.
const (
	mirrorPatience = 4 * time.Second
	mirrorStall    = 8 * time.Second
)

// MirrorsOptions holds what may be chosen; the zero value is right.
type MirrorsOptions struct {
	// GiveUpAfter is how long a read goes on while every mirror fails and nothing comes. 0 = 2
	// minutes.
	GiveUpAfter time.Duration
	// OnFailover, if set, is called when a read turns from one mirror to another. It must be safe
	// for concurrent use.
	OnFailover func(from, to Source, err error)

	window time.Duration // for tests: over which a mirror's rate is measured; 0 = 8 s
}

// Mirrors reads from the first of several sources that works. Order is preference. A mirror that
// failed is asked last for a while; then one read tries it, and when that succeeds, it is first
// again: a dead mirror costs its patience once, and one stream of many now and then. One that lacks
// an object is asked last for that object. One that sent Retry-After is not asked before that time.
// One that is slow is left for another, and what it brought is kept. Mirrors implements Source, Documents, Caller and Rejecter and is safe for concurrent use.
type Mirrors struct {
	o       MirrorsOptions
	sources []Source
	prefix  string // path that Sub added; keys of the memory begin with it
	*memory
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

// NewMirrors joins sources to one list; at least one is needed (else ErrName). Mirrors among them are
// taken for the sources that they list. Each HTTP of several gives up after 4
// seconds without progress, and counts as silent after 8 seconds, so that the next is asked soon.
func NewMirrors(o *MirrorsOptions, sources ...Source) (*Mirrors, error) {
	m := &Mirrors{}
	if o != nil {
		m.o = *o
	}
	m.o.GiveUpAfter = cmp.Or(m.o.GiveUpAfter, 2*time.Minute)
	m.o.window = cmp.Or(m.o.window, mirrorStall)
	for _, src := range sources {
		if list, ok := src.(*Mirrors); ok {
			m.sources = append(m.sources, list.sources...)
		} else {
			m.sources = append(m.sources, src)
		}
	}
	if len(m.sources) == 0 {
		return nil, fmt.Errorf("%w: no mirror is given", ErrName)
	}
	if len(m.sources) > 1 {
		for i, src := range m.sources {
			if h, ok := src.(*HTTP); ok {
				m.sources[i] = h.impatient(m.o.GiveUpAfter)
			}
		}
	}
	m.memory = newMemory(len(m.sources))
	return m, nil
}

// impatient is the same HTTP as one of several that have so long together.
func (h *HTTP) impatient(together time.Duration) *HTTP {
	one := *h
	one.o.GiveUpAfter = min(mirrorPatience, together/2, h.o.GiveUpAfter)
	one.o.stall = min(mirrorStall, h.o.stall)
	return &one
}

// String names all mirrors in their order.
func (m *Mirrors) String() string {
	names := make([]string, len(m.sources))
	for i, s := range m.sources {
		names[i] = s.String()
	}
	return strings.Join(names, ", ")
}

// ReadRange implements Source; the error is a *MirrorsError, or the context's. What one mirror
// brought is kept, and the next is asked for the rest.
func (m *Mirrors) ReadRange(ctx context.Context, name string, off, n int64) (b []byte, err error) {
	if n <= 0 {
		return m.sources[0].ReadRange(ctx, name, off, n)
	}
	err = m.ask(ctx, m.span(name, off, n), func(ctx context.Context, src Source) (bool, error) {
		got := int64(len(b))
		part, err := src.ReadRange(ctx, name, off+got, n-got)
		if b = append(b, part...); got == 0 {
			b = part
		}
		return len(part) > 0, err
	})
	return b, err
}

// Get implements Documents; the error is as of ReadRange. A document that one working mirror lacks
// is not waited for until the dead ones are back.
func (m *Mirrors) Get(ctx context.Context, name string, max int64) (b []byte, err error) {
	err = m.ask(ctx, m.span(name, 0, wholeDocument), func(ctx context.Context, src Source) (_ bool, err error) {
		b, err = getFrom(ctx, src, name, max)
		return false, err
	})
	return b, err
}

func (m *Mirrors) span(name string, off, n int64) span {
	return span{path.Join(m.prefix, name), off, n}
}

// question puts what is asked to one source; came says that part of the answer is there.
type question func(ctx context.Context, src Source) (came bool, err error)

// ask makes rounds until a mirror answers, or nothing came for GiveUpAfter.
func (m *Mirrors) ask(ctx context.Context, key span, ask question) error {
	start := time.Now()
	var givers []int
	for limit := time.Second; ; limit = min(2*limit, 10*time.Second) {
		before := len(givers)
		err := m.round(ctx, key, &givers, ask)
		if err == nil {
			return nil
		}
		if len(givers) > before {
			start = time.Now()
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
// just now. givers are the mirrors that brought part of the answer.
func (m *Mirrors) round(ctx context.Context, key span, givers *[]int, ask question) *MirrorsError {
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
		case key.n == wholeDocument && errors.Is(failed, ErrNotFound) && (standing == failing || m.rejected(i, key)):
			continue // a working mirror has said that there is none
		}
		if last >= 0 && m.o.OnFailover != nil {
			m.o.OnFailover(m.sources[last], m.sources[i], failed.Errs[len(failed.Errs)-1])
		}
		came, err := m.askOne(ctx, i, key, ask)
		if came || err == nil {
			*givers = append(*givers, i)
		}
		if err == nil {
			m.worked(i, key, *givers)
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

// askOne puts the question to one mirror, which is left when another may be faster.
func (m *Mirrors) askOne(ctx context.Context, i int, key span, ask question) (came bool, err error) {
	counter, ok := m.sources[i].(interface{ Stats() Stats })
	if !ok || key.n == aCall || len(m.sources) == 1 {
		return ask(ctx, m.sources[i])
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := &pace{window: m.o.window, received: func() int64 { return counter.Stats().Received }}
	p.judge = func(rate int64) bool { return m.leave(i, rate) }
	defer p.watch(cancel)()
	return ask(ctx, m.sources[i])
}
