package netfetch

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
	"troy/internal/blank"
)

var (
	_ Source    = (*Mirrors)(nil)
	_ Documents = (*Mirrors)(nil)
	_ Rejecter  = (*Mirrors)(nil)
	_ Caller    = (*Mirrors)(nil)
	_ Caller    = (*HTTP)(nil)
)

// NewHTTPMirrors makes Mirrors of servers in the order of preference, e.g. those that the kernel
// command line names and then the one that DHCP names:
//
//	m, err := netfetch.NewHTTPMirrors(append(net.Servers, link.Server), o, nil)
//
// Each is a base URL or HOST[:PORT], see ServerURL; blank ones and repeats are left out, others are
// an ErrName. HTTPOptions hold for each, but GiveUpAfter is meant for all together, see NewMirrors.
// With one URL it behaves like NewHTTP.
func NewHTTPMirrors(urls []string, o *HTTPOptions, mo *MirrorsOptions) (*Mirrors, error) {
	var each HTTPOptions
	if o != nil {
		each = *o
	}
	var all MirrorsOptions
	if mo != nil {
		all = *mo
	}
	each.GiveUpAfter = cmp.Or(each.GiveUpAfter, 2*time.Minute)
	all.GiveUpAfter = cmp.Or(all.GiveUpAfter, each.GiveUpAfter)
	bases, err := baseURLs(urls)
	if err != nil {
		return nil, err
	}
	if len(bases) == 1 {
		all.GiveUpAfter = 1 // HTTP tries again by itself
	}
	var sources []Source
	for _, base := range bases {
		h, err := NewHTTP(base, &each)
		if err != nil {
			return nil, err
		}
		sources = append(sources, h)
	}
	return NewMirrors(&all, sources...)
}

// baseURLs completes URLs and drops repeats.
func baseURLs(urls []string) ([]string, error) {
	var bases []string
	for _, u := range urls {
		if blank.Trim(u) == "" {
			continue
		}
		base := ServerURL(u)
		if base == "" {
			return nil, fmt.Errorf("%w: %.100q: want http://HOST[:PORT], https://… or HOST[:PORT]", ErrName, u)
		}
		if !slices.Contains(bases, base) {
			bases = append(bases, base)
		}
	}
	return bases, nil
}

// ServerURL makes a base URL of what an admin writes: a URL, or host[:port],
// which means TLS. Blanks, NULs and line ends around it do not count. "" if it is neither.
func ServerURL(s string) string {
	s = blank.Trim(s)
	if s == "" {
		return ""
	}
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil || checkBase(u) != nil {
		return ""
	}
	base := strings.TrimRight(u.String(), "/")
	// With an odd zone of an IPv6 address, url writes what it cannot read.
	if u, err = url.Parse(base); err != nil || checkBase(u) != nil {
		return ""
	}
	return base
}

// PostJSON implements Caller: it calls the mirror that answered the last call, else the first, and
// the next one if that does not answer or takes no calls. So the call may arrive at several of
// them. The error is as of ReadRange.
func (m *Mirrors) PostJSON(ctx context.Context, name string, in, out any) error {
	return m.ask(ctx, m.span(name, 0, aCall), func(ctx context.Context, src Source) (bool, error) {
		c, ok := src.(Caller)
		if !ok {
			return false, fmt.Errorf("%s: %s: %w", src, name, ErrNoCalls)
		}
		if out == nil {
			return false, c.PostJSON(ctx, name, in, nil)
		}
		// Decoded separately: half an answer of one mirror must not mix with the next one's.
		answer := reflect.New(reflect.TypeOf(out).Elem())
		err := c.PostJSON(ctx, name, in, answer.Interface())
		if err == nil {
			reflect.ValueOf(out).Elem().Set(answer.Elem())
		}
		return false, err
	})
}

// Sub returns Mirrors for the objects under the given path of each, which shares its connections.
// What is known of the mirrors is shared. ErrName for paths that escape, and for sources that are
// no HTTP.
func (m *Mirrors) Sub(name string) (*Mirrors, error) {
	sub := *m
	sub.sources = nil
	sub.prefix = m.span(name, 0, 0).name
	for _, src := range m.sources {
		h, ok := src.(*HTTP)
		if !ok {
			return nil, fmt.Errorf("%w: %s has no folders", ErrName, src)
		}
		under, err := h.sub(name)
		if err != nil {
			return nil, err
		}
		sub.sources = append(sub.sources, under)
	}
	return &sub, nil
}

// Reconnect gives up all connections of the sources that have any, see HTTP.Reconnect.
func (m *Mirrors) Reconnect() {
	for _, src := range m.sources {
		if r, ok := src.(interface{ Reconnect() }); ok {
			r.Reconnect()
		}
	}
}

// Stats adds the counters of the sources that count.
func (m *Mirrors) Stats() Stats {
	var sum Stats
	for _, src := range m.sources {
		if c, ok := src.(interface{ Stats() Stats }); ok {
			s := c.Stats()
			sum.Requests, sum.Retries, sum.Stalls = sum.Requests+s.Requests, sum.Retries+s.Retries, sum.Stalls+s.Stalls
			sum.Received, sum.Discarded = sum.Received+s.Received, sum.Discarded+s.Discarded
		}
	}
	return sum
}
