package web

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// open begins a stream of events, and returns when it has begun. ended is closed with it.
func (s *site) open(c *http.Client) (ended chan struct{}) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	s.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", s.http.URL+pathEvents, nil)
	must(s.t, err)
	a, err := c.Do(r)
	must(s.t, err)
	_, err = io.ReadFull(a.Body, make([]byte, 1))
	must(s.t, err)
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, a.Body)
		a.Body.Close()
	}()
	return ended
}

// TestSessionEndsWithUser: a removed user, and one with another password, is signed out at once:
// acts are refused, and an open page ends.
func TestSessionEndsWithUser(t *testing.T) {
	for name, after := range map[string]string{"removed": "", "another password": "another password"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, 1, Options{})
			c, csrf := s.signIn()
			events := s.open(c)
			must(t, s.web.o.Users.Set("other", password))
			if code, _ := s.get(c, "/nights"); code != http.StatusOK {
				t.Fatalf("after a change of another user: %d", code)
			}
			must(t, s.web.o.Users.Set("admin", after))
			if code, _ := s.post(c, "/do/wake", "room", "B204", "csrf", csrf); code != http.StatusForbidden || len(s.calls) > 0 {
				t.Errorf("an act: %d", code)
			}
			if code, _ := s.get(c, "/"); code != http.StatusSeeOther {
				t.Errorf("the page: %d", code)
			}
			<-events
			must(t, s.web.o.Users.Set("admin", password))
			if code, _ := s.get(c, "/"); code != http.StatusSeeOther {
				t.Errorf("the session came back: %d", code)
			}
		})
	}
}

// TestIdle: what an open page asks for by itself does not keep a session alive.
func TestIdle(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	s := newSiteAt(t, 1, Options{}, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })
	c, _ := s.signIn()
	events := s.open(c)
	ahead.Store(int64(idleMost - time.Minute))
	if code, page := s.get(c, pathLive); code != http.StatusOK || !strings.Contains(page, "b204-01") {
		t.Errorf("/live: %d", code)
	}
	ahead.Store(int64(idleMost + time.Minute))
	<-events
	if code, _ := s.get(c, pathLive); code != http.StatusUnauthorized {
		t.Errorf("/live: %d", code)
	}
	if code, _ := s.get(c, "/nights"); code != http.StatusSeeOther {
		t.Errorf("/nights: %d", code)
	}
}

// TestChangeIsSeen: a change right after somebody rendered the page is shown to the others about a
// second later, not with the next sign of life.
func TestChangeIsSeen(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1, Options{Public: true})
	s.promote(3)
	begun := time.Time{}
	s.watch(s.browser(), func(event, data string) bool {
		if event == "pieces" && begun.IsZero() {
			time.Sleep(3 * tickLeast) // the stream waits for a change now
			s.get(s.browser(), "/")
			begun = time.Now()
			must(t, s.keeper.Stop("B204", "a change"))
			return false
		}
		return strings.Contains(data, "a change")
	})
	if took := time.Since(begun); took > tickMost/2 {
		t.Errorf("it was seen after %v", took)
	}
}

// TestFormsAreLive: where a button comes or goes, an open page is told to ask for the rooms anew.
func TestFormsAreLive(t *testing.T) {
	s := newSite(t, 1, Options{Public: true})
	c, _ := s.signIn()
	last := ""
	changes := func(what string, want bool) {
		t.Helper()
		now := s.web.pages.snapshot(true).layout
		if (now != last) != want {
			t.Errorf("%s: another layout: %v, want %v", what, now != last, want)
		}
		last = now
	}
	changes("the beginning", true)
	s.promote(3)
	changes("a first promotion: it can be stopped", true)
	s.promote(4)
	changes("a second one: it can be rolled back", true)
	must(t, s.keeper.Stop("B204", "why"))
	changes("a stop: it can be continued", true)
	changes("nothing", false)
	s.checkIn(1, 3, nil)
	last = s.web.pages.snapshot(true).layout // of the machine's first check-in
	s.checkIn(1, 4, nil)
	changes("what the tile of the machine shows", false)
	if _, page := s.get(c, pathLive); !strings.Contains(page, "Continue the wave") || !strings.Contains(page, `name="csrf"`) || strings.Contains(page, "<html") {
		t.Errorf("/live: %s", page)
	}
}
