package netfetch

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	clockLife  = 10 * 365 * 24 * time.Hour // a media older than this is not in use
	clockDrift = 48 * time.Hour            // local time for UTC (14 h), and years of drift
)

// Clock gives a time that is good enough to judge signed metadata by on a PC whose own clock may
// say anything. The machine's clock is believed if it lies between the build of the program and ten
// years later; otherwise the time is that of the build, running on. A hint from the network may
// correct a clock that is believed by 48 hours, and one that is not by anything inside those ten
// years.
//
// So a forged hint can at worst set the time back to the build: it cannot make a signature valid
// that had expired by then.
type Clock struct {
	build time.Time
	now   func() time.Time // the machine's clock

	mu     sync.Mutex
	offset time.Duration // added to the machine's clock
}

// NewClock makes a Clock from the time the program was built. now is the machine's clock; nil =
// time.Now.
func NewClock(build time.Time, now func() time.Time) *Clock {
	if now == nil {
		now = time.Now
	}
	c := &Clock{build: build.Round(0), now: now}
	if rtc := c.rtc(); !c.plausible(rtc) {
		c.offset = c.build.Sub(rtc)
	}
	return c
}

// rtc is the machine's clock. Round(0) drops the monotonic reading: only what
// the clock says counts.
func (c *Clock) rtc() time.Time { return c.now().Round(0) }

func (c *Clock) plausible(t time.Time) bool {
	return !t.Before(c.build) && t.Before(c.build.Add(clockLife))
}

// Now gives the time. It fits tls.Config.Time and HTTPOptions.Now.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rtc().Add(c.offset)
}

// Hint offers the time of another clock and reports whether it was taken.
func (c *Clock) Hint(t time.Time) bool {
	rtc := c.rtc()
	off := t.Sub(rtc)
	if !c.plausible(t) || c.plausible(rtc) && off.Abs() > clockDrift {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset = off
	return true
}

// ServerTime asks a server for its time (the Date header), to the second. No certificate is
// checked: use the answer for Clock.Hint and for nothing else.
func ServerTime(ctx context.Context, baseURL string) (time.Time, error) {
	h, t, err := unverified(baseURL, nil)
	if err != nil {
		return time.Time{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	defer t.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, baseURL, nil)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: %v", ErrName, err)
	}
	// Whatever the status is, and wherever it redirects to, it has a date.
	resp, err := t.RoundTrip(req)
	if err != nil {
		return time.Time{}, fmt.Errorf("asking %s for the time: %w", h, err)
	}
	defer resp.Body.Close()
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: %s: Date %.40q", ErrProtocol, h, resp.Header.Get("Date"))
	}
	return date, nil
}
